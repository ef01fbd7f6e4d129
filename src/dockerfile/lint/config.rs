//! `# check=skip=A,B;error=true;experimental=C`: which rules run.

use std::collections::BTreeSet;

use crate::dockerfile::span::{Span, Spanned};

use super::Rule;

/// Which rules run, and whether findings are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Rules that do not run.
    pub skip: Names,
    /// Experimental rules that run.
    pub experimental: Names,
    /// Whether findings are errors.
    pub is_error: bool,
}

/// Names of rules, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// `all`.
    All,
    /// These.
    Some(BTreeSet<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Names {
    fn parse(text: &str) -> Self {
        if text == "all" {
            return Self::All;
        }
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Self::Some(names.map(str::to_owned).collect())
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }
}

/// A configuration that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid check option `{option}`: {reason}")]
pub struct ConfigError {
    /// The option.
    pub option: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// Where it is written, if that is in the Dockerfile.
    pub span: Option<Span>,
}

/// More options than there are, so that the rest of the text belongs to the last one.
const OPTIONS_MAX: usize = 3;

impl Config {
    /// Reads the value of a `check` directive; `span` is its place.
    ///
    /// # Errors
    /// When an option is not `skip`, `error` or `experimental`, or has no value.
    pub fn parse(text: &str, span: Option<Span>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let text = text.trim();
        // Behind the first blank stands what people wrote for people.
        let text = text.split_once(' ').map_or(text, |(options, _)| options);
        if text.is_empty() {
            return Ok(config);
        }
        for option in text.splitn(OPTIONS_MAX, ';') {
            let wrong = |reason| ConfigError {
                option: option.to_owned(),
                reason,
                span,
            };
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| wrong("expected skip=..., error=... or experimental=..."))?;
            let value = value.trim();
            match key.trim() {
                "skip" => config.skip = Names::parse(value),
                "experimental" => config.experimental = Names::parse(value),
                "error" => {
                    config.is_error = match value {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        _ => return Err(wrong("error takes true or false")),
                    };
                }
                _ => return Err(wrong("expected skip, error or experimental")),
            }
        }
        Ok(config)
    }

    /// Whether a rule runs for an instruction with these comments above it.
    pub(super) fn runs(&self, rule: &Rule, comments: &[Spanned<String>]) -> bool {
        let own = comments.iter().find_map(|comment| inline(comment));
        // A mistake in a comment has no meaning; the one that says so is the rule UnknownCheck.
        let own = own.and_then(|(value, _)| Self::parse(value, None).ok());
        let own = own.unwrap_or_default();
        if rule.is_experimental {
            self.experimental.contains(rule.name) || own.experimental.contains(rule.name)
        } else {
            !self.skip.contains(rule.name) && !own.skip.contains(rule.name)
        }
    }

    /// The names that the configuration holds.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.skip, &self.experimental]
            .into_iter()
            .filter_map(|names| match names {
                Names::All => None,
                Names::Some(names) => Some(names.iter().map(String::as_str)),
            })
            .flatten()
    }
}

/// The value of a `check=` comment above an instruction, and its offset in the comment.
pub(super) fn inline(comment: &Spanned<String>) -> Option<(&str, usize)> {
    let text = comment.value.as_str();
    let rest = text.get("check".len()..)?;
    if !text[.."check".len()].eq_ignore_ascii_case("check") {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    Some((value, text.len() - value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_the_directive() {
        let check = |text: &str, expect: Result<(&[&str], &[&str], bool), &str>| {
            let config = Config::parse(text, None);
            match (config, expect) {
                (Ok(config), Ok((skip, experimental, is_error))) => {
                    let names = |names: &[&str]| match names {
                        ["all"] => Names::All,
                        names => Names::Some(names.iter().map(|name| (*name).to_owned()).collect()),
                    };
                    assert_eq!(config.skip, names(skip), "{text}");
                    assert_eq!(config.experimental, names(experimental), "{text}");
                    assert_eq!(config.is_error, is_error, "{text}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, expect) => panic!("{text}: {found:?}, expected {expect:?}"),
            }
        };
        check("", Ok((&[], &[], false)));
        check("skip=A", Ok((&["A"], &[], false)));
        check("skip=A, B", Ok((&["A"], &[], false)));
        check("skip=A,B;error=true", Ok((&["A", "B"], &[], true)));
        check("error=1;skip=all", Ok((&["all"], &[], true)));
        check("experimental=all", Ok((&[], &["all"], false)));
        check("skip=A for a reason", Ok((&["A"], &[], false)));
        check("skip", Err("`skip`"));
        check("skp=A", Err("`skp=A`"));
        check("error=yes", Err("true or false"));
        check(
            "skip=A;error=true;experimental=B;x=1",
            Ok((&["A"], &["B;x=1"], true)),
        );
    }

    #[test]
    fn comments_above_an_instruction() {
        let check = |text: &str, expect: Option<&str>| {
            let comment = Spanned::new(text.to_owned(), Span::default());
            assert_eq!(inline(&comment).map(|(value, _)| value), expect, "{text}");
        };
        check("check=skip=A", Some("skip=A"));
        check("Check = skip=A", Some("skip=A"));
        check("checks=skip=A", None);
        check("chäck", None);
        check("check", None);
    }
}
