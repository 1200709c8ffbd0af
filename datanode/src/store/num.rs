//! Numbers as Redis writes and reads them: the one place where bytes become integers or floats and back.

use super::extended::Extended;

/// Longest decimal form of an `i64`, sign included.
const INT_LEN: usize = 20;

/// Room for the decimal form of an integer.
#[derive(Clone, Copy, Debug)]
pub struct IntBuf([u8; INT_LEN]);

impl Default for IntBuf {
    fn default() -> Self {
        IntBuf::new()
    }
}

impl IntBuf {
    /// Fresh room.
    #[inline]
    pub fn new() -> IntBuf {
        IntBuf([0; INT_LEN])
    }

    /// The decimal form of `n`.
    #[inline]
    pub fn format(&mut self, n: i64) -> &[u8] {
        let mut at = INT_LEN;
        let mut left = n.unsigned_abs();
        loop {
            at -= 1;
            self.0[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if n < 0 {
            at -= 1;
            self.0[at] = b'-';
        }
        &self.0[at..]
    }
}

/// The length of the decimal form of `n`.
pub fn int_len(n: i64) -> usize {
    let digits = n.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(n < 0)
}

/// The integer that `s` is the canonical decimal form of: no plus sign, no leading zeros, no "-0", no spaces. So
/// formatting the result gives `s` back.
#[inline]
pub fn parse_int(s: &[u8]) -> Option<i64> {
    if s.is_empty() || s.len() > INT_LEN {
        return None;
    }
    let (negative, digits) = if s[0] == b'-' { (true, &s[1..]) } else { (false, s) };
    match digits.first()? {
        b'0' if s.len() == 1 => return Some(0),
        b'1'..=b'9' => {}
        _ => return None,
    }
    let mut n: u64 = 0;
    for &c in digits {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if negative { 0i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() }
}

/// A float as C's `strtod` reads it: decimal or hexadecimal, exponent, `inf`/`infinity` in any case; what is too large
/// becomes infinite, what is too small zero. Not NaN, no spaces, nothing left over.
pub fn parse_float_lossy(s: &[u8]) -> Option<f64> {
    match std::str::from_utf8(s).ok()?.parse::<f64>() {
        Ok(x) => Some(x).filter(|x| !x.is_nan()),
        // Rust does not know the hexadecimal form.
        Err(_) => Some(Extended::parse(s)?.to_f64()),
    }
}

/// A float as commands take it: the same without what would become infinite or zero.
pub fn parse_float(s: &[u8]) -> Option<f64> {
    let has = |f: fn(&u8) -> bool| s.iter().take_while(|b| !b"eEpP".contains(b)).any(f);
    parse_float_lossy(s).filter(|&x| match x {
        _ if x.is_infinite() => !has(u8::is_ascii_digit),
        0.0 => !has(|b| matches!(b, b'1'..=b'9')),
        _ => true,
    })
}

/// The integer with the same value, if there is one (of -0 it is 0).
pub fn float_as_int(x: f64) -> Option<i64> {
    // Half the range is what Redis takes: beyond it, conversions are not exact everywhere.
    const LIMIT: f64 = (i64::MAX / 2) as f64;
    (x > -LIMIT && x < LIMIT && x as i64 as f64 == x).then_some(x as i64)
}

/// A float as Redis 7 replies it: 17 significant digits as C's `%.17g` writes them; `inf`, `-inf`, `nan`, `-0`.
pub fn format_float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    match float_as_int(x) {
        Some(n) if n.unsigned_abs() < 10u64.pow(DIGITS as u32) => n.to_string(),
        _ => format_general(x, DIGITS),
    }
}

/// Significant digits of a float: enough to read the same number back.
const DIGITS: i32 = 17;

/// A finite number with so many significant digits, as C's `%.*g` writes it.
pub fn format_general(x: f64, digits: i32) -> String {
    let scientific = format!("{:.*e}", digits as usize - 1, x);
    let (mantissa, exponent) = scientific.split_once('e').expect("scientific form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => s.to_owned(),
    };
    if (-4..digits).contains(&exponent) {
        // The same digits, written with a point: the decimals are as many as the digits leave.
        trim(&format!("{:.*}", (digits - 1 - exponent) as usize, x))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_canonical() {
        for n in [0, 1, -1, 9, 10, 99, 100, -100, i64::MAX, i64::MIN, 1 << 53] {
            let mut buf = IntBuf::new();
            let s = buf.format(n).to_vec();
            assert_eq!(s, n.to_string().into_bytes());
            assert_eq!(s.len(), int_len(n));
            assert_eq!(parse_int(&s), Some(n));
        }
        let bad = "|+1|-0|00|01|-01| 1|1 |-|1a|9223372036854775808|-9223372036854775809|99999999999999999999";
        for s in bad.split('|') {
            assert_eq!(parse_int(s.as_bytes()), None, "{s:?}");
        }
    }

    /// What redis-server 7.0 answers to ZADD followed by ZSCORE.
    #[test]
    fn floats_as_redis_writes_them() {
        for (x, s) in [
            (0.1, "0.10000000000000001"),
            (1.5, "1.5"),
            (123456.789, "123456.789"),
            (1.0e-7, "9.9999999999999995e-08"),
            (3.0, "3"),
            (123456789012.0, "123456789012"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1e20, "1e+20"),
            (-4.5e18, "-4.5e+18"),
            (1e-5, "1.0000000000000001e-05"),
            (0.0001, "0.0001"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "-0"),
        ] {
            assert_eq!(format_float(x), s);
            assert_eq!(parse_float(s.as_bytes()).map(f64::to_bits), Some(x.to_bits()), "{s}");
        }
        for bad in ["nan", "1e400", "-1e400", "1e-400", "0x", "1e", " 1"] {
            assert_eq!(parse_float(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_float_lossy(b"-1e400"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float(b"0x10"), Some(16.0));
        assert_eq!(parse_float(b"0e99"), Some(0.0));
        assert_eq!(parse_float(b"1 "), None);
        assert_eq!(parse_float(b""), None);
        assert_eq!(parse_float(b"-INF"), Some(f64::NEG_INFINITY));
    }
}
