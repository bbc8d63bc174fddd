//! From arguments to the text: reads the files and hands the query to the coordinator's own planner.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use dynamos_coordinator::clock::{Clock, SystemClock};
use dynamos_coordinator::query::{FederationPlanner, PlanRequest, PlannerDoor, Verdict, nearest_hint};
use dynamos_coordinator::registry::Snapshot;
use dynamos_planner::catalog::Availability;
use dynamos_planner::knowledge::Knowledge;
use dynamos_planner::policy::{Denial, Requester, UtcMillis, purpose};
use dynamos_planner::sql::{DynamosStatement, parse_statement};
use dynamos_planner::{explain_denial, explain_policy};
use dynamos_proto::ids::{QueryId, SiteId};
use dynamos_proto::status::{Code, ServiceError};

use super::agreements::read_agreements;
use super::args::ExplainArgs;
use super::catalog::read_catalog;
use super::error::ExplainError;
use super::knowledge::read_knowledge;

/// The id of a query that never runs.
const QUERY: &str = "explained";

/// A query with everything that its plan depends on, read from files.
#[derive(Debug)]
pub struct Prepared {
    /// The planner, with the costs that it believes.
    pub planner: FederationPlanner,
    /// Catalog, agreements and who asks.
    pub request: PlanRequest,
    /// The query.
    pub sql: String,
    /// The values of `$1`, `$2`, ….
    pub parameters: Vec<ScalarValue>,
}

/// Reads the files that the arguments name.
///
/// # Errors
///
/// When a file cannot be used, or the text is no query.
pub fn prepared(args: &ExplainArgs) -> Result<Prepared, ExplainError> {
    let purposes = purpose::shipped()?;
    let (mut catalog, names) = read_catalog(&args.catalog, &purposes)?;
    for name in &args.down {
        let site = catalog.sites.get_mut(&SiteId::new(name));
        site.ok_or_else(|| ExplainError::Down(name.clone()))?.availability = Availability::Down;
    }
    let agreements = read_agreements(&args.agreements, &catalog, &names)?;
    let knowledge = match &args.knowledge {
        Some(path) => read_knowledge(path, &catalog)?,
        None => Knowledge::default(),
    };
    let request = PlanRequest {
        snapshot: Snapshot { catalog: Arc::new(catalog), agreements: Arc::new(agreements), signed: Arc::default() },
        purposes: Arc::new(purposes),
        requester: Requester {
            user: args.user.clone(),
            organisation: args.organisation.clone(),
            roles: args.roles.clone(),
        },
        purpose: args.purpose.clone(),
        agreement: args.agreement.clone(),
        placement: args.placement,
        default_schema: args.schema.clone(),
        attempt: 0,
        query: QueryId::new(QUERY),
        now: args.at.unwrap_or_else(|| UtcMillis(SystemClock.utc_ms())),
        token_hash: Vec::new(),
    };
    let sql = query(&args.sql).map_err(ExplainError::Refused)?;
    let planner = FederationPlanner::with_knowledge(knowledge);
    let parameters = parameters(&args.parameters, &sql, &planner, &request)?;
    Ok(Prepared { planner, request, sql, parameters })
}

/// The report of EXPLAIN POLICY on a query that is permitted, and below it the whole path that EXPLAIN prints. Apart from the
/// files and, without `at`, the clock, it depends on nothing but the arguments.
///
/// # Errors
///
/// When a file cannot be used, or the query is refused.
pub fn explained(args: &ExplainArgs) -> Result<String, ExplainError> {
    let Prepared { planner, request, sql, parameters } = prepared(args)?;
    let nearest = || planner.nearest(&sql, &parameters, &request);
    match planner.plan(&sql, &parameters, &request) {
        Ok(Verdict::Permitted(plan)) => {
            let report = explain_policy(plan.graph(), plan.verdicts(), &plan.schema(), &request.policy());
            Ok(format!("{report}\n{}", plan.explain()))
        }
        Ok(Verdict::Denied(refusal)) => {
            let denial = Denial { reasons: refusal.reasons };
            Err(ExplainError::Denied(explain_denial(&denial, nearest().as_deref(), &request.policy())))
        }
        Err(error) if error.code == Code::SiteUnavailable => Err(ExplainError::Refused(match nearest() {
            Some(nearest) => error.with_hint(nearest_hint(&nearest)),
            None => error,
        })),
        Err(error) => Err(ExplainError::Refused(error)),
    }
}

/// Only a query has a path.
fn query(sql: &str) -> Result<String, ServiceError> {
    match parse_statement(sql).map_err(|error| ServiceError::new(Code::Syntax, error.to_string()))? {
        DynamosStatement::Query(sql)
        | DynamosStatement::Explain { sql, .. }
        | DynamosStatement::ExplainPolicy { sql } => Ok(sql),
        DynamosStatement::CreateAgreement(_)
        | DynamosStatement::AlterAgreement(_)
        | DynamosStatement::RevokeAgreement { .. }
        | DynamosStatement::ShowAgreements
        | DynamosStatement::ShowAgreement { .. }
        | DynamosStatement::ShowPermissions { .. }
        | DynamosStatement::ShowEdges
        | DynamosStatement::ShowDecisions
        | DynamosStatement::SimulateAgreement { .. }
        | DynamosStatement::Set { .. } => {
            Err(ServiceError::new(Code::Unsupported, "only queries have a plan; agreements belong into `--agreements`"))
        }
    }
}

/// The values of `$1`, `$2`, … in the types that the query takes.
fn parameters(
    texts: &[String],
    sql: &str,
    planner: &FederationPlanner,
    request: &PlanRequest,
) -> Result<Vec<ScalarValue>, ExplainError> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let types = planner.describe(sql, request).map_err(ExplainError::Refused)?.parameters;
    if types.len() != texts.len() {
        let problem = format!("{} values are given but the query takes {}", texts.len(), types.len());
        return Err(ExplainError::Parameter { number: texts.len().min(types.len()) + 1, problem });
    }
    let values = texts.iter().zip(types).enumerate().map(|(index, (text, kind))| match kind {
        None => Ok(ScalarValue::from(text.as_str())),
        Some(kind) => ScalarValue::try_from_string(text.clone(), &kind).map_err(|_| ExplainError::Parameter {
            number: index + 1,
            problem: format!("`{text}` is not of type {kind}"),
        }),
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_queries_have_a_path() {
        assert_eq!(query("EXPLAIN SELECT 1").unwrap(), "SELECT 1");
        assert_eq!(query("SELECT 1").unwrap(), "SELECT 1");
        assert_eq!(query("SHOW AGREEMENTS").unwrap_err().code, Code::Unsupported);
        assert_eq!(query("SELEC 1").unwrap_err().code, Code::Syntax);
        assert_eq!(query("SELECT 1; SELECT 2").unwrap_err().code, Code::Syntax);
    }
}
