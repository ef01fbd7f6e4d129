//! The `WWW-Authenticate` header (RFC 9110 section 11.6.1): which authentication a registry asks for.

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Nothing.
    None,
    /// User name and password.
    Basic,
    /// A token of a token server.
    Bearer {
        /// The token server's URL as written.
        realm: String,
        /// The registry's name at the token server.
        service: Option<String>,
        /// The rights that the request needed.
        scope: Option<String>,
    },
}

/// Chooses among the challenges of all header lines: Bearer before Basic. `None` if there is neither.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in parse(header) {
            if scheme.eq_ignore_ascii_case("bearer") {
                let value = |name: &str| {
                    let found = parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone())
                };
                if let Some(realm) = value("realm") {
                    return Some(Challenge::Bearer {
                        realm,
                        service: value("service"),
                        scope: value("scope"),
                    });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

type Parsed = Vec<(String, Vec<(String, String)>)>;

/// Splits a header into schemes with their parameters. Commas separate both; a word before a blank that is not
/// followed by `=` begins a scheme.
fn parse(header: &str) -> Parsed {
    let mut found: Parsed = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let trimmed = after.trim_start_matches([' ', '\t']);
        if let Some(value) = trimmed.strip_prefix('=')
            && let Some((_, parameters)) = found.last_mut()
        {
            let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
            parameters.push((word.to_owned(), value));
            rest = after;
        } else if word.is_empty() {
            break;
        } else {
            found.push((word.to_owned(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// Reads a token or a quoted string; gives the rest behind it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let scoped = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        let bearer = |realm: &str, service: Option<&str>| scoped(realm, service, None);
        let check = |headers: &[&str], expect: Option<Challenge>| {
            assert_eq!(choose(headers.iter().copied()), expect, "{headers:?}");
        };
        check(
            &[r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#],
            bearer("https://auth.docker.io/token", Some("registry.docker.io")),
        );
        check(
            &[
                r#"Bearer realm="https://a/t",service="x",scope="repository:a/b:pull,push",error="invalid_token""#,
            ],
            scoped("https://a/t", Some("x"), Some("repository:a/b:pull,push")),
        );
        check(
            &[r#"bearer REALM = "https://a/t?x=1,2" , service=plain"#],
            bearer("https://a/t?x=1,2", Some("plain")),
        );
        check(
            &[r#"Basic realm="Registry, \"quoted\"", Bearer realm="https://a/t""#],
            bearer("https://a/t", None),
        );
        check(
            &["Basic", r#"Bearer realm="https://a/t""#],
            bearer("https://a/t", None),
        );
        check(&[r#"Basic realm="x""#], Some(Challenge::Basic));
        check(&["BASIC"], Some(Challenge::Basic));
        check(&["Negotiate abc=="], None);
        check(&["Bearer"], None);
        check(&["", ",,", "=", "\"", "Bearer realm=\""], bearer("", None));
        check(
            &["Negotiate", r#"Digest nonce="a", Basic realm=b"#],
            Some(Challenge::Basic),
        );
    }
}
