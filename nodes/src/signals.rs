//! The operator's wish to stop: SIGTERM, or Ctrl-C.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Failure;

/// Both signals, from now on ours.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over. Early, so that one sent during a start is no sudden death.
    pub fn take() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(Failure::new);
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Waits for the wish. Who repeats it does not want to wait: the process ends at once, and
    /// the next start recovers what lies on disk.
    pub async fn stop(mut self) {
        let name = self.next().await;
        tracing::info!("{name}: stopping; a second one ends the process at once");
        hotfire_net::rt::spawn_local(async move {
            let name = self.next().await;
            tracing::warn!("{name} again: ending at once");
            std::process::exit(130);
        });
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}
