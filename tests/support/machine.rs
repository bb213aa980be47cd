//! What benchmarks ask of the machine.

use anyhow::{Context as _, Result, ensure};

/// Seconds of CPU that a process has used.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("/proc has another form here")?.1;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // SAFETY: asks for a constant of the system.
    let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks as f64 / second as f64)
}

/// Keeps this thread, and the programs it starts from now on, to some processors.
pub fn pin(processors: impl IntoIterator<Item = usize>) -> Result<()> {
    // SAFETY: the set is a plain bit field that starts empty; the call reads it.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        processors.into_iter().for_each(|processor| libc::CPU_SET(processor, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    ensure!(done == 0, "cannot choose processors: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Lets every other thread go before this one.
pub fn give_way() -> Result<()> {
    // SAFETY: takes numbers alone; 0 is the thread that calls.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
    ensure!(done == 0, "cannot give way: {}", std::io::Error::last_os_error());
    Ok(())
}

/// A process's memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    pub now: u64,
    /// The most since [`Resident::forget_peak`].
    pub peak: u64,
}

impl Resident {
    /// Of a process.
    pub fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = |name: &str| {
            let kilobytes = status.lines().find_map(|line| line.strip_prefix(name)?.trim().split(' ').next());
            let kilobytes = kilobytes.and_then(|text| text.parse::<u64>().ok());
            kilobytes.map(|kilobytes| kilobytes << 10).with_context(|| format!("/proc says no {name}"))
        };
        Ok(Self { now: line("VmRSS:")?, peak: line("VmHWM:")? })
    }

    /// Counts the most from now on.
    pub fn forget_peak(pid: u32) -> Result<()> {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the peak cannot be set back")
    }
}
