//! CREATE, ALTER and REVOKE AGREEMENT, and the first half of SIMULATE. The steward's own site decides, by the token of the
//! person who asks, and signs; the coordinator carries the statement there and has what comes back kept before it answers.

use std::sync::Arc;

use dynamos_planner::catalog::SiteKind;
use dynamos_proto::ids::SiteId;
use dynamos_proto::status::{Code, ServiceError};

use crate::dispatch::{Channels, SiteChannel};
use crate::frontend::Outcome;
use crate::registry::{Members, Snapshot};

/// Has the steward's site carry out a statement.
pub(super) async fn change_agreement(
    steward: &SiteId,
    sql: &str,
    token: &str,
    snapshot: &Snapshot,
    members: &Members,
    channels: &Channels,
) -> Result<Outcome, ServiceError> {
    let channel = channel_to(steward, snapshot, channels)?;
    let changed = channel.change_agreement(sql, token).await?;
    members.agreements_changed(steward, &changed).await?;
    tracing::info!(site_id = %steward, agreements = changed.len(), "agreements changed");
    Ok(Outcome::Done { rows_affected: 0 })
}

/// Has the steward's site examine the text of an agreement that is simulated; what it would not put in force, it refuses here
/// as it would there. It alone knows its tables in full and which numbers of clauses are gone.
pub(super) async fn examine_agreement(
    steward: &SiteId,
    sql: &str,
    token: &str,
    snapshot: &Snapshot,
    channels: &Channels,
) -> Result<(), ServiceError> {
    channel_to(steward, snapshot, channels)?.change_agreement(sql, token).await.map(|_| ())
}

/// The channel to a steward that is there.
fn channel_to(
    steward: &SiteId,
    snapshot: &Snapshot,
    channels: &Channels,
) -> Result<Arc<dyn SiteChannel>, ServiceError> {
    let known = snapshot.catalog.sites.get(steward).filter(|site| site.kind == SiteKind::Steward);
    if known.is_none() {
        return Err(ServiceError::new(Code::UnknownName, format!("there is no steward `{steward}`"))
            .with_hint("a steward's site must have registered before its agreements can change"));
    }
    if !snapshot.is_up(steward) {
        return Err(ServiceError::new(Code::SiteUnavailable, format!("site `{steward}` is down; nothing was changed"))
            .with_hint("try again when the site is back"));
    }
    channels.to(steward, &snapshot.catalog)
}
