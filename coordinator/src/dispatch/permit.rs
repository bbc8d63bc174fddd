//! The permit for one place: the graph as it was signed, the originals of the agreements that it needs from other
//! stewards, and the requester's token where the place is a steward of the query: one whose agreement governs it. A place that
//! only computes, a provider or a steward that has no data in the query, gets the token's hash with the graph and nothing more.

use dynamos_planner::catalog::SiteKind;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};
use dynamos_proto::v1;

use crate::query::PermittedPlan;
use crate::registry::Snapshot;

/// The permit that `site` gets.
pub(super) fn permit_for(
    site: &SiteId,
    plan: &dyn PermittedPlan,
    signature: &[u8],
    token: &str,
    snapshot: &Snapshot,
) -> Result<v1::Permit, ServiceError> {
    let agreements = plan.agreements_for(site).into_iter().map(|(steward, name)| {
        snapshot.original(&steward, &name).cloned().ok_or_else(|| {
            ServiceError::new(Code::StaleBasis, format!("agreement `{name}` of `{steward}` is no longer held"))
                .with_hint("run the query again")
        })
    });
    let governs = plan.graph().governing.contains_key(site);
    let kind = snapshot.catalog.sites.get(site).map(|site| site.kind);
    let token = match kind {
        Some(SiteKind::Steward) if governs => token.to_owned(),
        Some(SiteKind::Steward | SiteKind::Provider | SiteKind::Coordinator) | None => String::new(),
    };
    Ok(v1::Permit {
        graph: plan.graph_bytes().to_vec(),
        signature: signature.to_vec(),
        token,
        agreements: agreements.collect::<Result<_, _>>()?,
    })
}
