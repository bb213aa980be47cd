//! A handler that answers seven times its number, or does to its host what it is asked to: for tests of
//! what a guest can do to others.

use std::hint::black_box;
use std::time::Duration;

use eyot_guest::{Error, Result, Tensor};

#[eyot_guest::handler(inputs("number: INT64[1]", "fault: INT64[1]"), outputs("number: INT64[1]"))]
fn answer(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let (number, fault) = (inputs[0].to_vec::<i64>()?[0], inputs[1].to_vec::<i64>()?[0]);
    match fault {
        0 => Ok(vec![Tensor::of("number", &[1], &[7 * number])]),
        1 => panic!("asked to"),
        2 => compute_for_ever(),
        3 => take_all_memory(),
        4 => wait_for_ever(),
        5 => std::process::exit(3),
        other => Err(Error::invalid(format!("there is no fault {other}"))),
    }
}

fn compute_for_ever() -> ! {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

fn take_all_memory() -> ! {
    let mut blocks = Vec::new();
    loop {
        blocks.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[allow(clippy::disallowed_methods, reason = "a guest that never answers is what is asked for")]
fn wait_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
