//! Reads the digit on pictures in PNG files. Who reads PNG is another component, in another language: it is linked
//! in when this one is built.

mod picture;

use eyot_guest::{Error, Model, Result, Tensor};

wit_bindgen::generate!({ path: "wit", world: "handler" });

use digits::png::functions::decode;

#[eyot_guest::handler(inputs("png: BYTES[-1]"), outputs("digit: INT64[-1]", "probability: FP32[-1]"))]
fn predict(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let files = inputs[0].to_byte_strings()?;
    let mut pixels = Vec::with_capacity(files.len() * picture::LENGTH);
    for (index, file) in files.iter().enumerate() {
        let wrong = |why: String| Error::invalid(format!("file {index}: {why}"));
        let greys = decode(file).map_err(wrong)?;
        pixels.extend(
            picture::pixels(greys.width as usize, greys.height as usize, &greys.values).map_err(wrong)?,
        );
    }
    let rows = files.len();
    let outputs =
        Model::open("digits")?.infer(vec![Tensor::of("pixels", &[rows, picture::LENGTH], &pixels)])?;
    let probabilities = outputs[1].to_vec::<f32>()?;
    let best: Vec<f32> =
        probabilities.chunks(10).map(|row| row.iter().copied().fold(0.0, f32::max)).collect();
    let digits = outputs[0].to_vec::<i64>()?;
    Ok(vec![Tensor::of("digit", &[rows], &digits), Tensor::of("probability", &[rows], &best)])
}
