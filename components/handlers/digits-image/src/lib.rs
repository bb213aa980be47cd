//! A handler with work of its own before and after the model: it takes grey pictures of any shade, as
//! a scanner gives them, and answers with the digit, how sure it is, and the digit's name.

mod picture;

use eyot_guest::{Model, Result, Tensor};

const NAMES: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

#[eyot_guest::handler(
    inputs("image: UINT8[-1, 32, 32]"),
    outputs("digit: INT64[-1]", "probability: FP32[-1]", "name: BYTES[-1]")
)]
fn predict(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let pixels = picture::pixels(&inputs[0].to_vec::<u8>()?);
    let rows = pixels.len() / 64;
    let outputs = Model::open("digits")?.infer(vec![Tensor::of("pixels", &[rows, 64], &pixels)])?;
    let digits = outputs[0].to_vec::<i64>()?;
    let best: Vec<f32> =
        outputs[1].to_vec::<f32>()?.chunks(10).map(|row| row.iter().copied().fold(0.0, f32::max)).collect();
    let names: Vec<&str> = digits.iter().map(|digit| NAMES[*digit as usize % 10]).collect();
    let digit = Tensor::of("digit", &[rows], &digits);
    Ok(vec![digit, Tensor::of("probability", &[rows], &best), Tensor::of_texts("name", &[rows], &names)])
}
