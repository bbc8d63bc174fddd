//! The keys under which a place hashes entity keys in one query: one that it draws for its own domains, and one for shared
//! domains, which a single steward draws and the others that hash such keys get from it. Both live in memory with the query.

use datafusion::common::Result;
use dynamos_planner::fragment::FragmentGraph;
use dynamos_planner::policy::sharers;
use dynamos_proto::ids::SiteId;
use dynamos_proto::sign::HashKey;
use tokio::sync::OnceCell;

use super::accepted::draw_key;

/// The keys of one query at one place.
#[derive(Debug)]
pub(crate) struct QueryHashKeys {
    /// Nobody else ever has it.
    pub(crate) own: HashKey,
    /// The stewards that share a key, in order; the first draws it.
    sharers: Vec<SiteId>,
    /// Filled from the beginning where this place draws it.
    shared: OnceCell<HashKey>,
}

impl QueryHashKeys {
    /// Draws what this place draws in a query.
    pub(super) fn new(place: &SiteId, graph: &FragmentGraph) -> Result<Self> {
        let sharers: Vec<SiteId> = sharers(graph).into_iter().collect();
        let shared = OnceCell::new();
        if sharers.first() == Some(place) {
            // It is empty before.
            shared.set(draw_key()?).unwrap_or_default();
        }
        Ok(Self { own: draw_key()?, sharers, shared })
    }

    /// Who draws the shared key, if a place shares it.
    pub(crate) fn drawer_for(&self, place: &SiteId) -> Option<&SiteId> {
        self.sharers.first().filter(|_| self.sharers.contains(place))
    }

    /// Where the shared key is kept once it is here.
    pub(crate) fn shared(&self) -> &OnceCell<HashKey> {
        &self.shared
    }
}
