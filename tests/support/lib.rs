//! The real binary from outside: what the end-to-end tests, the demo and the benchmarks share.

mod dev;
mod digits;
mod eyot;
mod http;
mod kept;
mod machine;
mod repository;
mod rival;
mod server;
mod waiting;

pub use dev::Dev;
pub use digits::{Digit, held_out, prediction_request};
pub use eyot::{Eyot, Refused};
pub use http::{Answer, get};
pub use kept::Kept;
pub use machine::{Resident, cpu, give_way, pin};
pub use repository::{component, fixture, needed, path, program, python, tool, with_python_tools};
pub use rival::Rival;
pub use server::Server;
pub use waiting::{wait_for, wait_until};

/// The parts that a benchmark's command line names, as in `cargo bench --bench functions -- neighbours`.
pub fn named_parts() -> Vec<String> {
    std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect()
}

/// The least of some values, their median, and the most.
pub fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.0, 0.5, 1.0].map(|fraction| quantile(&values, fraction))
}

/// The value at `fraction` of sorted values: the median at 0.5.
pub fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (fraction * last as f64).round() as usize;
    sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
}
