//! The elements of a tensor: from an array in a text into the tensor's bytes.

use eyot_core::{Error, Result};
use eyot_nn::{DataType, TensorElement};
use half::{bf16, f16};

use crate::protocol::decimal::JsonFloat;
use crate::protocol::json::{JsonError, JsonInteger, JsonReader, MAX_DEPTH};

/// Reads an array, nested or flat, of `count` elements, as little-endian bytes.
pub(crate) fn read(reader: &mut JsonReader<'_>, dtype: DataType, count: usize) -> Result<Vec<u8>> {
    if reader.peek() != Some(b'[') {
        return Err(Error::invalid(format!("its data is {}, not an array", reader.shown())));
    }
    // The shape is a stranger's word; two bytes of text an element are his deed.
    let room = count.min(reader.remaining() / 2 + 1) * dtype.size().unwrap_or(8);
    let mut bytes = Vec::with_capacity(room);
    let found = match dtype {
        DataType::Bool => walk(reader, |reader, index| {
            bytes.push(boolean(reader, index)?.into());
            Ok(())
        }),
        DataType::U8 => integers::<u8>(reader, &mut bytes),
        DataType::U16 => integers::<u16>(reader, &mut bytes),
        DataType::U32 => integers::<u32>(reader, &mut bytes),
        DataType::U64 => integers::<u64>(reader, &mut bytes),
        DataType::I8 => integers::<i8>(reader, &mut bytes),
        DataType::I16 => integers::<i16>(reader, &mut bytes),
        DataType::I32 => integers::<i32>(reader, &mut bytes),
        DataType::I64 => integers::<i64>(reader, &mut bytes),
        DataType::F16 => walk(reader, |reader, index| {
            f16::from_f64(double(reader, index)?).write(&mut bytes);
            Ok(())
        }),
        DataType::BF16 => walk(reader, |reader, index| {
            bf16::from_f64(double(reader, index)?).write(&mut bytes);
            Ok(())
        }),
        DataType::F32 => walk(reader, |reader, index| {
            single(reader, index)?.write(&mut bytes);
            Ok(())
        }),
        DataType::F64 => walk(reader, |reader, index| {
            double(reader, index)?.write(&mut bytes);
            Ok(())
        }),
        DataType::Bytes => walk(reader, |reader, index| string(reader, index, &mut bytes)),
    }?;
    match found == count {
        true => Ok(bytes),
        false => Err(Error::invalid(format!("its shape has {count} elements, its data {found}"))),
    }
}

/// Goes over an array and the arrays in it; answers how many elements there were.
fn walk(
    reader: &mut JsonReader<'_>,
    mut element: impl FnMut(&mut JsonReader<'_>, usize) -> Result<()>,
) -> Result<usize> {
    let mut nesting = ArrayNesting::default();
    let mut count = 0;
    loop {
        // Where a value may begin: an array, or a run of elements.
        if reader.take(b'[') {
            nesting.open()?;
            if reader.peek() != Some(b']') {
                continue;
            }
        } else {
            let first = count;
            let more = loop {
                element(reader, count)?;
                count += 1;
                if !reader.take(b',') {
                    break false;
                }
                if reader.peek() == Some(b'[') {
                    break true;
                }
            };
            nesting.add(count - first);
            if more {
                continue;
            }
        }
        while reader.take(b']') {
            if nesting.close()? {
                return Ok(count);
            }
        }
        reader.expect(b',', "',' or ']' is expected").map_err(malformed)?;
    }
}

pub(crate) fn malformed(wrong: JsonError) -> Error {
    Error::invalid(format!("the request cannot be read: {} at byte {}", wrong.what, wrong.at))
}

/// The arrays that are open, and how long those of each depth are.
#[derive(Default)]
struct ArrayNesting {
    open: Vec<usize>,
    lengths: Vec<Option<usize>>,
}

impl ArrayNesting {
    fn open(&mut self) -> Result<()> {
        self.add(1);
        self.open.push(0);
        if self.open.len() > MAX_DEPTH {
            return Err(Error::invalid(format!("its data is nested deeper than {MAX_DEPTH}")));
        }
        if self.lengths.len() < self.open.len() {
            self.lengths.push(None);
        }
        Ok(())
    }

    fn add(&mut self, elements: usize) {
        if let Some(length) = self.open.last_mut() {
            *length += elements;
        }
    }

    /// Ends the innermost array; whether it was the outermost.
    fn close(&mut self) -> Result<bool> {
        let length = self.open.pop().unwrap_or_default();
        if let Some(known) = self.lengths.get_mut(self.open.len()) {
            let earlier = *known.get_or_insert(length);
            if earlier != length {
                let message = format!("its data is ragged: arrays of {earlier} and of {length} side by side");
                return Err(Error::invalid(message));
            }
        }
        Ok(self.open.is_empty())
    }
}

fn wrong(reader: &mut JsonReader<'_>, index: usize, why: &str) -> Error {
    match reader.peek() {
        None => Error::invalid("the request cannot be read: it ends too early"),
        Some(_) => Error::invalid(format!("element {index} is {}, {why}", reader.shown())),
    }
}

/// `true` and `false`; some clients write 1 and 0.
fn boolean(reader: &mut JsonReader<'_>, index: usize) -> Result<bool> {
    if reader.literal("true") {
        return Ok(true);
    }
    if reader.literal("false") {
        return Ok(false);
    }
    let start = reader.position();
    match reader.whole() {
        Some(1) => Ok(true),
        Some(0) => Ok(false),
        _ => Err(wrong(&mut reader.again(start), index, "neither true nor false")),
    }
}

/// Also those that are written as `1.0`, as by whoever has all numbers in FP64.
fn integers<T: TensorElement + JsonInteger + IntegerLimits + TryFrom<i128>>(
    reader: &mut JsonReader<'_>,
    bytes: &mut Vec<u8>,
) -> Result<usize> {
    let read = |reader: &mut JsonReader<'_>| {
        let start = reader.position();
        let value = reader.integer::<T>().or_else(|| T::try_from(reader.whole()?).ok());
        value.ok_or(start)
    };
    walk(reader, |reader, index| match read(reader) {
        Ok(value) => {
            value.write(bytes);
            Ok(())
        }
        Err(start) => {
            let why = format!("not a whole number from {} to {}", T::LOWEST_VALUE, T::HIGHEST_VALUE);
            Err(wrong(&mut reader.again(start), index, &why))
        }
    })
}

fn double(reader: &mut JsonReader<'_>, index: usize) -> Result<f64> {
    float(reader, index, f64::is_finite)
}

fn single(reader: &mut JsonReader<'_>, index: usize) -> Result<f32> {
    float(reader, index, f32::is_finite)
}

fn float<T: JsonFloat>(
    reader: &mut JsonReader<'_>,
    index: usize,
    is_finite: impl Fn(T) -> bool,
) -> Result<T> {
    let start = reader.position();
    let Some(value) = reader.float::<T>() else {
        // How KServe's and MLServer's clients write NaN, for which JSON has no word.
        if reader.literal("null")
            && let Ok(nan) = fast_float2::parse("nan")
        {
            return Ok(nan);
        }
        return Err(wrong(reader, index, "not a number"));
    };
    if is_finite(value) {
        return Ok(value);
    }
    // Beyond FP32 it is infinite, as in every client; beyond FP64 it is a mistake.
    let written = reader.since(start);
    let is_word = written.ends_with(|last: char| last.is_ascii_alphabetic());
    if !is_word && fast_float2::parse::<f64, _>(written).is_ok_and(f64::is_infinite) {
        let shown = JsonReader::new(written).shown();
        return Err(Error::invalid(format!("element {index} is {shown}, out of range")));
    }
    Ok(value)
}

fn string(reader: &mut JsonReader<'_>, index: usize, bytes: &mut Vec<u8>) -> Result<()> {
    if reader.peek() != Some(b'"') {
        return Err(wrong(reader, index, "not a string"));
    }
    let text = reader.string().map_err(malformed)?;
    let length = u32::try_from(text.len())
        .map_err(|_| Error::invalid(format!("element {index} is longer than 4 GiB")))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

/// What an integer type can hold, for errors.
trait IntegerLimits {
    const LOWEST_VALUE: i128;
    const HIGHEST_VALUE: i128;
}

macro_rules! limits {
    ($($type:ty),*) => {$(
        impl IntegerLimits for $type {
            const LOWEST_VALUE: i128 = <$type>::MIN as i128;
            const HIGHEST_VALUE: i128 = <$type>::MAX as i128;
        }
    )*};
}

limits!(u8, u16, u32, u64, i8, i16, i32, i64);
