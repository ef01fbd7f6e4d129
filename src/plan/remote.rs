//! Sources of an ADD that are not in the context.

/// What a source is if it is not local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remote {
    /// A file behind a URL.
    Url,
    /// A git repository.
    Git,
}

/// The name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

/// What a source is if it is not local. (`github.com/...` without a scheme is local.)
pub(super) fn remote(source: &str) -> Option<Remote> {
    if let Some((scheme, rest)) = source.split_once("://") {
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        return match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => Some(Remote::Git),
            "http" | "https" if rest.strip_suffix(".git").is_some() => Some(Remote::Git),
            "http" | "https" => Some(Remote::Url),
            _ => None,
        };
    }
    // user@host:path
    let is_word = |text: &str, more: &[u8]| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let (host, _) = source.split_once(':')?;
    let (user, host) = host.split_once('@')?;
    (is_word(user, b"-_") && is_word(host, b"-.")).then_some(Remote::Git)
}

/// What a file is called in the image: the last name of the URL's path.
pub(super) fn file_name(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let path = rest[..end].split_once('/').map_or("", |(_, path)| path);
    let decoded = decode(path).and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.unwrap_or_default();
    let mut names = decoded.split('/').filter(|name| !name.is_empty());
    match names.next_back() {
        None | Some("." | "..") => UNNAMED.to_owned(),
        Some(name) if name.contains('\0') => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// Resolves `%XX`; `None` if that is malformed.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

/// The source with the password of a URL masked.
pub(super) fn without_password(source: &str) -> String {
    let masked = || {
        let (scheme, rest) = source.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (user, host) = rest[..end].rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:xxxxx@{host}{}", &rest[end..]))
    };
    masked().unwrap_or_else(|| source.to_owned())
}

/// The address of a repository without user and password where either may be a token.
pub(super) fn without_login(source: &str) -> String {
    let masked = || {
        let (scheme, rest) = source.split_once("://")?;
        if scheme.eq_ignore_ascii_case("ssh") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (_, host) = rest[..end].rsplit_once('@')?;
        Some(format!("{scheme}://xxxxx@{host}{}", &rest[end..]))
    };
    masked().unwrap_or_else(|| without_password(source))
}

/// An instruction as it may be shown: what stands in front of the `@` of an address is masked, unless it comes from a variable.
pub(super) fn without_logins(instruction: &str) -> String {
    let mut shown = String::with_capacity(instruction.len());
    let mut rest = instruction;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let is_end = |character: char| character.is_whitespace() || "/?#\"'`".contains(character);
        let end = after.find(is_end).unwrap_or(after.len());
        rest = after;
        if let Some((login, _)) = after[..end].rsplit_once('@')
            && !before.to_ascii_lowercase().ends_with("ssh://")
            && !login.starts_with('$')
        {
            shown.push_str("xxxxx");
            rest = &after[login.len()..];
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_repositories_are_not_local() {
        for (source, expect) in [
            ("https://example.com/a.tar.gz", Some(Remote::Url)),
            ("HTTP://example.com/", Some(Remote::Url)),
            ("https://example.com/a.git", Some(Remote::Git)),
            ("https://example.com/a.git#main:dir", Some(Remote::Git)),
            ("https://example.com/a.git?ref=x", Some(Remote::Git)),
            ("git://example.com/a", Some(Remote::Git)),
            ("ssh://git@example.com/a", Some(Remote::Git)),
            ("git@example.com:a/b", Some(Remote::Git)),
            ("github.com/a/b", None),
            ("ftp://example.com/a", None),
            ("./git@example.com:a", None),
            ("a@b", None),
            ("c:/x", None),
            ("dir/file", None),
        ] {
            assert_eq!(remote(source), expect, "{source}");
        }
    }

    #[test]
    fn files_are_named_after_the_path() {
        for (url, expect) in [
            ("http://h/a/b.tar", "b.tar"),
            ("http://h/a/b/", "b"),
            ("http://h/a%20b?c=/d#/e", "a b"),
            ("http://h/a%2Fb", "b"),
            ("http://h", UNNAMED),
            ("http://h/", UNNAMED),
            ("http://h?x=/y", UNNAMED),
            ("http://h/..", UNNAMED),
            ("http://h/%zz", UNNAMED),
            ("http://h/%ff", UNNAMED),
            ("http://h/\u{e4}", "\u{e4}"),
        ] {
            assert_eq!(file_name(url), expect, "{url}");
        }
    }

    #[test]
    fn logins_are_masked() {
        for (source, expect) in [
            ("https://token@h/x.git#a", "https://xxxxx@h/x.git#a"),
            ("git://u:p@h/x", "git://xxxxx@h/x"),
            ("ssh://git@h/x", "ssh://git@h/x"),
            ("git@h:x", "git@h:x"),
            ("https://h/x.git", "https://h/x.git"),
        ] {
            assert_eq!(without_login(source), expect, "{source}");
        }
    }

    #[test]
    fn logins_in_instructions_are_masked() {
        for (text, expect) in [
            (
                "ADD https://t@h/x.git http://u:p@k/y /z",
                "ADD https://xxxxx@h/x.git http://xxxxx@k/y /z",
            ),
            (
                "RUN curl 'https://h/a@b' x@y",
                "RUN curl 'https://h/a@b' x@y",
            ),
            ("RUN a \"git://u@h\"", "RUN a \"git://xxxxx@h\""),
            ("ADD ssh://git@h/x /", "ADD ssh://git@h/x /"),
            ("ADD https://${T}@h/x.git /", "ADD https://${T}@h/x.git /"),
            ("RUN x://", "RUN x://"),
        ] {
            assert_eq!(without_logins(text), expect, "{text}");
        }
    }

    #[test]
    fn passwords_are_masked() {
        for (source, expect) in [
            ("https://u:p@h/x", "https://u:xxxxx@h/x"),
            ("https://u:p@q@h", "https://u:xxxxx@h"),
            ("https://u@h/x", "https://u@h/x"),
            ("https://h/x:y@z", "https://h/x:y@z"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(without_password(source), expect, "{source}");
        }
    }
}
