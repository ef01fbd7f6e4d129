//! STOPSIGNAL: the names of Linux's signals.

/// The names without `SIG`, as signal(7) lists them; real-time signals are counted from either end.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS",
    "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    "XFSZ",
];

/// Whether a text names a signal: a number other than zero, or a name with or without `SIG`, in any case.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let counted = |prefix: &str, most: u8| {
        name.strip_prefix(prefix).is_some_and(|digits| {
            digits.parse().is_ok_and(|number: u8| {
                (1..=most).contains(&number) && digits == number.to_string()
            })
        })
    };
    NAMES.contains(&name) || counted("RTMIN+", 15) || counted("RTMAX-", 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known() {
        for good in [
            "TERM",
            "SIGTERM",
            "sigquit",
            "9",
            "-1",
            "RTMIN+15",
            "SIGRTMAX-14",
            "rtmin",
        ] {
            assert!(is_signal(good), "{good}");
        }
        for bad in [
            "",
            "0",
            "SIG",
            "NOPE",
            "RTMIN+16",
            "RTMIN+01",
            "RTMAX-15",
            "SIGSIGTERM",
            "LOST",
        ] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
