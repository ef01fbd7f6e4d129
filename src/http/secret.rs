//! Values that must not be seen, and URLs as they may be shown.

use std::fmt;

use url::Url;

/// What is printed in the place of a secret.
pub const MASK: &str = "***";

/// A secret text: `Debug` and `Display` print a mask, only [`Secret::expose`] gives the value.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Gives the value, to be put into a request or a process that must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Says whether the value is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

/// Writes a URL without what may be secret in it: user, password, fragment and the values of its query.
pub fn redact_url(url: &Url) -> String {
    let mut text = format!("{}://", url.scheme());
    if !url.username().is_empty() || url.password().is_some() {
        text.push_str(MASK);
        text.push('@');
    }
    text.push_str(url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push(':');
        text.push_str(&port.to_string());
    }
    text.push_str(url.path());
    if let Some(query) = url.query() {
        let names: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, "")) => format!("{name}="),
                Some((name, _)) => format!("{name}={MASK}"),
                None => MASK.to_owned(),
            })
            .collect();
        text.push('?');
        text.push_str(&names.join("&"));
    }
    text
}

/// Makes text from a server fit to print: control characters become escapes, and it is cut after `limit` characters.
pub fn printable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == limit {
            shown.push_str("...");
            break;
        }
        if is_unprintable(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    // The markers by which CI systems recognize a command in a log.
    shown.replace("::", ": :").replace("##[", "# #[")
}

/// Says whether a character could move the cursor or reorder the text around it.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_masked_in_debug_and_display() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn urls_lose_their_secrets() {
        let check = |input: &str, expect: &str| {
            let url = Url::parse(input).expect("a URL");
            assert_eq!(redact_url(&url), expect, "{input}");
        };
        check(
            "https://u:p@h.io:444/a/b?sig=abc&x#frag",
            "https://***@h.io:444/a/b?sig=***&***",
        );
        check("https://token@h.io/", "https://***@h.io/");
        check(
            "http://[::1]:5000/v2/?n=&m=1",
            "http://[::1]:5000/v2/?n=&m=***",
        );
        check("https://h.io/v2/", "https://h.io/v2/");
    }

    #[test]
    fn server_text_is_escaped_and_cut() {
        assert_eq!(
            printable("a\u{1b}[31mb\r\n::add-mask::x", 100),
            r"a\u{1b}[31mb\r\n: :add-mask: :x"
        );
        assert_eq!(printable("##[add-path]", 100), "# #[add-path]");
        assert_eq!(printable(&"x".repeat(600), 512).len(), 515);
        assert_eq!(printable("safe\u{202e}evil", 100), r"safe\u{202e}evil");
    }
}
