//! `https://user:password@host`.

use crate::dockerfile::span::Span;

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let dockerfile = pass.dockerfile;
    let metas = dockerfile
        .meta_args
        .iter()
        .map(|one| (one.span, &one.comments));
    let rest = dockerfile
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions);
    let rest = rest.map(|one| (one.span, &one.comments));
    for (span, comments) in metas.chain(rest) {
        for (start, end) in credentials(pass.written(span)) {
            pass.report(
                rule,
                comments,
                Span::new(span.start + start, span.start + end),
                "a credential in a URL: it is in the image's history, and so with everybody who has the image",
                "take it out, make it invalid, and give the step a new one by RUN --mount=type=secret",
            );
        }
    }
}

/// The places of `user:password` in URLs of a text. A password that is a variable as a whole is none that is written here,
/// but it gets into the history all the same if it is an ARG; that is for SecretsUsedInArgOrEnv.
fn credentials(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let start = at + "://".len();
        let rest = &text[start..];
        let end = rest.find(|c: char| {
            c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | '`' | '?' | '#')
        });
        let authority = &rest[..end.unwrap_or(rest.len())];
        let Some((user, host)) = authority.rsplit_once('@') else {
            continue;
        };
        let Some((_, password)) = user.split_once(':') else {
            continue;
        };
        let is_placeholder = password.is_empty() || password.starts_with(['$', '<', '*', '{', '%']);
        if !is_placeholder && !host.is_empty() {
            found.push((start, start + user.len()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::credentials;

    #[test]
    fn passwords_in_urls() {
        let check = |text: &str, expect: &[&str]| {
            let found: Vec<&str> = credentials(text)
                .into_iter()
                .map(|(a, b)| &text[a..b])
                .collect();
            assert_eq!(found, expect, "{text}");
        };
        check("git clone https://me:s3cret@example.com/x", &["me:s3cret"]);
        check(
            "https://x-access-token:ghp_1@github.com",
            &["x-access-token:ghp_1"],
        );
        check("https://me:$TOKEN@example.com", &[]);
        check("https://me@example.com/a:b@c", &[]);
        check("ssh://git@example.com", &[]);
        check("a http://h/ b", &[]);
    }
}
