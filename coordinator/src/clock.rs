//! Time as the coordinator sees it, so that tests can move it: the wall clock for what is written down or signed, and
//! an uptime that never jumps for deciding whether a site is alive.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. May jump when the machine's clock is set.
    fn utc_ms(&self) -> i64;

    /// Time since some fixed moment. Never goes back, whatever happens to the wall clock.
    fn uptime(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn utc_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A clock that tests move by hand.

    use std::sync::Mutex;
    use std::time::Duration;

    use super::Clock;

    /// Stands still until it is moved.
    #[derive(Default)]
    pub(crate) struct ManualClock(Mutex<Duration>);

    impl ManualClock {
        pub(crate) fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for ManualClock {
        fn utc_ms(&self) -> i64 {
            1_767_225_600_000 + i64::try_from(self.uptime().as_millis()).unwrap()
        }

        fn uptime(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }
}
