//! Memory at full load: `cargo bench --bench serving-wire -- soak`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use eyot_tests::Resident;

use crate::subject::{CONNECTIONS, Subject};

const MINUTES: u32 = 10;

/// Asks on all connections without a pause, and shows what the server holds at the end of each minute.
///
/// Fails when an answer is not as it must be.
pub(crate) fn run(subject: &Subject, pid: u32) -> Result<()> {
    println!("\n{}, {CONNECTIONS} connections, by the minute{:>12} {:>10}", subject.name, "MB", "requests");
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (ended, ends) = channel::<Result<()>>();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let (ended, over, answered) = (ended.clone(), &over, &answered);
            scope.spawn(move || {
                let asked = subject.keep_asking(over, answered);
                // Who listens has gone once one of them has failed.
                let _ = ended.send(asked);
            });
        }
        let watched = watch(pid, &answered, || ends.recv_timeout(Duration::from_secs(60)));
        over.store(true, Ordering::Relaxed);
        watched
    })
}

fn watch(
    pid: u32,
    answered: &AtomicU64,
    minute: impl Fn() -> Result<Result<()>, RecvTimeoutError>,
) -> Result<()> {
    let started = Instant::now();
    for number in 1..=MINUTES {
        match minute() {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Err(error)) => return Err(error),
            Ok(Ok(())) | Err(RecvTimeoutError::Disconnected) => bail!("a connection ended early"),
        }
        let held = Resident::of(pid)?.now as f64 / 1e6;
        println!("{number:>46} {held:>12.1} {:>10}", answered.load(Ordering::Relaxed));
    }
    let rate = answered.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} requests a second, each answer looked at");
    Ok(())
}
