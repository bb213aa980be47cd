//! The main job on real data, through the real binary: `cargo xtask demo` builds and runs this.
//!
//! Starts a server on free ports, pushes the components, runs the digits pipeline, deploys what it
//! registered, sends every held-out row over HTTP, and says what happened. The data folder is kept, so
//! a second run finds every step in the cache.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use eyot_tests::{Digit, Eyot, Server, held_out, path, prediction_request, quantile};
use serde_json::{Value, json};

/// What the classifier must reach on rows that it has not seen.
const WANTED: f64 = 0.95;

fn main() -> Result<()> {
    let data = std::env::args_os().nth(1).map(PathBuf::from).context("usage: demo DATA-FOLDER")?;
    let eyot = Eyot::new(data)?;
    let server = eyot.up()?;
    println!(
        "\nServer\n  control plane  {}\n  predictions    {}\n  data           {}",
        server.api,
        server.gateway,
        eyot.data().display()
    );
    let components = push(&eyot)?;
    let run = pipeline(&eyot)?;
    deploy(&eyot)?;
    let rows = held_out(&server, &run)?;
    let measured = predict(&server, &rows)?;
    handler(&server, &rows)?;
    report(&eyot, &server, &components, &run, &measured)?;
    server.stop()?;
    ensure!(
        measured.accuracy >= WANTED,
        "the accuracy over HTTP is {:.4}, below {WANTED}",
        measured.accuracy
    );
    println!("\ndemo passed: accuracy {:.4} over HTTP on {} held-out rows", measured.accuracy, rows.len());
    Ok(())
}

const COMPONENTS: [(&str, &str); 2] =
    [("digits-steps", "digits-steps:0.1.0"), ("digits-image", "digits-image:0.1.0")];

fn push(eyot: &Eyot) -> Result<Vec<Value>> {
    println!("\nComponents");
    let mut pushed = Vec::new();
    for (name, reference) in COMPONENTS {
        let wasm = path("target/components").join(name).with_extension("wasm");
        let one = eyot.json(&["push", &wasm.to_string_lossy(), "--as", reference])?;
        println!("  pushed {reference}  {} bytes  {}", one["size"], text(&one["content"]));
        pushed.push(one);
    }
    Ok(pushed)
}

fn pipeline(eyot: &Eyot) -> Result<Value> {
    println!("\nPipeline components/examples/digits/pipeline.toml");
    let file = path("components/examples/digits/pipeline.toml");
    let started = Instant::now();
    let run = eyot.json(&["run", &file.to_string_lossy()])?;
    let took = started.elapsed().as_secs_f64();
    let steps = run["steps"].as_array().context("the run has no steps")?;
    for step in steps {
        let what = if step["status"] == "cached" {
            "cache hit".to_owned()
        } else {
            format!("{} in {} ms", text(&step["status"]), step["milliseconds"])
        };
        println!("  {:<10} {what}", text(&step["step"]));
    }
    let cached = steps.iter().filter(|step| step["status"] == "cached").count();
    println!(
        "  run {} {} in {took:.2} s, {cached} of {} steps from the cache",
        text(&run["id"]),
        text(&run["status"]),
        steps.len()
    );
    Ok(run)
}

fn deploy(eyot: &Eyot) -> Result<()> {
    println!("\nDeployments");
    let model = "models:/digits@champion";
    for arguments in [
        vec!["deploy", model, "--name", "digits"],
        vec![
            "deploy",
            COMPONENTS[1].1,
            "--name",
            "digits-image",
            "--model",
            "digits=models:/digits@champion",
        ],
    ] {
        let deployed = eyot.json(&arguments)?;
        println!("  {} revision {}", text(&deployed["name"]), deployed["revision"]);
    }
    Ok(())
}

struct Measured {
    accuracy: f64,
    /// Milliseconds, sorted.
    latencies: Vec<f64>,
}

/// One request a row, as an application would send them.
fn predict(server: &Server, rows: &[Digit]) -> Result<Measured> {
    let (mut right, mut latencies) = (0, Vec::with_capacity(rows.len()));
    for row in rows {
        let request = prediction_request(std::slice::from_ref(row));
        let started = Instant::now();
        let answer = server.post("/v2/models/digits/infer", request)?;
        latencies.push(started.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.status == 200, "a prediction was answered {}: {}", answer.status, answer.text());
        right += usize::from(output(&answer.json(), "label")[0] == json!(row.label));
    }
    latencies.sort_by(f64::total_cmp);
    Ok(Measured { accuracy: right as f64 / rows.len() as f64, latencies })
}

/// The same rows as 32 × 32 pictures through the handler, which makes the model's input of them.
fn handler(server: &Server, rows: &[Digit]) -> Result<()> {
    let mut right = 0;
    for batch in rows.chunks(50) {
        let pictures: Vec<u8> = batch.iter().flat_map(picture).collect();
        let input =
            json!({ "name": "image", "datatype": "UINT8", "shape": [batch.len(), 32, 32], "data": pictures });
        let answer =
            server.post("/v2/models/digits-image/infer", json!({ "inputs": [input] }).to_string())?;
        ensure!(answer.status == 200, "the handler answered {}: {}", answer.status, answer.text());
        let digits = output(&answer.json(), "digit");
        right += batch.iter().zip(&digits).filter(|(row, digit)| **digit == json!(row.label)).count();
    }
    println!(
        "\nHandler digits-image, {} pictures of 32 x 32: {:.4} right",
        rows.len(),
        right as f64 / rows.len() as f64
    );
    Ok(())
}

/// Each of the 8 × 8 values as a block of 4 × 4 grey ones, dark paper, light ink.
fn picture(digit: &Digit) -> Vec<u8> {
    let grey = |index: usize| {
        let (row, column) = (index / 32 / 4, index % 32 / 4);
        (f32::from(digit.pixels[row * 8 + column]) / 16.0 * 255.0).round() as u8
    };
    (0..32 * 32).map(grey).collect()
}

fn report(
    eyot: &Eyot,
    server: &Server,
    components: &[Value],
    run: &Value,
    measured: &Measured,
) -> Result<()> {
    let metadata = server.get("/v2/models/digits")?.json();
    println!("\nPredictions over HTTP ({}/v2/models/digits/infer)", server.gateway);
    println!("  accuracy  {:.4}", measured.accuracy);
    println!(
        "  latency   p50 {:.3} ms, p99 {:.3} ms",
        quantile(&measured.latencies, 0.5),
        quantile(&measured.latencies, 0.99)
    );
    println!("\nWhat ran where");
    for (component, (name, _)) in components.iter().zip(COMPONENTS) {
        println!("  component {name:<13} {}", text(&component["content"]));
    }
    println!("  model     {:<13} {}", "digits", text(&metadata["properties"]["model.model"]));
    println!("  back end  {}", text(&metadata["properties"]["ran_on.model"]));
    println!("\nLineage");
    for line in eyot.text(&["runs", &text(&run["id"]), "--lineage"])?.lines() {
        println!("  {line}");
    }
    println!("\nLook again: eyot up --data {}", eyot.data().display());
    Ok(())
}

fn output(answer: &Value, name: &str) -> Vec<Value> {
    let outputs = answer["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = outputs.iter().find(|output| output["name"] == name);
    found.and_then(|output| output["data"].as_array()).cloned().unwrap_or_else(|| vec![Value::Null])
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
