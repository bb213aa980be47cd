//! A handler that takes its time, for tests of drains and deadlines.

use std::time::{Duration, Instant};

use eyot_guest::{Error, Result, Tensor};

#[eyot_guest::handler(inputs("milliseconds: INT64[1]"), outputs("milliseconds: INT64[1]"))]
fn wait(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let asked = inputs[0].to_vec::<i64>()?[0];
    match asked {
        ..0 => panic!("asked for {asked} ms"),
        0 => Err(Error::invalid("0 ms is no time at all")),
        _ => {
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(asked.unsigned_abs()) {
                std::hint::spin_loop();
            }
            Ok(vec![Tensor::of("milliseconds", &[1], &[asked])])
        }
    }
}
