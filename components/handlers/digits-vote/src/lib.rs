//! A handler that asks two models at once and lets them vote: the mean of what they think of each digit.
//! The two run side by side, so that an answer takes as long as the slower, and not both.

use eyot_guest::{Error, Model, Result, Tensor};

#[eyot_guest::handler(
    inputs("pixels: FP32[-1, 64]"),
    outputs("label: INT64[-1]", "probabilities: FP32[-1, 10]", "agreed: BOOL[-1]")
)]
async fn predict(inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let (one, other) = (Model::open("one")?, Model::open("other")?);
    let (one, other) = futures::try_join!(one.infer_async(inputs.clone()), other.infer_async(inputs))?;
    vote(&probabilities(&one)?, &probabilities(&other)?)
}

/// What a model thinks of each digit, in rows of ten.
fn probabilities(outputs: &[Tensor]) -> Result<Vec<f32>> {
    let found = outputs.iter().find(|output| output.name() == "probabilities");
    found.ok_or_else(|| Error::internal("a model gives no 'probabilities'"))?.to_vec()
}

fn vote(one: &[f32], other: &[f32]) -> Result<Vec<Tensor>> {
    if one.len() != other.len() {
        return Err(Error::internal("the models do not speak of the same digits"));
    }
    let means: Vec<f32> = one.iter().zip(other).map(|(one, other)| (one + other) / 2.0).collect();
    let labels: Vec<i64> = means.chunks(10).map(best).collect();
    let agreed: Vec<bool> =
        one.chunks(10).zip(other.chunks(10)).map(|(one, other)| best(one) == best(other)).collect();
    let rows = labels.len();
    Ok(vec![
        Tensor::of("label", &[rows], &labels),
        Tensor::of("probabilities", &[rows, 10], &means),
        Tensor::of("agreed", &[rows], &agreed),
    ])
}

/// The first of the largest.
fn best(row: &[f32]) -> i64 {
    let first = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (0..row.len()).fold(0, first) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_decides() {
        let row = |sure: usize, chance: f32| {
            (0..10)
                .map(|digit| if digit == sure { chance } else { (1.0 - chance) / 9.0 })
                .collect::<Vec<f32>>()
        };
        let one = [row(3, 0.9), row(4, 0.6)].concat();
        let other = [row(3, 0.8), row(5, 0.9)].concat();
        let outputs = vote(&one, &other).unwrap();
        assert_eq!(outputs[0].to_vec::<i64>().unwrap(), [3, 5]);
        assert_eq!(outputs[2].to_vec::<bool>().unwrap(), [true, false]);
        assert_eq!(outputs[1].shape(), [2, 10]);
        assert!(vote(&one, &other[..10]).is_err());
    }
}
