//! A reader of JSON text that goes forward once and builds nothing. Strings without escapes are
//! slices of the text; numbers go from their digits into the type that is wanted.

use std::borrow::Cow;

use crate::protocol::decimal::{DecimalNumber, JsonFloat, ends, usual};

/// Deeper than any request; what is deeper is an attack on somebody's stack.
pub(crate) const MAX_DEPTH: usize = 32;

/// What is wrong, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

pub(crate) type JsonResult<T> = Result<T, JsonError>;

/// A place in a text. Methods take what they name and stand behind it afterwards.
pub(crate) struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    has_words: bool,
}

impl<'a> JsonReader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self::from(text, 0)
    }

    /// The same text from `at` on.
    pub(crate) fn from(text: &'a str, at: usize) -> Self {
        Self { text, at, has_words: false }
    }

    /// The same text from an earlier place on.
    pub(crate) fn again(&self, at: usize) -> Self {
        Self::from(self.text, at)
    }

    /// Whether numbers were words so far: `NaN`, `Infinity`.
    pub(crate) fn has_words(&self) -> bool {
        self.has_words
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// What was taken since `start`.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.text.len() - self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn wrong<T>(&self, what: &'static str) -> JsonResult<T> {
        let what = if self.at >= self.text.len() { "it ends too early" } else { what };
        Err(JsonError { what, at: self.at })
    }

    /// The next byte that is no white space, not taken.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it is the next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> JsonResult<()> {
        if self.take(byte) { Ok(()) } else { self.wrong(what) }
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> JsonResult<()> {
        if self.peek().is_none() { Ok(()) } else { self.wrong("something follows it") }
    }

    /// An object; `field` takes each value.
    pub(crate) fn object<E: From<JsonError>>(
        &mut self,
        mut field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "an object is expected")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':', "':' is expected")?;
            field(self, name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "',' or '}' is expected")?;
        }
    }

    /// An array; `element` takes each value.
    pub(crate) fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[', "an array is expected")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "',' or ']' is expected")?;
        }
    }

    pub(crate) fn string(&mut self) -> JsonResult<Cow<'a, str>> {
        self.expect(b'"', "a string is expected")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(byte) if *byte < b' ' => return self.wrong("a control character stands in a string"),
                Some(_) => self.at += 1,
                None => return self.wrong("it ends too early"),
            }
        }
        let end = self.at;
        self.at += 1;
        if !escaped {
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let unescaped = serde_json::from_str(&self.text[start - 1..=end]);
        unescaped.map(Cow::Owned).map_err(|_| JsonError { what: "an escape is wrong", at: start })
    }

    /// A whole number that is not negative.
    pub(crate) fn unsigned(&mut self) -> JsonResult<u64> {
        self.peek();
        let start = self.at;
        let value = self.integer::<u64>();
        value.ok_or(JsonError { what: "a whole number of 0 or more is expected", at: start })
    }

    /// A whole number, if one stands here and fits; else nothing is taken.
    pub(crate) fn integer<T: JsonInteger>(&mut self) -> Option<T> {
        let rest = self.rest();
        let (negative, digits) = match rest.split_first()? {
            (b'-', digits) => (true, digits),
            _ => (false, rest),
        };
        let mut value = T::ZERO;
        let mut length = 0;
        while let Some(digit) =
            digits.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            value = value.push(digit, negative)?;
            length += 1;
        }
        let leading_zero = length > 1 && digits.first() == Some(&b'0');
        if length == 0 || leading_zero || !ends(digits.get(length)) {
            return None;
        }
        self.at += length + usize::from(negative);
        Some(value)
    }

    /// A number, rounded once; also `NaN`, `Infinity` and `-Infinity`, which Python writes. `None`,
    /// and nothing taken, when no number stands here.
    pub(crate) fn float<T: JsonFloat>(&mut self) -> Option<T> {
        let rest = self.rest();
        if let Some((value, length)) = rest.first_chunk().and_then(usual)
            && ends(rest.get(length))
            && let Some(value) = T::narrow(value)
        {
            self.at += length;
            return Some(value);
        }
        let Some(decimal) = DecimalNumber::read(rest) else {
            return self.word::<T>(rest);
        };
        let value = match decimal.quick().and_then(T::narrow) {
            Some(value) => value,
            None => fast_float2::parse(rest.get(..decimal.length)?).ok()?,
        };
        self.at += decimal.length;
        Some(value)
    }

    fn word<T: JsonFloat>(&mut self, rest: &[u8]) -> Option<T> {
        let words: [(&[u8], &str); 3] = [(b"NaN", "nan"), (b"Infinity", "inf"), (b"-Infinity", "-inf")];
        let (word, name) = words.into_iter().find(|(word, _)| rest.starts_with(word))?;
        if !ends(rest.get(word.len())) {
            return None;
        }
        self.at += word.len();
        self.has_words = true;
        fast_float2::parse(name).ok()
    }

    /// A number without a fraction, also where it is written with one, as in `1.0` or `2.5e1`; `None`, and
    /// nothing taken, when none stands here.
    pub(crate) fn whole(&mut self) -> Option<i128> {
        let start = self.at;
        let whole = self.float::<f64>().and_then(|_| whole(self.since(start)));
        if whole.is_none() {
            self.at = start;
        }
        whole
    }

    /// `null`, if it stands here.
    pub(crate) fn null(&mut self) -> bool {
        self.peek();
        self.literal("null")
    }

    /// `true`, `false` or `null`, if it stands here.
    pub(crate) fn literal(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word.as_bytes()) && ends(self.rest().get(word.len()));
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Any value, checked and forgotten.
    pub(crate) fn skip(&mut self) -> JsonResult<()> {
        self.skip_within(MAX_DEPTH)
    }

    fn skip_within(&mut self, depth: usize) -> JsonResult<()> {
        if depth == 0 {
            return self.wrong("it is nested too deep");
        }
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip_within(depth - 1)),
            Some(b'[') => self.array(|reader| reader.skip_within(depth - 1)),
            Some(b'"') => self.string().map(drop),
            _ if self.literal("true") || self.literal("false") || self.literal("null") => Ok(()),
            _ => match self.float::<f64>() {
                Some(_) => Ok(()),
                None => self.wrong("a value is expected"),
            },
        }
    }

    /// The value that stands here as it is written, cut to what an error can hold.
    pub(crate) fn shown(&mut self) -> String {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = match rest.as_bytes().first() {
            Some(b'"') => {
                JsonReader::from(self.text, self.at).string().map_or(rest.len(), |text| text.len() + 2)
            }
            _ => rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(rest.len()),
        };
        let mut text: String = rest.chars().take(length.min(40)).collect();
        if length > 40 {
            text.push('…');
        }
        text
    }
}

/// The value of a number as JSON writes it, where it has no fraction. Digits are counted, not rounded: FP64 has too few
/// for the largest whole numbers.
fn whole(written: &str) -> Option<i128> {
    let (mantissa, power) = match written.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
        None => (written, 0),
    };
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{before}{behind}");
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // Digits before the point, once the power has moved it.
    let point = i64::try_from(before.len()).ok()?.checked_add(power.into())?;
    let zeros = usize::try_from(point.checked_sub(i64::try_from(significant.len()).ok()?)?).ok()?;
    // No type of 64 bits has more digits.
    (zeros <= 20).then(|| format!("{sign}{significant}{}", "0".repeat(zeros)).parse().ok())?
}

/// A whole number that is read digit by digit.
pub(crate) trait JsonInteger: Copy {
    const ZERO: Self;
    /// The number with a digit more; `None` when it does not fit.
    fn push(self, digit: u8, negative: bool) -> Option<Self>;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl JsonInteger for $type {
            const ZERO: Self = 0;

            fn push(self, digit: u8, negative: bool) -> Option<Self> {
                let digit = <$type>::try_from(digit).ok()?;
                let tens = self.checked_mul(10)?;
                if negative { tens.checked_sub(digit) } else { tens.checked_add(digit) }
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_json_is_taken_and_what_is_not_is_not() {
        for text in [
            r#"{"a": [1, -2.5e3, "x\n", null, true, {}], "b": {"c": []}}"#,
            "0",
            "-0.0",
            "1E+5",
            "\"\\u00e9\"",
            " [ ] ",
            "NaN",
            "[-Infinity]",
        ] {
            let mut reader = JsonReader::new(text);
            reader.skip().unwrap();
            reader.end().unwrap();
        }
        for text in [
            "",
            "[1,]",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{1:2}",
            "01",
            "-",
            "1.",
            "1.e5",
            ".5",
            "+1",
            "1e",
            "inf",
            "nul",
            "truex",
            "\"a",
            "\"\\x\"",
            "\"\n\"",
            "[",
            "{",
            "1]",
            "--1",
            "nan",
            "0x10",
        ] {
            let mut reader = JsonReader::new(text);
            assert!(reader.skip().and_then(|()| reader.end()).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(JsonReader::new(&deep).skip().unwrap_err().what, "it is nested too deep");
    }

    #[test]
    fn integers_fit_or_are_none() {
        assert_eq!(JsonReader::new("-128").integer::<i8>(), Some(-128));
        assert_eq!(JsonReader::new("18446744073709551615").integer::<u64>(), Some(u64::MAX));
        assert_eq!(JsonReader::new("-0,").integer::<u8>(), Some(0));
        for text in ["128", "-129", "1.0", "1e2", "", "-", "007", "1x"] {
            assert_eq!(JsonReader::new(text).integer::<i8>(), None, "{text}");
        }
        assert_eq!(JsonReader::new("-1").integer::<u8>(), None);
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        for (text, value) in [
            ("1.0", Some(1)),
            ("-2.50e1,", Some(-25)),
            ("0.001e3", Some(1)),
            ("-0.0", Some(0)),
            ("0e99999999", Some(0)),
            ("18446744073709551615.0", Some(u64::MAX.into())),
            ("9007199254740993.00", Some(9_007_199_254_740_993)),
            ("1e2", Some(100)),
            ("1.5", None),
            ("1e-1", None),
            ("1e999999999", None),
            ("NaN", None),
            ("Infinity", None),
            ("true", None),
            ("1.", None),
        ] {
            let mut reader = JsonReader::new(text);
            assert_eq!(reader.whole(), value, "{text}");
            let length = text.trim_end_matches(',').len();
            assert_eq!(reader.position(), if value.is_some() { length } else { 0 }, "{text}");
        }
    }

    #[test]
    fn floats_are_rounded_once() {
        let check = |text: &str| {
            assert_eq!(JsonReader::new(text).float::<f32>(), text.parse().ok(), "{text}");
            assert_eq!(JsonReader::new(text).float::<f64>(), text.parse().ok(), "{text}");
        };
        let ties = [
            "1.00000017881393432617187499",
            "1.000000178813934",
            "16777217",
            "16777217.0000001",
            "0.50000002980232238",
        ];
        let edges = [
            "3.4e39",
            "1e-50",
            "-5e-324",
            "1e-45",
            "1.1754942e-38",
            "1e400",
            "123456789012345678901234567890",
            "-0",
            "0e9999999999",
        ];
        let digits =
            ["0.1", "123456789.125", "0.12345678", "1.5e-22", "-9.007199254740991", "9.0071992547409931"];
        let more = ["0.1234567890123456", "0.12345678901234567", "-0.0", "0.00000000", "1.00000001e3"];
        for text in ties.into_iter().chain(edges).chain(digits).chain(more) {
            check(text);
            // With much behind it, as in an array.
            let behind = format!("{text},{}", "7".repeat(40));
            let mut reader = JsonReader::new(&behind);
            assert_eq!((reader.float::<f32>(), reader.position()), (text.parse().ok(), text.len()), "{text}");
        }
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            check(&format!("{}", f32::from_bits((state >> 32) as u32 & 0xbfff_ffff)));
            check(&format!("{}e{}", (state >> 20) as f64 / 1e6, (state % 60) as i64 - 30));
            let text = format!("{:.*}", (state % 18) as usize, (state >> 40) as f64 / 1e6 - 8.0);
            let behind = format!("{text}]{}", " ".repeat(40));
            assert_eq!(JsonReader::new(&behind).float::<f64>(), text.parse().ok(), "{text}");
        }
    }
}
