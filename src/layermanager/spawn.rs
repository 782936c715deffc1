//! Work that goes on whether or not its caller waits for it.

use tokio::task::{JoinError, spawn, spawn_blocking};

use super::error::{ContentError, InstallError};

/// The runtime is shutting down.
#[derive(Debug)]
pub(super) struct Stopping;

impl From<Stopping> for ContentError {
    fn from(_: Stopping) -> Self {
        Self::Stopped
    }
}

impl From<Stopping> for InstallError {
    fn from(_: Stopping) -> Self {
        Self::Stopped
    }
}

/// Runs `work` as a task: half an install must not stay behind because a caller
/// has gone.
pub(super) async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, ContentError>> + Send + 'static,
) -> Result<T, ContentError> {
    spawn(work).await.map_err(stopping)?
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopping> {
    spawn_blocking(work).await.map_err(stopping)
}

/// A panic is passed on.
fn stopping(error: JoinError) -> Stopping {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Stopping,
    }
}
