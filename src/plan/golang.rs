//! How Go prints values: BuildKit's history entries hold `%q`, `%v` and `%+v` of lists, durations and structs.

use std::fmt::Write as _;

use crate::oci::Healthcheck;

/// A list of strings as `%q` prints it: `["a" "b"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A list of strings as `%v` prints it: `[a b]`.
pub(super) fn plain_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// A health check as `%+v` prints it.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain_list(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries
    )
}

/// A string as `%q` prints it.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ' '..='~' => out.push(letter),
            _ if is_printable(letter) => out.push(letter),
            _ => push_escaped(&mut out, letter),
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, letter: char) {
    let code = u32::from(letter);
    let written = if code < 0x80 {
        write!(out, "\\x{code:02x}")
    } else if code < 0x1_0000 {
        write!(out, "\\u{code:04x}")
    } else {
        write!(out, "\\U{code:08x}")
    };
    written.expect("writing to a string cannot fail");
}

/// Letters, marks, numbers, punctuation and symbols, not spaces: what Rust leaves alone inside of a debugged string.
fn is_printable(letter: char) -> bool {
    // Behind another letter, because a mark at the start of a string is escaped.
    let text = String::from_iter(['a', letter]);
    text.escape_debug().eq(text.chars())
}

/// A duration in nanoseconds as Go prints it: `1h0m0s`, `1m30.5s`, `300ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    match total {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{sign}{total}ns"),
        1_000..1_000_000 => return format!("{sign}{}\u{b5}s", decimal(total, 1_000)),
        1_000_000..SECOND => return format!("{sign}{}ms", decimal(total, 1_000_000)),
        _ => {}
    }
    let (minutes, rest) = (total / (60 * SECOND), total % (60 * SECOND));
    let seconds = decimal(rest, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, part) = (value / unit, value % unit);
    if part == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{part:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_in_go() {
        for (text, expect) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("say \"x\" \\n", r#""say \"x\" \\n""#),
            ("\n\r\t\x0b\x0c\x07\x08", r#""\n\r\t\v\f\a\b""#),
            ("\x00\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("\u{e9}\u{4e16}\u{1f600}", "\"\u{e9}\u{4e16}\u{1f600}\""),
            ("\u{301}", "\"\u{301}\""),
            (
                "\u{a0}\u{ad}\u{200b}\u{e0001}",
                r#""\u00a0\u00ad\u200b\U000e0001""#,
            ),
            ("'", r#""'""#),
        ] {
            assert_eq!(quoted(text), expect);
        }
        assert_eq!(quoted_list(&[]), "[]");
    }

    #[test]
    fn durations_are_printed_as_in_go() {
        for (nanoseconds, expect) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (300_000_000, "300ms"),
            (1_050_000, "1.05ms"),
            (5_000_000_000, "5s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_400_000_000_000, "1h30m0s"),
        ] {
            assert_eq!(duration(nanoseconds), expect);
        }
    }
}
