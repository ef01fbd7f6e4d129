//! The glob patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/replacement}`: `*`, `?`, escapes, and no
//! brackets. They become regular expressions, which are searched in linear time.

use regex::{Regex, RegexBuilder};

use super::word::WordError;

/// Memory that one compiled pattern may take, in bytes; a pattern of some ten thousand characters.
const MAX_COMPILED: usize = 4 << 20;

/// The end of a value from which a match is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Prefix,
    Suffix,
}

/// Cuts the shortest or the longest match of a pattern off one end.
///
/// # Deviation
/// A backslash at the end of a `%` pattern (only possible with the backtick as escape character) is an error; BuildKit
/// lets it escape the character in front of it.
pub(super) fn trim(
    value: &str,
    pattern: &str,
    edge: Edge,
    is_longest: bool,
) -> Result<String, WordError> {
    let mut tokens = tokens(pattern)?;
    if edge == Edge::Prefix {
        let found = compile(pattern, &tokens, is_longest, true)?.find(value);
        return Ok(value[found.map_or(0, |found| found.end())..].to_owned());
    }
    // The shortest match at the right end is the shortest one at the left end of everything reversed.
    tokens.reverse();
    let reversed: String = value.chars().rev().collect();
    let found = compile(pattern, &tokens, is_longest, true)?.find(&reversed);
    let rest = &reversed[found.map_or(0, |found| found.end())..];
    Ok(rest.chars().rev().collect())
}

/// Replaces the first or all matches of a pattern, each as long as can be.
pub(super) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    replace_all: bool,
) -> Result<String, WordError> {
    let regex = compile(pattern, &tokens(pattern)?, true, false)?;
    let mut result = String::with_capacity(value.len());
    let mut copied = 0;
    for found in regex
        .find_iter(value)
        .take(if replace_all { usize::MAX } else { 1 })
    {
        result.push_str(&value[copied..found.start()]);
        if replace_all {
            push_template(&mut result, replacement, found.as_str());
        } else {
            result.push_str(replacement);
        }
        copied = found.end();
        if result.len() > super::word::MAX_LENGTH {
            return Err(WordError::TooLong);
        }
    }
    result.push_str(&value[copied..]);
    Ok(result)
}

/// Adds a replacement in which BuildKit, replacing all, still reads `$0` (the match), `$$` and `$name` (nothing).
fn push_template(result: &mut String, template: &str, matched: &str) {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            result.push('$');
            rest = tail;
            continue;
        }
        let braced = rest.strip_prefix('{');
        let body = braced.unwrap_or(rest);
        let end = body.find(|character: char| !(character.is_alphanumeric() || character == '_'));
        let (name, tail) = body.split_at(end.unwrap_or(body.len()));
        let tail = match braced {
            Some(_) => tail.strip_prefix('}'),
            None => Some(tail),
        };
        match tail {
            Some(tail) if !name.is_empty() => {
                if name == "0" {
                    result.push_str(matched);
                }
                rest = tail;
            }
            Some(_) | None => result.push('$'),
        }
    }
    result.push_str(rest);
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Any,
    One,
    Literal(char),
}

fn tokens(pattern: &str) -> Result<Vec<Token>, WordError> {
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => match characters.next() {
                // The delimiters of a substitution need an escape that is not part of the pattern.
                Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(escaped),
                Some(_) | None => {
                    return Err(invalid(pattern, "only * ? \\ } and / can be escaped"));
                }
            },
            other => Token::Literal(other),
        });
    }
    Ok(tokens)
}

fn invalid(pattern: &str, reason: &'static str) -> WordError {
    WordError::InvalidPattern {
        pattern: pattern.chars().take(80).collect(),
        reason,
    }
}

fn compile(
    pattern: &str,
    tokens: &[Token],
    is_greedy: bool,
    is_anchored: bool,
) -> Result<Regex, WordError> {
    let mut expression = String::from(if is_anchored { "^" } else { "" });
    for token in tokens {
        match token {
            Token::Any if is_greedy => expression.push_str(".*"),
            Token::Any => expression.push_str(".*?"),
            Token::One => expression.push('.'),
            Token::Literal(character) => {
                expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
            }
        }
    }
    RegexBuilder::new(&expression)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| invalid(pattern, "it is too long"))
}
