//! What moves over pictures and sounds: a row is one of them, its channels lie behind it.

use super::elementwise::one_number;
use super::numbers::floats;
use super::size::SymbolicSize;
use super::value::GraphValue;
use super::{ACROSS, NodeCall, ProofResult, place};

pub(super) fn outputs<'a>(call: &mut NodeCall<'a, '_>, op: &str) -> ProofResult<Option<Vec<GraphValue<'a>>>> {
    let value = match op {
        "Conv" | "ConvInteger" => convolution(call, 1),
        "QLinearConv" => {
            [1, 2, 6, 7].into_iter().try_for_each(|place| one_number(call, place))?;
            convolution(call, 3)
        }
        "ConvTranspose" => spread(call),
        // The second output of MaxPool counts over all rows, and is not given here.
        "MaxPool" | "AveragePool" | "LpPool" => pool(call),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => whole(call),
        "BatchNormalization" => batch_normalization(call),
        "InstanceNormalization" | "GroupNormalization" | "LRN" => {
            pictures(call).and_then(|(rows, shape)| GraphValue::along(shape, rows))
        }
        "Resize" => resize(call),
        _ => return Ok(None),
    };
    value.map(|value| Some(vec![value]))
}

/// Rows along the first axis, channels along the second; all else is shared.
fn pictures(call: &NodeCall<'_, '_>) -> ProofResult<(Option<usize>, Vec<SymbolicSize>)> {
    call.rest_is_shared(1)?;
    let (rows, shape) = call.first()?;
    if rows.is_some_and(|rows| rows != 0) {
        return Err(ACROSS.to_owned());
    }
    if shape.len() < 2 {
        return Err("what it takes has no channels".to_owned());
    }
    Ok((rows, shape))
}

fn convolution<'a>(call: &mut NodeCall<'a, '_>, weights: usize) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = pictures(call)?;
    let weights = call.input(weights)?.shape()?.to_vec();
    if weights.len() != shape.len() {
        return Err("its weights have another number of axes than its input".to_owned());
    }
    shape[1] = weights[0].clone();
    let kernel: Vec<Option<i64>> = match call.ints("kernel_shape")? {
        Some(kernel) => kernel.iter().map(|size| Some(*size)).collect(),
        None => weights[2..].iter().map(SymbolicSize::known).collect(),
    };
    slid(call, &mut shape, &kernel)?;
    GraphValue::along(shape, rows)
}

fn spread<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = pictures(call)?;
    let channels = call.input(1)?.shape()?.get(1).and_then(|size| size.known());
    let groups = call.int("group", 1)?;
    let channels =
        channels.and_then(|channels| channels.checked_mul(groups)).filter(|channels| *channels > 0);
    shape[1] = channels.map_or_else(|| call.fresh(), SymbolicSize::of);
    for size in &mut shape[2..] {
        *size = call.fresh();
    }
    GraphValue::along(shape, rows)
}

fn pool<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = pictures(call)?;
    let kernel = call.ints("kernel_shape")?.ok_or("the size of its window is not known")?;
    let kernel: Vec<Option<i64>> = kernel.iter().map(|size| Some(*size)).collect();
    slid(call, &mut shape, &kernel)?;
    GraphValue::along(shape, rows)
}

/// As many places as a window has that slides along the axes behind the second.
fn slid(call: &mut NodeCall<'_, '_>, shape: &mut [SymbolicSize], kernel: &[Option<i64>]) -> ProofResult<()> {
    let axes = shape.len() - 2;
    let each = |name: &str, default: i64| -> ProofResult<Vec<i64>> {
        Ok(call.ints(name)?.map_or_else(|| vec![default; axes], <[i64]>::to_vec))
    };
    let (strides, dilations) = (each("strides", 1)?, each("dilations", 1)?);
    let pads = call.ints("pads")?.map_or_else(|| vec![0; 2 * axes], <[i64]>::to_vec);
    let automatic = call.text("auto_pad", "NOTSET")?;
    let rounds_up = call.int("ceil_mode", 0)? != 0;
    let fits =
        [kernel.len(), strides.len(), dilations.len(), pads.len() / 2].iter().all(|length| *length == axes);
    if !fits {
        return Err("the sizes of its window do not fit its input".to_owned());
    }
    for (at, size) in shape[2..].iter_mut().enumerate() {
        let padded = match automatic {
            "NOTSET" => pads[at].checked_add(pads[at + axes]),
            "VALID" => Some(0),
            _ => None,
        };
        let places = size.known().zip(kernel[at]).zip(padded).and_then(|((size, kernel), padded)| {
            let window = dilations[at].checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
            let room = size.checked_add(padded)?.checked_sub(window)?;
            let even = room.checked_rem(strides[at])? == 0;
            (room >= 0 && (even || !rounds_up)).then_some(room.checked_div(strides[at])?.checked_add(1)?)
        });
        *size = places.filter(|places| *places > 0).map_or_else(|| call.walk.fresh(), SymbolicSize::of);
    }
    Ok(())
}

fn whole<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = pictures(call)?;
    shape[2..].fill(SymbolicSize::of(1));
    GraphValue::along(shape, rows)
}

/// While it is trained it computes with all rows, and has further outputs.
fn batch_normalization<'a>(call: &NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let trains =
        call.int("training_mode", 0)? != 0 || call.node.output.iter().skip(1).any(|name| !name.is_empty());
    if trains {
        return Err("it is told to train, and computes across rows".to_owned());
    }
    let (rows, shape) = pictures(call)?;
    GraphValue::along(shape, rows)
}

/// Rows must stay as many as they are; how large the rest becomes is not followed.
fn resize<'a>(call: &mut NodeCall<'a, '_>) -> ProofResult<GraphValue<'a>> {
    let (rows, mut shape) = call.first()?;
    if call.text("coordinate_transformation_mode", "half_pixel")? == "tf_crop_and_resize"
        || call.text("keep_aspect_ratio_policy", "stretch")? != "stretch"
    {
        return Err("how it makes sizes is not looked at".to_owned());
    }
    let axes: Vec<usize> = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|axis| place(*axis, shape.len())).collect::<ProofResult<_>>()?,
        None => (0..shape.len()).collect(),
    };
    let at = rows.and_then(|rows| axes.iter().position(|axis| *axis == rows));
    match rows.zip(at) {
        Some((rows, at)) => keeps(call, at, axes.len(), &shape[rows])?,
        None => call.rest_is_shared(1)?,
    }
    for axis in axes.into_iter().filter(|axis| Some(*axis) != rows) {
        shape[axis] = call.fresh();
    }
    GraphValue::along(shape, rows)
}

/// Fails unless the size at that place stays what it is.
fn keeps(call: &NodeCall<'_, '_>, at: usize, count: usize, rows: &SymbolicSize) -> ProofResult<()> {
    if ![1, 2].iter().filter_map(|place| call.optional(*place)).all(GraphValue::is_shared) {
        return Err("its scales depend on the rows".to_owned());
    }
    let scales = call.optional(if call.opset < 11 { 1 } else { 2 }).and_then(floats).unwrap_or_default();
    let sizes = call.optional(3).and_then(|sizes| sizes.numbers.clone()).unwrap_or_default();
    let others_shared = sizes
        .iter()
        .enumerate()
        .all(|(place, size)| place == at || size.as_ref().is_none_or(|size| !size.has_rows()));
    let kept = match (scales.as_slice(), sizes.as_slice()) {
        (scales, []) => scales.len() == count && scales[at] == 1.0,
        ([], sizes) => sizes.len() == count && sizes[at].as_ref() == Some(rows) && others_shared,
        _ => false,
    };
    kept.then_some(()).ok_or_else(|| "it may make more or fewer rows".to_owned())
}
