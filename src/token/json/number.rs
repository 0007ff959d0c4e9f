//! A JSON number as it was written, and its reading as seconds.

use std::fmt;

/// A number as written: at most 64 bytes of RFC 8259's grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// Takes text that the parser recognised as a number.
    pub(super) fn new(literal: &str) -> Self {
        Self(literal.to_owned())
    }

    /// The text of the number.
    #[must_use]
    pub fn literal(&self) -> &str {
        &self.0
    }

    /// The number as whole seconds, rounded down: `None` unless 0 ≤ x ≤ 2^53 (T-42).
    ///
    /// Exact for every exponent: no float is involved, so nothing is rounded up into validity and
    /// nothing overflows.
    #[must_use]
    pub fn as_seconds(&self) -> Option<i64> {
        let decimal = Decimal::of(&self.0);
        let mut digits = decimal.digits();
        if digits.clone().next().is_none() {
            return Some(0);
        }
        if decimal.negative || decimal.point > LONGEST {
            return None;
        }
        let whole_digits = usize::try_from(decimal.point).unwrap_or(0);
        let mut whole: i64 = 0;
        for _ in 0..whole_digits {
            let digit = digits.next().unwrap_or(0);
            whole = whole.checked_mul(10)?.checked_add(i64::from(digit))?;
        }
        let has_fraction = digits.any(|digit| digit != 0);
        (whole < MOST_SECONDS || (whole == MOST_SECONDS && !has_fraction)).then_some(whole)
    }

    /// The number for output; what no `f64` can hold becomes its text.
    pub(super) fn to_json(&self) -> serde_json::Value {
        if let Ok(whole) = self.0.parse::<i64>() {
            return whole.into();
        }
        if let Ok(whole) = self.0.parse::<u64>() {
            return whole.into();
        }
        self.0
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map_or_else(
                || serde_json::Value::String(self.0.clone()),
                serde_json::Value::Number,
            )
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `0.digits × 10^point`, without leading zeros in the digits; no digits is zero.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    leading_zeros: usize,
    point: i64,
}

impl<'a> Decimal<'a> {
    fn of(literal: &'a str) -> Self {
        let (negative, rest) = match literal.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = whole.bytes().chain(fraction.bytes());
        let zeros = all.take_while(|byte| *byte == b'0').count();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let point = parse_exponent(exponent)
            .saturating_add(count(whole.len()))
            .saturating_sub(count(zeros));
        Self {
            negative,
            whole,
            fraction,
            leading_zeros: zeros,
            point,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + Clone {
        let all = self.whole.bytes().chain(self.fraction.bytes());
        all.skip(self.leading_zeros)
            .map(|byte| byte.wrapping_sub(b'0'))
    }
}

/// An exponent too long for `i64` counts as infinite.
fn parse_exponent(text: &str) -> i64 {
    let unsigned = text.trim_start_matches(['+', '-']);
    let size = unsigned.parse::<i64>().unwrap_or(i64::MAX / 2);
    if text.starts_with('-') {
        size.saturating_neg()
    } else {
        size
    }
}

/// Beyond this every float is a whole number, and no clock gets there.
const MOST_SECONDS: i64 = 1 << 53;
/// 2^53 has sixteen digits.
const LONGEST: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// T-42
    #[test]
    fn seconds_are_exact_at_every_edge() {
        for (literal, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0e5", Some(0)),
            ("0e99999999999999999999999", Some(0)),
            ("1790000000", Some(1_790_000_000)),
            ("1790000000.999999999999", Some(1_790_000_000)),
            ("1.79e9", Some(1_790_000_000)),
            ("1.79E+9", Some(1_790_000_000)),
            ("17900000000000e-4", Some(1_790_000_000)),
            ("0.00000179e15", Some(1_790_000_000)),
            ("1e-400", Some(0)),
            ("0.5", Some(0)),
            ("9007199254740992", Some(9_007_199_254_740_992)),
            ("9007199254740992.000", Some(9_007_199_254_740_992)),
            ("9007199254740992.0001", None),
            ("9007199254740993", None),
            ("9007199254740991.9", Some(9_007_199_254_740_991)),
            ("1e16", None),
            ("1e400", None),
            ("1e99999999999999999999999999", None),
            ("1e-99999999999999999999999999", Some(0)),
            ("9223372036854775808", None),
            ("18446744073709551616", None),
            ("-1", None),
            ("-0.5", None),
            ("-1e-400", None),
        ] {
            assert_eq!(Number::new(literal).as_seconds(), expected, "{literal}");
        }
    }
}
