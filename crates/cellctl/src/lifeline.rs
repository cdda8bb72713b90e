//! Ties a process's life to its parent's: the parent holds the other end of its standard input and never writes to it, so
//! the end of the input means that the parent ended, however it ended.

use std::io::Read as _;
use tokio_util::sync::CancellationToken;

/// Cancels `shutdown` at the end of standard input. The thread that waits for it is not joined: a process that ends
/// earlier leaves it behind.
///
/// # Errors
/// If no thread can be started.
pub fn cancel_at_stdin_end(shutdown: CancellationToken) -> std::io::Result<()> {
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
        let mut ignored = [0; 64];
        while matches!(std::io::stdin().read(&mut ignored), Ok(read) if read > 0) {}
        shutdown.cancel();
    })?;
    Ok(())
}
