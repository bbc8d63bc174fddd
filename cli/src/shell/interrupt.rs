//! Ctrl-C: the first cancels the statement that runs, a second one before the shell has reacted ends the process.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Exit code of a process that Ctrl-C ended.
pub(super) const EXIT_CODE: u8 = 130;

/// The interrupts seen so far. While the line editor reads, Ctrl-C is a key and does not come here.
#[derive(Debug)]
pub(super) struct Interrupts {
    seen: watch::Receiver<u64>,
    handled: Arc<AtomicU64>,
    /// The listener dies with its owner.
    listener: JoinSet<()>,
}

impl Interrupts {
    /// Listens to the process's signals.
    pub(super) fn listen() -> Self {
        let (sender, mut interrupts) = Self::manual();
        let handled = Arc::clone(&interrupts.handled);
        interrupts.listener.spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if *sender.borrow() > handled.load(Ordering::SeqCst) {
                    // The first one is still not handled: output is blocked, or nobody is waiting for anything.
                    std::process::exit(i32::from(EXIT_CODE));
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        interrupts
    }

    /// Interrupts that the returned sender raises by counting up.
    pub(super) fn manual() -> (watch::Sender<u64>, Self) {
        let (sender, seen) = watch::channel(0);
        (sender, Self { seen, handled: Arc::default(), listener: JoinSet::new() })
    }

    /// Waits until there is an interrupt that has not been handled.
    pub(super) async fn raised(&mut self) {
        let handled = self.handled.load(Ordering::SeqCst);
        if self.seen.wait_for(|count| *count > handled).await.is_err() {
            pending::<()>().await;
        }
    }

    /// Declares every interrupt so far handled.
    pub(super) fn acknowledge(&mut self) {
        self.handled.store(*self.seen.borrow(), Ordering::SeqCst);
    }
}
