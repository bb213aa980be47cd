//! How long a test may take.

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

/// How long one test may take.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Ends a program whose time is over, unless what this answers is dropped before.
pub(super) fn watch(id: u32) -> mpsc::Sender<()> {
    let (sender, dropped) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if dropped.recv_timeout(TEST_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
    });
    sender
}
