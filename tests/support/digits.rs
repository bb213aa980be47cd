//! The rows that the digits pipeline put aside, and requests made of them.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Server;

/// A row that training has not seen.
#[derive(Clone, Debug)]
pub struct Digit {
    /// 64 values from 0 to 16.
    pub pixels: Vec<u8>,
    /// What it shows.
    pub label: i64,
}

/// The held-out rows of a pipeline run, read from its artifact.
pub fn held_out(server: &Server, run: &Value) -> Result<Vec<Digit>> {
    let id = run["id"].as_str().context("the run has no id")?;
    let answer = server.api_get(&format!("/api/v1/pipeline-runs/{id}/artifacts/split/test"))?;
    anyhow::ensure!(answer.status == 200, "the held-out rows are not there: {}", answer.text());
    answer.text().lines().skip(1).map(row).collect()
}

fn row(line: &str) -> Result<Digit> {
    let values: Vec<u8> =
        line.split(',').map(str::parse).collect::<Result<_, _>>().context("a row is no row of numbers")?;
    let (label, pixels) = values.split_last().context("a row is empty")?;
    Ok(Digit { pixels: pixels.to_vec(), label: i64::from(*label) })
}

/// An infer request of the Open Inference Protocol for rows of digits.
pub fn prediction_request(digits: &[Digit]) -> Vec<u8> {
    let data: Vec<&Vec<u8>> = digits.iter().map(|digit| &digit.pixels).collect();
    let input = json!({ "name": "pixels", "datatype": "FP32", "shape": [digits.len(), 64], "data": data });
    json!({ "inputs": [input] }).to_string().into_bytes()
}
