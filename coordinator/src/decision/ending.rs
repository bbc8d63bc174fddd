//! [`Ending`]: what is needed to record the end of a query that was permitted, whenever and however that comes.

use std::sync::Arc;

use dynamos_planner::policy::UtcMillis;
use dynamos_proto::bucket::bucket;
use dynamos_proto::ids::QueryId;

use super::log::{DecisionLog, Recorded};
use super::record::EndRecord;
use crate::background::Background;
use crate::clock::Clock;

/// Records the end of one query.
pub(crate) struct Ending {
    pub(crate) log: DecisionLog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) background: Background,
    /// The largest minimum in force.
    pub(crate) largest_minimum: u32,
}

impl Ending {
    /// Records that a query ended in this way after so many rows went to the requester, and who released nothing. The number of
    /// rows is told as a bucket.
    pub(crate) fn record(&self, query: &QueryId, outcome: &str, rows: u64, released_nothing: Vec<String>) -> Recorded {
        let record = EndRecord {
            at: UtcMillis(self.clock.utc_ms()).to_string(),
            query_id: query.to_string(),
            outcome: outcome.to_owned(),
            rows_at_most: bucket(rows, self.largest_minimum),
            released_nothing,
        };
        self.log.end(record, &self.background)
    }
}
