//! EXPOSE: `[[ip:]host:]port[-port][/protocol]`.

use std::net::IpAddr;

/// More digits than a port can have.
const LONGEST_NUMBER: usize = 20;

/// Evaluates one word to `port/protocol` each. Addresses and host ports are checked and dropped.
///
/// # Errors
/// A sentence that says what is wrong with the word.
pub(super) fn parse(word: &str) -> Result<Vec<String>, String> {
    let (address, host, container) = split(word);
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err("it names no port".to_owned());
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => {
            return Err(format!(
                "{protocol} is none of the protocols tcp, udp and sctp"
            ));
        }
    };
    if !is_address(address) {
        return Err(format!("{address} is no IP address"));
    }
    let (first, last) = range(port)?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host)?;
        if first != last && last - first != host_last - host_first {
            return Err(format!("the ranges {host} and {port} differ in length"));
        }
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// Address, host port and container port with protocol.
fn split(word: &str) -> (&str, &str, &str) {
    let Some((front, container)) = word.rsplit_once(':') else {
        return ("", "", word);
    };
    let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
    (address, host, container)
}

fn is_address(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    text.is_empty() || bare.parse::<IpAddr>().is_ok()
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |digits: &str| {
        let parsed = (digits.len() <= LONGEST_NUMBER).then(|| digits.parse::<u16>());
        parsed.and_then(Result::ok).ok_or_else(|| {
            format!(
                "\"{}\" is no port between 0 and 65535",
                digits.escape_debug()
            )
        })
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("the range {text} is empty"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_spelled_out() {
        for (word, expect) in [
            ("80", "80/tcp"),
            ("80/UDP", "80/udp"),
            ("80/", "80/tcp"),
            ("9000/sctp", "9000/sctp"),
            ("8000-8002/udp", "8000/udp 8001/udp 8002/udp"),
            ("7-7", "7/tcp"),
            ("8080:80", "80/tcp"),
            ("127.0.0.1:8080:80/udp", "80/udp"),
            ("[::1]:8080:80", "80/tcp"),
            ("::1:8080:80", "80/tcp"),
            ("8000-8001:80", "80/tcp"),
            ("8000-8001:80-81", "80/tcp 81/tcp"),
        ] {
            assert_eq!(parse(word).unwrap().join(" "), expect, "{word}");
        }
    }

    #[test]
    fn others_are_refused() {
        for word in [
            "",
            "/tcp",
            "80/icmp",
            "x",
            "-1",
            "65536",
            "9-8",
            "1-2-3",
            "80:",
            "1.2.3:1:2",
            "1-2:3-5",
            "[x]:1:2",
            "99999999999999999999999",
        ] {
            assert!(parse(word).is_err(), "{word} parsed");
        }
    }
}
