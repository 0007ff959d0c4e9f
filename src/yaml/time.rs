//! Recognises times with a zone (RFC 3339).

/// The grammar of RFC 3339 section 5.6: date, time of day with seconds, and an offset in numbers. A
/// leap second is refused, since clocks disagree about which second it is; so are zone names.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let Some((date, rest)) = text.split_once(['T', 't']) else {
        return false;
    };
    let (time, offset) = match rest.strip_suffix(['Z', 'z']) {
        Some(time) => (time, None),
        None => match rest
            .rfind(['+', '-'])
            .and_then(|at| rest.split_at_checked(at))
        {
            Some((time, offset)) => (time, offset.get(1..)),
            None => return false,
        },
    };
    let (clock, fraction) = match time.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (time, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers(date, '-', &[(4, 9_999), (2, 12), (2, 31)])
        && numbers(clock, ':', &[(2, 23), (2, 59), (2, 59)])
        && fraction.is_none_or(digits)
        && offset.is_none_or(|offset| numbers(offset, ':', &[(2, 23), (2, 59)]))
}

/// Numbers of exactly so many digits, each at most so large.
fn numbers(text: &str, separator: char, parts: &[(usize, u16)]) -> bool {
    let found: Vec<&str> = text.split(separator).collect();
    found.len() == parts.len()
        && found.iter().zip(parts).all(|(found, (digits, most))| {
            found.len() == *digits
                && found.bytes().all(|byte| byte.is_ascii_digit())
                && found.parse::<u16>().is_ok_and(|number| number <= *most)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_of_rfc_3339_and_nothing_near_it() {
        for text in [
            "2027-01-31T18:00:00Z",
            "2027-01-31t18:00:00z",
            "2027-01-31T18:00:00.5Z",
            "2027-01-31T18:00:00+02:00",
            "2027-01-31T18:00:00-23:59",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(is_rfc3339(text), "{text}");
        }
        for text in [
            "2027-01-31",
            "2027-01-31T18:00Z",
            "2027-01-31T18:00:60Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T18:00:00",
            "2027-01-31T18:00:00[Europe/Berlin]",
            "2027-01-31T18:00:00Z[Europe/Berlin]",
            "2027-01-31T18:00:00+02",
            "2027-01-31T18:00:00+0200",
            "2027-01-31T18:00:00.Z",
            "2027-01-31 18:00:00Z",
            "2027-1-31T18:00:00Z",
            "+02027-01-31T18:00:00Z",
            "-2027-01-31T18:00:00Z",
            "2027-13-31T18:00:00Z",
            "",
            "T",
        ] {
            assert!(!is_rfc3339(text), "{text}");
        }
    }
}
