use eyot_guest::{Error, Result, Tensor};

/// Standardises a column: mean 0, standard deviation 1.
fn standardise(values: &[f32]) -> Vec<f32> {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
    let scale = if deviation == 0.0 { 1.0 } else { deviation };
    values.iter().map(|value| (value - mean) / scale).collect()
}

#[eyot_guest::handler(inputs("x: FP32[-1]"), outputs("y: FP32[-1]"))]
fn predict(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let x = inputs[0].to_vec::<f32>()?;
    if x.is_empty() {
        return Err(Error::invalid("x has no element"));
    }
    Ok(vec![Tensor::of("y", &[x.len()], &standardise(&x))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_zero_and_a_constant_stays_finite() {
        assert_eq!(standardise(&[1.0, 3.0]), [-1.0, 1.0]);
        assert_eq!(standardise(&[5.0, 5.0]), [0.0, 0.0]);
    }
}
