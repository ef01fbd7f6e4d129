//! Durations as Go writes them: `1h30m`, `1.5s`, `300ms`.

use std::time::Duration;

/// Reads a duration; a negative one is less than nothing and therefore an error.
///
/// # Errors
/// The reason, as part of a sentence.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err("it is empty");
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, tail) = digits(rest);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => digits(tail),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err("expected a number such as 30s, 1m30s or 500ms");
        }
        let unit_length =
            tail.find(|character: char| character == '.' || character.is_ascii_digit());
        let (unit, tail) = tail.split_at(unit_length.unwrap_or(tail.len()));
        let nanoseconds: u128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err("the unit is missing: use h, m, s, ms, us or ns"),
            _ => return Err("the unit is unknown: use h, m, s, ms, us or ns"),
        };
        if whole.len() > 19 {
            return Err("it is too long");
        }
        let whole: u128 = whole.parse().unwrap_or(0);
        // More digits than this are less than a nanosecond, whatever the unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let fraction: u128 = fraction.parse().unwrap_or(0);
        total += whole * nanoseconds + fraction * nanoseconds / scale;
        if total > i64::MAX as u128 {
            return Err("it is too long");
        }
        rest = tail;
    }
    if is_negative && total > 0 {
        return Err("it is negative");
    }
    Ok(Duration::from_nanos(
        u64::try_from(total).unwrap_or(u64::MAX),
    ))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        let check = |text: &str, nanoseconds: Option<u64>| {
            let found = parse(text).ok().map(|duration| duration.as_nanos());
            assert_eq!(found, nanoseconds.map(u128::from), "{text}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("-0", Some(0));
        check("30s", Some(30_000_000_000));
        check("+5m", Some(300_000_000_000));
        check("1h2m3.5s", Some(3_723_500_000_000));
        check(".5s", Some(500_000_000));
        check("1.s", Some(1_000_000_000));
        check("100us", Some(100_000));
        check("2\u{b5}s", Some(2_000));
        check("3\u{3bc}s", Some(3_000));
        check("1.000000000999999999999999999s", Some(1_000_000_000));
        check("2562047h47m16.854775807s", Some(i64::MAX as u64));
        check("2562047h47m16.854775808s", None);
        check("99999999999999999999999h", None);
        check("", None);
        check("+", None);
        check("1", None);
        check("1d", None);
        check("s", None);
        check(".s", None);
        check("-1s", None);
        check("1s ", None);
    }
}
