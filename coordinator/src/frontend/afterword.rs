//! The last message of a result: what can be said of an answer only once all of its rows are there (rule B.6). It is a batch
//! without rows, which every client reads and shows nothing of, and its `app_metadata` is JSON:
//!
//! ```json
//! {"answers":[{"query":"0192…","released":{"uva":true,"vu":false}}]}
//! ```
//!
//! There is one answer for each row of parameters, in their order. An answer in which no steward decided about its own groups
//! is left out, and a result of such answers only has no such message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::utils::batches_to_flight_data;
use dynamos_proto::status::ServiceError;
use serde::Serialize;
use tonic::Status;

use super::engine::ReleasedBy;
use super::errors::encoding;

/// Answers that something is said of; of later ones nothing is, so that the message stays one that clients accept.
const ANSWERS_MAX: usize = 1000;

/// What is to be said of the answers to one ticket.
#[derive(Clone, Default)]
pub(super) struct Afterword {
    answers: Arc<Mutex<Vec<(String, ReleasedBy)>>>,
}

/// The message's text.
#[derive(Serialize)]
struct Said<'a> {
    answers: Vec<Answer<'a>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    /// The query's id, as in the log of decisions.
    query: &'a str,
    /// By steward whether any group in the answer is its.
    released: &'a BTreeMap<String, bool>,
}

impl Afterword {
    /// Notes an answer that has begun.
    pub(super) fn begin(&self, query: &str, released: ReleasedBy) {
        let mut answers = self.answers();
        if answers.len() < ANSWERS_MAX {
            answers.push((query.to_owned(), released));
        }
    }

    /// The message, if there is something to say.
    pub(super) fn message(&self, schema: &SchemaRef) -> Option<Result<FlightData, Status>> {
        let text = self.text()?;
        Some(text.and_then(|text| empty(schema, text)).map_err(Status::from))
    }

    fn text(&self) -> Option<Result<Vec<u8>, ServiceError>> {
        let answers = self.answers();
        let said = answers.iter().filter_map(|(query, released)| Some(Answer { query, released: released.told()? }));
        let said = Said { answers: said.collect() };
        (!said.answers.is_empty()).then(|| serde_json::to_vec(&said).map_err(|error| encoding(&error)))
    }

    fn answers(&self) -> MutexGuard<'_, Vec<(String, ReleasedBy)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch without rows that carries a text.
fn empty(schema: &SchemaRef, text: Vec<u8>) -> Result<FlightData, ServiceError> {
    let batch = RecordBatch::new_empty(Arc::clone(schema));
    let messages = batches_to_flight_data(schema, vec![batch]).map_err(|error| encoding(&error))?;
    // Before it is the schema, which the client has.
    let last = messages.into_iter().next_back().unwrap_or_default();
    Ok(last.with_app_metadata(text))
}
