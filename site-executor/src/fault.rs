//! Errors of the engine as they may leave a place. The engine's texts can hold values of rows (`cannot cast 'Jansen'`),
//! so none of them is sent: others get a code, the place's name and a fixed text; the full text stays in the log of the place
//! whose rows they are.

use std::error::Error;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use dynamos_planner::policy::BelowMinimum;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

/// What others are told of an error while a fragment ran.
pub(crate) fn of_execution(error: &DataFusionError, place: &SiteId) -> ServiceError {
    if let Some(carried) = carried(error) {
        return carried;
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            let text = format!("the query needs more memory than site `{place}` gives one");
            ServiceError::new(Code::ResourceExhausted, text)
                .with_hint("ask for less at once, or ask the site's operator for a larger `memory_per_query`")
        }
        DataFusionError::Execution(text) if *text == BelowMinimum.to_string() => {
            ServiceError::new(Code::Denied, format!("{BelowMinimum} (site `{place}`)"))
                .with_hint("group more coarsely or ask for a larger population")
        }
        DataFusionError::Internal(_) | DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) => {
            ServiceError::new(Code::Internal, format!("site `{place}` could not run its part of the query"))
        }
        _ => ServiceError::new(Code::DataError, format!("an expression failed on data at site `{place}`")),
    }
}

/// What others are told of an error before the first row was touched.
pub(crate) fn of_planning(error: &DataFusionError, place: &SiteId) -> ServiceError {
    carried(error).unwrap_or_else(|| match error.find_root() {
        DataFusionError::NotImplemented(_) => {
            let text = format!("the engine of site `{place}` cannot do its part of the query");
            ServiceError::new(Code::Unsupported, text).with_hint("ask for less at once")
        }
        _ => ServiceError::new(Code::Internal, format!("site `{place}` could not plan its part of the query")),
    })
}

/// What kind of error it is, for the log of a place that may hold rows of others: no text of the engine is in it.
pub(crate) fn kind(error: &DataFusionError) -> &'static str {
    if carried(error).is_some() {
        return "reported by another part";
    }
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(_) => "cast",
            ArrowError::ParseError(_) => "parse",
            ArrowError::DivideByZero => "division by zero",
            ArrowError::ArithmeticOverflow(_) => "overflow",
            ArrowError::ComputeError(_) => "compute",
            ArrowError::MemoryError(_) => "memory",
            ArrowError::IoError(..) => "input or output",
            _ => "arrow",
        },
        DataFusionError::Execution(_) => "execution",
        DataFusionError::ResourcesExhausted(_) => "resources exhausted",
        DataFusionError::Plan(_) => "plan",
        DataFusionError::SchemaError(..) => "schema",
        DataFusionError::NotImplemented(_) => "not implemented",
        DataFusionError::Internal(_) => "internal",
        DataFusionError::IoError(_) => "input or output",
        _ => "other",
    }
}

/// The error that another place reported and the engine carried up, however often it was wrapped.
fn carried(error: &DataFusionError) -> Option<ServiceError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<ServiceError>() {
            return Some(found.clone());
        }
        next = match current.downcast_ref::<DataFusionError>() {
            // Both hide their content from `source`.
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            _ => match current.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref()),
                _ => current.source(),
            },
        };
    }
    None
}

/// The error that a stream of [`crate::Executor::open_root`] ended with. Errors of other origin have no text to show.
pub fn service_error(error: &DataFusionError) -> ServiceError {
    carried(error).unwrap_or_else(|| ServiceError::new(Code::Internal, "the last part of the query failed"))
}

/// An error of a place, on its way through the engine.
pub(crate) fn into_engine(error: ServiceError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn texts_of_the_engine_do_not_leave() {
        let site = SiteId::new("uva");
        let cast = DataFusionError::ArrowError(Box::new(ArrowError::CastError("cannot cast 'Jansen'".into())), None);
        let sent = of_execution(&cast.context("while projecting Jansen"), &site);
        assert_eq!((sent.code, sent.message.as_str()), (Code::DataError, "an expression failed on data at site `uva`"));
        let minimum = DataFusionError::Execution(BelowMinimum.to_string());
        assert_eq!(of_execution(&minimum, &site).code, Code::Denied);
        let memory = DataFusionError::ResourcesExhausted("HashJoin Jansen".into());
        assert_eq!(of_execution(&memory, &site).code, Code::ResourceExhausted);
    }

    #[test]
    fn what_the_engine_does_not_do_is_no_fault_of_the_system() {
        let cannot = DataFusionError::NotImplemented("ordering by 'Jansen'".into());
        let sent = of_planning(&cannot.context("aggregate"), &SiteId::new("uva"));
        assert_eq!(sent.code, Code::Unsupported);
        assert!(!sent.message.contains("Jansen"));
        assert_eq!(of_planning(&DataFusionError::Plan("x".into()), &SiteId::new("uva")).code, Code::Internal);
    }

    #[test]
    fn the_error_of_another_place_is_passed_on_as_it_is() {
        let error = ServiceError::new(Code::Denied, "no");
        let shared = DataFusionError::Shared(Arc::new(into_engine(error.clone()).context("exchange")));
        assert_eq!(of_execution(&shared, &SiteId::new("uva")), error);
        let arrow = ArrowError::ExternalError(Box::new(into_engine(error.clone())));
        assert_eq!(service_error(&DataFusionError::ArrowError(Box::new(arrow), None)), error);
    }
}
