//! Floats with 64 bits of mantissa: what Redis computes INCRBYFLOAT and HINCRBYFLOAT with where C's `long double` is the
//! x87's. Only reading, adding and writing. Results are to be the same digit for digit, since they become values.

use std::cmp::Ordering;

/// Longest text that is read as a float (as in Redis).
const MAX_TEXT: usize = 5 * 1024;
/// Decimals that are written.
const DECIMALS: u32 = 17;
/// Finite numbers are below 2 to this power.
const MAX_EXPONENT: i64 = 16384;
/// Everything up to 2 to this power is zero: half of the smallest number.
const MIN_EXPONENT: i64 = -16446;
/// Decimal exponents beyond this are out of range, whatever the digits are.
const MAX_DECIMAL: i64 = 2 * MAX_TEXT as i64;

/// A number: `mantissa * 2^exponent`, the mantissa's highest bit set unless it is zero; or infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i64,
    infinite: bool,
}

impl Extended {
    /// Zero.
    pub const ZERO: Extended = Extended { negative: false, mantissa: 0, exponent: 0, infinite: false };

    /// Reads a number as C's `strtold` does: decimal or hexadecimal, exponents, infinity. Not NaN, no blanks, nothing
    /// left over, nothing that is too large or so small that it would become zero.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() >= MAX_TEXT {
            return None;
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended { negative, infinite: true, ..Extended::ZERO });
        }
        let magnitude = match rest {
            [b'0', b'x' | b'X', rest @ ..] => {
                let (digits, point, power) = split(rest, 16, b'p')?;
                Self::quotient(digits, Big::from(1), power - 4 * point)
            }
            _ => {
                let (digits, point, power) = split(rest, 10, b'e')?;
                let scale = power - point;
                match digits.is_zero() {
                    true => Extended::ZERO,
                    false if scale.abs() > MAX_DECIMAL => return None,
                    false if scale >= 0 => Self::quotient(digits.times_ten_to(scale as u32), Big::from(1), 0),
                    false => Self::quotient(digits, Big::from(1).times_ten_to(-scale as u32), 0),
                }
            }
        };
        (magnitude.mantissa == 0 || magnitude.in_range()).then_some(Extended { negative, ..magnitude })
    }

    fn in_range(&self) -> bool {
        let top = self.exponent.saturating_add(64);
        top <= MAX_EXPONENT && top > MIN_EXPONENT
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        let magnitude = match self.infinite {
            true => f64::INFINITY,
            false => self.mantissa as f64 * 2f64.powi(self.exponent.clamp(-1200, 1200) as i32),
        };
        if self.negative { -magnitude } else { magnitude }
    }

    /// Neither of the infinities.
    pub fn is_finite(&self) -> bool {
        !self.infinite
    }

    /// `num / den * 2^exponent`, to the nearest.
    fn quotient(mut num: Big, mut den: Big, exponent: i64) -> Extended {
        if num.is_zero() {
            return Extended::ZERO;
        }
        // Once both are equally long, their quotient is between a half and 2.
        let shift = num.bits() as i64 - den.bits() as i64;
        if shift < 0 {
            num.shift(-shift as usize)
        } else {
            den.shift(shift as usize)
        }
        const BITS: i64 = 66;
        let mut q = 0u128;
        for _ in 0..BITS {
            q <<= 1;
            if num.cmp(&den) != Ordering::Less {
                num.subtract(&den);
                q |= 1;
            }
            num.shift(1);
        }
        Self::rounded(false, q, !num.is_zero(), exponent.saturating_add(shift - (BITS - 1)))
    }

    /// `wide * 2^exponent` and a little more if `sticky`, to the nearest, to the even of two.
    fn rounded(negative: bool, wide: u128, sticky: bool, exponent: i64) -> Extended {
        if wide == 0 {
            return Extended::ZERO;
        }
        let surplus = i64::from(128 - wide.leading_zeros()) - 64;
        let (mantissa, exponent) = if surplus <= 0 {
            ((wide as u64) << -surplus, exponent.saturating_add(surplus))
        } else {
            let mantissa = round_shift(wide, surplus as u32, sticky);
            match u64::try_from(mantissa) {
                Ok(m) => (m, exponent.saturating_add(surplus)),
                // It was all ones: the next power of two.
                Err(_) => (1 << 63, exponent.saturating_add(surplus + 1)),
            }
        };
        Extended { negative, mantissa, exponent, infinite: false }
    }

    /// The sum, to the nearest.
    pub fn plus(self, other: Extended) -> Extended {
        if self.infinite || other.infinite {
            return Extended { infinite: true, ..self };
        }
        if self.mantissa == 0 || other.mantissa == 0 {
            return if self.mantissa == 0 { other } else { self };
        }
        let (a, b) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let distance = a.exponent - b.exponent;
        let (high, low) = (u128::from(a.mantissa) << 63, u128::from(b.mantissa) << 63);
        let (low, sticky) = match u32::try_from(distance).ok().filter(|&d| d < 128) {
            Some(d) => (low >> d, low >> d << d != low),
            None => (0, true),
        };
        let (negative, wide) = if a.negative == b.negative {
            (a.negative, high + low)
        } else if high >= low {
            // What the shift lost of the smaller one is missing in the difference.
            (a.negative, high - low - u128::from(sticky))
        } else {
            (b.negative, low - high)
        };
        let sum = Self::rounded(negative, wide, sticky, a.exponent - 63);
        Extended { infinite: sum.exponent + 64 > MAX_EXPONENT, ..sum }
    }

    /// Writes a finite number with as many of 17 decimals as are not zeros at the end, without an exponent.
    pub fn format(self) -> String {
        const UNIT: u128 = 10u128.pow(DECIMALS);
        let digits = if self.exponent >= 0 {
            let mut whole = Big::from(self.mantissa);
            whole.shift(self.exponent as usize);
            whole.decimal()
        } else {
            let shift = u32::try_from(-self.exponent).unwrap_or(u32::MAX);
            let scaled = u128::from(self.mantissa) * UNIT;
            // 121 bits at most: shifted by 128 it is less than a half.
            let scaled = if shift < 128 { round_shift(scaled, shift, false) } else { 0 };
            let text = format!("{}.{:017}", scaled / UNIT, scaled % UNIT);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        if self.negative && digits != "0" { format!("-{digits}") } else { digits }
    }
}

/// `n / 2^shift` to the nearest, to the even of two; `sticky`: `n` is a little more than that. 0 < `shift` < 128.
fn round_shift(n: u128, shift: u32, sticky: bool) -> u128 {
    let (floor, rest, half) = (n >> shift, n & ((1 << shift) - 1), 1 << (shift - 1));
    let up = rest > half || rest == half && (sticky || floor & 1 == 1);
    floor + u128::from(up)
}

/// Splits `digits[.digits][mark exponent]`: all digits as an integer, how many of them are behind the point, the
/// exponent.
fn split(text: &[u8], radix: u32, mark: u8) -> Option<(Big, i64, i64)> {
    let end = text.iter().position(|b| b.to_ascii_lowercase() == mark).unwrap_or(text.len());
    let (digits, exponent) = (&text[..end], text.get(end + 1..));
    let point = digits.iter().position(|&b| b == b'.').unwrap_or(digits.len());
    let behind = digits.get(point + 1..).unwrap_or_default();
    if point + behind.len() == 0 {
        return None;
    }
    let mut n = Big::from(0);
    for &b in digits[..point].iter().chain(behind) {
        n.scale(radix, char::from(b).to_digit(radix)?);
    }
    let exponent = match exponent {
        None => 0,
        Some(e) => {
            let (negative, e) = match e {
                [b'-', rest @ ..] => (true, rest),
                [b'+', rest @ ..] => (false, rest),
                _ => (false, e),
            };
            if e.is_empty() || !e.iter().all(u8::is_ascii_digit) {
                return None;
            }
            // A quarter of the range leaves room for what is added to it.
            let n = e.iter().fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
            if negative { -n.min(i64::MAX / 4) } else { n.min(i64::MAX / 4) }
        }
    };
    Some((n, behind.len() as i64, exponent))
}

/// A natural number of any size; the lowest word first, the highest not zero.
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(n: u64) -> Big {
        let mut big = Big(vec![n as u32, (n >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    /// Multiplies and adds.
    fn scale(&mut self, by: u32, plus: u32) {
        let mut carry = u64::from(plus);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(by);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn times_ten_to(mut self, power: u32) -> Big {
        (0..power / 9).for_each(|_| self.scale(1_000_000_000, 0));
        self.scale(10u32.pow(power % 9), 0);
        self
    }

    /// Multiplies by 2 to the power of `bits`.
    fn shift(&mut self, bits: usize) {
        self.scale(1 << (bits % 32), 0);
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, bits / 32));
        }
    }

    fn cmp(&self, other: &Big) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Subtracts what is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (i, word) in self.0.iter_mut().enumerate() {
            let (less, b1) = word.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (less, b2) = less.overflowing_sub(u32::from(borrow));
            (*word, borrow) = (less, b1 || b2);
        }
        self.trim();
    }

    fn decimal(mut self) -> String {
        let mut parts = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u64;
            for word in self.0.iter_mut().rev() {
                let n = rest << 32 | u64::from(*word);
                (*word, rest) = ((n / 1_000_000_000) as u32, n % 1_000_000_000);
            }
            self.trim();
            parts.push(if self.is_zero() { rest.to_string() } else { format!("{rest:09}") });
        }
        if parts.is_empty() { "0".into() } else { parts.into_iter().rev().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let (a, b) = (Extended::parse(a.as_bytes()).unwrap(), Extended::parse(b.as_bytes()).unwrap());
        assert_eq!(a.plus(b).format(), b.plus(a).format());
        a.plus(b).format()
    }

    /// What redis-server 7.0 answers to SET and INCRBYFLOAT (amd64).
    #[test]
    fn sums_as_redis_writes_them() {
        for (a, b, want) in [
            ("0.1", "0.2", "0.3"),
            ("3.0", "0.1", "3.1"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "-0", "0"),
            ("1", "-1", "0"),
            ("0x10", "0x1.8p3", "28"),
            ("1e17", "0.25", "100000000000000000.25"),
        ] {
            assert_eq!(sum(a, b), want, "{a} + {b}");
        }
    }

    #[test]
    fn reads_only_numbers() {
        for bad in [
            "", " 1", "1 ", "nan", "1e", "1e+", ".", "-", "0x", "0x.p1", "1e5000", "1e-5000", "1x", "--1",
            "1e1.5", "é",
        ] {
            assert_eq!(Extended::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Extended::parse(&[b'1'; MAX_TEXT]), None);
        for good in ["0e99999999999999999999", "-0", "+.5", "5.", "1E-3", "INF", "-infinity"] {
            assert!(Extended::parse(good.as_bytes()).is_some(), "{good}");
        }
        let large = Extended::parse(b"1e4932").unwrap();
        assert!(large.is_finite() && !large.plus(large).is_finite());
    }

    /// Sums of integers below 2^63 are exact, and so are halves.
    #[test]
    fn is_exact_where_it_can_be() {
        let mut rng = crate::store::rng::Rng::new(5);
        for _ in 0..2000 {
            let (a, b) = ((rng.next_u64() >> 2) as i64, (rng.next_u64() >> rng.below(60)) as i64 >> 2);
            assert_eq!(sum(&a.to_string(), &b.to_string()), (a + b).to_string());
            assert_eq!(sum(&(-a).to_string(), &b.to_string()), (b - a).to_string());
            let (a, b) = (a.abs() >> 12, b.abs() >> 12);
            assert_eq!(sum(&format!("{a}.5"), &b.to_string()), format!("{}.5", a + b));
        }
    }
}
