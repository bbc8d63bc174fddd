//! The loop that looks for silent sites. What silence means is decided by [`Registry::sweep`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::places::Registry;

/// How often is looked; with the three seconds of silence it bounds how late a loss is noticed.
const SWEEP: Duration = Duration::from_millis(250);

/// Looks for silent sites until `shutdown`.
pub async fn watch_liveness(registry: Arc<Registry>, shutdown: CancellationToken) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        registry.sweep();
    }
}
