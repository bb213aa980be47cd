//! Several inferences under way in one instance. The model is granted as `model`: FP32 `x` of `[n, 16]`.

use std::future::Future;

use eyot_guest::{Model, Result, Tensor};
use futures::future::join_all;

#[eyot_guest::component]
mod overlap {
    use eyot_guest::{Model, Result};
    use futures::future::{join_all, select};

    use super::{input, is_pending, same};

    /// Asks `count` times at once and then one after another; the answers must be the same bytes.
    pub async fn agrees(count: u32, rows: u32) -> Result<()> {
        let model = Model::open("model")?;
        let at_once = join_all((0..count).map(|seed| model.infer_async(vec![input(seed, rows)]))).await;
        for (seed, outputs) in at_once.into_iter().enumerate() {
            let alone = model.infer(vec![input(seed as u32, rows)])?;
            same(seed, &outputs?, &alone)?;
        }
        Ok(())
    }

    /// Starts one inference and, behind it, `count` that are given up before their turn can have come.
    pub async fn gives_up(count: u32, rows: u32) -> Result<()> {
        let model = Model::open("model")?;
        let mut kept = Box::pin(model.infer_async(vec![input(0, rows)]));
        if !is_pending(&mut kept).await {
            return Err("the first did not have to wait".into());
        }
        let mut others: Vec<_> =
            (1..=count).map(|seed| Box::pin(model.infer_async(vec![input(seed, 1)]))).collect();
        for other in &mut others {
            if !is_pending(other).await {
                return Err("one that was to be given up did not have to wait".into());
            }
        }
        drop(others);
        kept.await.map(drop)
    }

    /// The first answer of two to the same question; the other is given up, whichever it is.
    pub async fn races(rows: u32) -> Result<u64> {
        let model = Model::open("model")?;
        let ask = || Box::pin(model.infer_async(vec![input(7, rows)]));
        let (outputs, other) = select(ask(), ask()).await.factor_first();
        drop(other);
        Ok(outputs?[0].shape()[0] as u64)
    }

    /// Every way to ask wrongly, asked both ways: kind and text of each error, which must be the same.
    pub async fn refusals() -> Result<Vec<String>> {
        super::refusals().await
    }

    /// How many of `count` inferences that are started at once are refused, and with what kind of error.
    pub async fn crowds(count: u32, rows: u32) -> Result<(u64, Vec<String>)> {
        let model = Model::open("model")?;
        let answers = join_all((0..count).map(|seed| model.infer_async(vec![input(seed, rows)]))).await;
        let mut kinds: Vec<_> =
            answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| error.kind()).collect();
        let refused = kinds.len() as u64;
        kinds.dedup();
        Ok((refused, kinds.into_iter().map(|kind| format!("{kind:?}")).collect()))
    }

    /// Starts an inference and answers without it.
    pub async fn leaves(rows: u32) -> Result<bool> {
        let model = Box::leak(Box::new(Model::open("model")?));
        let future = Box::leak(Box::new(Box::pin(model.infer_async(vec![input(0, rows)]))));
        Ok(is_pending(future).await)
    }
}

/// `rows` rows that are told apart by `seed`.
fn input(seed: u32, rows: u32) -> Tensor {
    let elements: Vec<f32> = (0..rows * 16).map(|at| ((at * 31 + seed * 17) % 101) as f32 / 101.0).collect();
    Tensor::of("x", &[rows as usize, 16], &elements)
}

/// Polls once.
async fn is_pending<T>(mut future: impl Future<Output = T> + Unpin) -> bool {
    futures::poll!(&mut future).is_pending()
}

/// Bit for bit.
fn same(seed: usize, one: &[Tensor], other: &[Tensor]) -> Result<()> {
    let bits = |tensors: &[Tensor]| -> Result<Vec<_>> {
        let each = tensors.iter().map(|tensor| {
            let bits: Vec<u32> = tensor.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect();
            Ok((tensor.name().to_owned(), tensor.shape(), bits))
        });
        each.collect()
    };
    match bits(one)? == bits(other)? {
        true => Ok(()),
        false => Err(format!("the answers to question {seed} differ").into()),
    }
}

async fn refusals() -> Result<Vec<String>> {
    let model = Model::open("model")?;
    let one = || input(0, 1);
    let wrong: [Vec<Tensor>; 6] = [
        vec![],
        vec![one().renamed("z")],
        vec![one(), one()],
        vec![one(), one().renamed("z")],
        vec![Tensor::of("x", &[1, 16], &[0_i64; 16])],
        vec![Tensor::of("x", &[1, 15], &[0.0_f32; 15])],
    ];
    let started = join_all(wrong.iter().map(|inputs| model.infer_async(inputs.clone()))).await;
    let mut told = Vec::new();
    for (inputs, started) in wrong.into_iter().zip(started) {
        let (Err(waited), Err(started)) = (model.infer(inputs), started) else {
            return Err("a wrong question was answered".into());
        };
        if waited != started {
            return Err(format!("{waited:?} is told who waits, and {started:?} who does not").into());
        }
        told.push(format!("{:?}: {started}", started.kind()));
    }
    Ok(told)
}
