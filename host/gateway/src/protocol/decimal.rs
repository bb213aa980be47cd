//! Numbers: from their digits into FP32 and FP64, rounded once.

use fast_float2::FastFloat;

/// A number as it is written: digits without the point, and the power of ten that is due to it.
pub(super) struct DecimalNumber {
    negative: bool,
    /// The digits' value, if there are no more than fit.
    mantissa: Option<u64>,
    exponent: i32,
    pub(super) length: usize,
}

/// The powers of ten that FP64 holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

impl DecimalNumber {
    /// JSON's grammar, no more: not 01, 1. or +1.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let negative = text.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut at, mut value) = (start, 0_u64);
        while let Some(digit) = digit(text, at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        let mut digits = at - start;
        if digits == 0 || (digits > 1 && text.get(start) == Some(&b'0')) {
            return None;
        }
        let mut exponent = 0_i32;
        if text.get(at) == Some(&b'.') {
            let point = at + 1;
            at = point;
            loop {
                // Twice without asking: behind the last digit there are none, and that costs less
                // than a branch that random numbers take at random.
                let (first, length) = digits_in(text.get(at..).unwrap_or_default());
                value = value.wrapping_mul(INTEGER_POWERS_OF_TEN[length & 15]).wrapping_add(first);
                at += length;
                let (second, length) = digits_in(text.get(at..).unwrap_or_default());
                value = value.wrapping_mul(INTEGER_POWERS_OF_TEN[length & 15]).wrapping_add(second);
                at += length;
                if length < 8 {
                    break;
                }
            }
            if at == point {
                return None;
            }
            digits += at - point;
            exponent = -i32::try_from(at - point).ok()?;
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            at += 1;
            let minus = text.get(at) == Some(&b'-');
            at += usize::from(matches!(text.get(at), Some(b'-' | b'+')));
            let (first, mut power) = (at, 0_i32);
            while let Some(digit) = digit(text, at) {
                power = power.saturating_mul(10).saturating_add(i32::from(digit));
                at += 1;
            }
            if at == first {
                return None;
            }
            exponent = exponent.saturating_add(if minus { -power } else { power });
        }
        let mantissa = (digits <= 19).then_some(value);
        ends(text.get(at)).then_some(Self { negative, mantissa, exponent, length: at })
    }

    /// The number in FP64, where digits and power are both exact there, so that one operation rounds
    /// once. Most numbers that clients send are of this kind.
    pub(super) fn quick(&self) -> Option<f64> {
        let mantissa = self.mantissa.filter(|mantissa| *mantissa < 1 << 53)? as f64;
        let power = *POWERS_OF_TEN.get(self.exponent.unsigned_abs() as usize)?;
        let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -value } else { value })
    }
}

/// A number with one digit before its point, as most are that models take, and its length; `None` for all others.
/// As [`DecimalNumber::quick`] gives it, at half of what that takes: nothing is asked about the end of the text.
#[inline(always)]
pub(super) fn usual(window: &[u8; WINDOW_BYTES]) -> Option<(f64, usize)> {
    let (negative, unsigned) = match window.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, &window[..WINDOW_BYTES - 1]),
    };
    let ([whole, b'.'], digits) = unsigned.split_first_chunk::<2>()? else { return None };
    let whole = whole.wrapping_sub(b'0');
    let (first, digits) = digits.split_first_chunk::<8>()?;
    let (first, mut length) = digits_of(*first);
    if whole > 9 || length == 0 {
        return None;
    }
    let mut mantissa = (u64::from(whole) * INTEGER_POWERS_OF_TEN[length & 15]).wrapping_add(first);
    if length == 8 {
        let (second, more) = digits_of(*digits.first_chunk::<8>()?);
        mantissa = mantissa.wrapping_mul(INTEGER_POWERS_OF_TEN[more & 15]).wrapping_add(second);
        length += more;
    }
    if mantissa >= 1 << 53 {
        return None;
    }
    let value = mantissa as f64 / POWERS_OF_TEN[length];
    Some((if negative { -value } else { value }, usize::from(negative) + 2 + length))
}

/// What [`usual`] looks at: a sign, a digit, the point, and sixteen digits; rounded up.
pub(super) const WINDOW_BYTES: usize = 32;

/// Whether a number or word may end before this byte.
pub(super) fn ends(next: Option<&u8>) -> bool {
    next.is_none_or(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
}

fn digit(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
}

/// The powers of ten by which up to eight digits move a number.
const INTEGER_POWERS_OF_TEN: [u64; 16] =
    [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 0, 0, 0, 0, 0, 0, 0];

/// The value of the digits at the start of a text, eight at most, and how many they are. All at once:
/// numbers have as many digits as they please, and a loop over them is guessed wrong each time.
fn digits_in(text: &[u8]) -> (u64, usize) {
    match text.first_chunk::<8>() {
        Some(eight) => digits_of(*eight),
        None => digits_of(std::array::from_fn(|at| text.get(at).copied().unwrap_or_default())),
    }
}

#[inline(always)]
fn digits_of(text: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(text);
    // A byte below '0' borrows, one above '9' carries: the lowest such shows in its highest bit.
    let numbers = word.wrapping_sub(0x3030_3030_3030_3030);
    let others = (word.wrapping_add(0x4646_4646_4646_4646) | numbers) & 0x8080_8080_8080_8080;
    let length = others.trailing_zeros() / 8;
    // Zeros in front make eight of them.
    let half = 32 - 4 * length;
    let eight = numbers << half << half;
    let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff, length as usize)
}

/// FP32 and FP64.
pub(crate) trait JsonFloat: FastFloat + Copy {
    /// From what was rounded to FP64; `None` where that was a rounding too many.
    fn narrow(value: f64) -> Option<Self>;
}

impl JsonFloat for f64 {
    fn narrow(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl JsonFloat for f32 {
    fn narrow(value: f64) -> Option<Self> {
        // Half way between two FP32 it matters which side the exact number was on.
        let halfway = value.to_bits() & 0x1fff_ffff == 0x1000_0000;
        let normal = value == 0.0 || (1e-37..1e38).contains(&value.abs());
        (normal && !halfway).then_some(value as f32)
    }
}
