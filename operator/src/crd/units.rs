//! Durations, Kubernetes quantities and redis.conf's amounts of memory, parsed and written without floating point.

use std::time::Duration;

use thiserror::Error;

/// A text that is not what its field asks for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UnitError {
    /// Not a duration.
    #[error("{0:?} is not a duration such as 500ms, 10s or 1m30s")]
    Duration(String),
    /// Not a quantity.
    #[error("{0:?} is not an amount such as 64Mi or 1Gi")]
    Quantity(String),
}

/// Parses a duration: whole numbers with the units ms, s, m and h, one after the other.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, next) = split(after, |c| c.is_ascii_alphabetic());
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Parses a Kubernetes quantity (apimachinery's `resource.Quantity`) into whole units, rounded up.
pub fn quantity(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Quantity(text.to_owned());
    let (number, suffix) = split(text.strip_prefix('+').unwrap_or(text), |c| c.is_ascii_digit() || c == '.');
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 9 {
        return Err(wrong());
    }
    // (multiplier, divisor) of the suffix.
    let (times, over): (u128, u128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E']).ok_or_else(wrong)?;
            let power: i32 = digits.parse().map_err(|_| wrong())?;
            match power {
                0..=18 => (10u128.pow(power.unsigned_abs()), 1),
                -18..=-1 => (1, 10u128.pow(power.unsigned_abs())),
                _ => return Err(wrong()),
            }
        }
    };
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let over = over * 10u128.pow(fraction.len() as u32);
    let value = digits.checked_mul(times).ok_or_else(wrong)?.div_ceil(over);
    u64::try_from(value).map_err(|_| wrong())
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("1s", 1_000), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "1", "s", "1x", "-1s", "1.5s", "1s ", "99999999999999999999s", "9999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities() {
        let table: &[(&str, u64)] = &[
            ("0", 0),
            ("1", 1),
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("500m", 1),
            ("1500m", 2),
            ("1e3", 1_000),
            ("10G", 10_000_000_000),
        ];
        for (text, value) in table {
            assert_eq!(quantity(text), Ok(*value), "{text}");
        }
        for text in
            ["", "Gi", ".", "1.2.3", "1gb", "-1", "1 Gi", "1.0000000000Gi", "1e99", "99999999999Ei", "1Gi\n"]
        {
            assert!(quantity(text).is_err(), "{text}");
        }
    }
}
