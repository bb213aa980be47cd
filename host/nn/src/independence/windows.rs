//! What moves over pictures and sounds: a row is one of them, its channels lie behind it.

use super::elementwise::one_number;
use super::numbers::floats;
use super::size::Size;
use super::value::Value;
use super::{ACROSS, Call, Known, place};

pub(super) fn outputs<'a>(call: &mut Call<'a, '_>, op: &str) -> Known<Option<Vec<Value<'a>>>> {
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
            pictures(call).and_then(|(rows, shape)| Value::along(shape, rows))
        }
        "Resize" => resize(call),
        _ => return Ok(None),
    };
    value.map(|value| Some(vec![value]))
}

/// Rows along the first axis, channels along the second; all else is shared.
fn pictures(call: &Call<'_, '_>) -> Known<(Option<usize>, Vec<Size>)> {
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

fn convolution<'a>(call: &mut Call<'a, '_>, weights: usize) -> Known<Value<'a>> {
    let (rows, mut shape) = pictures(call)?;
    let weights = call.input(weights)?.shape()?.to_vec();
    if weights.len() != shape.len() {
        return Err("its weights have another number of axes than its input".to_owned());
    }
    shape[1] = weights[0].clone();
    let kernel: Vec<Option<i64>> = match call.ints("kernel_shape")? {
        Some(kernel) => kernel.iter().map(|size| Some(*size)).collect(),
        None => weights[2..].iter().map(Size::known).collect(),
    };
    slid(call, &mut shape, &kernel)?;
    Value::along(shape, rows)
}

fn spread<'a>(call: &mut Call<'a, '_>) -> Known<Value<'a>> {
    let (rows, mut shape) = pictures(call)?;
    let channels = call.input(1)?.shape()?.get(1).and_then(|size| size.known());
    let groups = call.int("group", 1)?;
    let channels =
        channels.and_then(|channels| channels.checked_mul(groups)).filter(|channels| *channels > 0);
    shape[1] = channels.map_or_else(|| call.fresh(), Size::of);
    for size in &mut shape[2..] {
        *size = call.fresh();
    }
    Value::along(shape, rows)
}

fn pool<'a>(call: &mut Call<'a, '_>) -> Known<Value<'a>> {
    let (rows, mut shape) = pictures(call)?;
    let kernel = call.ints("kernel_shape")?.ok_or("the size of its window is not known")?;
    let kernel: Vec<Option<i64>> = kernel.iter().map(|size| Some(*size)).collect();
    slid(call, &mut shape, &kernel)?;
    Value::along(shape, rows)
}

/// As many places as a window has that slides along the axes behind the second.
fn slid(call: &mut Call<'_, '_>, shape: &mut [Size], kernel: &[Option<i64>]) -> Known<()> {
    let axes = shape.len() - 2;
    let each = |name: &str, default: i64| -> Known<Vec<i64>> {
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
        *size = places.filter(|places| *places > 0).map_or_else(|| call.walk.fresh(), Size::of);
    }
    Ok(())
}

fn whole<'a>(call: &Call<'a, '_>) -> Known<Value<'a>> {
    let (rows, mut shape) = pictures(call)?;
    shape[2..].fill(Size::of(1));
    Value::along(shape, rows)
}

/// While it is trained it computes with all rows, and has further outputs.
fn batch_normalization<'a>(call: &Call<'a, '_>) -> Known<Value<'a>> {
    let trains =
        call.int("training_mode", 0)? != 0 || call.node.output.iter().skip(1).any(|name| !name.is_empty());
    if trains {
        return Err("it is told to train, and computes across rows".to_owned());
    }
    let (rows, shape) = pictures(call)?;
    Value::along(shape, rows)
}

/// Rows must stay as many as they are; how large the rest becomes is not followed.
fn resize<'a>(call: &mut Call<'a, '_>) -> Known<Value<'a>> {
    let (rows, mut shape) = call.first()?;
    if call.text("coordinate_transformation_mode", "half_pixel")? == "tf_crop_and_resize"
        || call.text("keep_aspect_ratio_policy", "stretch")? != "stretch"
    {
        return Err("how it makes sizes is not looked at".to_owned());
    }
    let axes: Vec<usize> = match call.ints("axes")? {
        Some(axes) => axes.iter().map(|axis| place(*axis, shape.len())).collect::<Known<_>>()?,
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
    Value::along(shape, rows)
}

/// Fails unless the size at that place stays what it is.
fn keeps(call: &Call<'_, '_>, at: usize, count: usize, rows: &Size) -> Known<()> {
    if ![1, 2].iter().filter_map(|place| call.optional(*place)).all(Value::is_shared) {
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
