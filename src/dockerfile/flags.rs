//! Flags of instructions: `--name`, `--name=value`.

use super::error::{ParseError, Problem};
use super::lines::Logical;
use super::span::{Span, Spanned};
use super::suggest;
use super::words::Word;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `true` or `false`.
    Bool,
    /// One value, once.
    One,
    /// One value, any number of times.
    Many,
}

/// The flags of an instruction: names without dashes.
pub(super) type Table = &'static [(&'static str, Takes)];

/// The flags that one instruction was given.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<Given>,
}

#[derive(Debug)]
struct Given {
    name: &'static str,
    takes: Takes,
    value: Spanned<String>,
    is_on: bool,
}

impl Flags {
    /// Checks flag words against the flags that the instruction has.
    pub(super) fn read(
        instruction: &'static str,
        table: Table,
        words: Vec<Word>,
        line: &Logical,
    ) -> Result<Self, ParseError> {
        let mut given: Vec<Given> = Vec::with_capacity(words.len());
        for word in words {
            let (flag, value) = match word.text.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word.text.clone(), None),
            };
            let span = word.place(line);
            let name = flag.strip_prefix("--").unwrap_or(&flag);
            let Some((name, takes)) = table.iter().find(|(known, _)| *known == name).copied()
            else {
                let near = suggest::nearest(name, table.iter().map(|(known, _)| *known));
                let error = ParseError::new(Problem::UnknownFlag { instruction, flag }, span);
                return Err(match near {
                    Some(near) => error.with_hint(format!("did you mean --{near}?")),
                    None if table.is_empty() => error.with_hint(format!(
                        "{instruction} has no flags; put `--` in front of an argument that starts with two dashes"
                    )),
                    None => error,
                });
            };
            if takes != Takes::Many && given.iter().any(|known| known.name == name) {
                return Err(ParseError::new(Problem::DuplicateFlag { flag }, span));
            }
            let is_on = value
                .as_deref()
                .is_none_or(|value| value.eq_ignore_ascii_case("true"));
            let is_off = value
                .as_deref()
                .is_some_and(|value| value.eq_ignore_ascii_case("false"));
            match &value {
                None if takes != Takes::Bool => {
                    return Err(ParseError::new(Problem::FlagNeedsValue { flag }, span));
                }
                Some(value) if takes == Takes::Bool && value.is_empty() => {
                    return Err(ParseError::new(Problem::FlagNeedsValue { flag }, span));
                }
                Some(value) if takes == Takes::Bool && !is_on && !is_off => {
                    let value = value.clone();
                    let expected = "true or false";
                    let problem = Problem::FlagValue {
                        flag,
                        value,
                        expected,
                    };
                    return Err(ParseError::new(problem, span));
                }
                Some(_) | None => {}
            }
            let value = Spanned::new(
                value.unwrap_or_default(),
                value_span(&word, line, flag.len()),
            );
            given.push(Given {
                name,
                takes,
                value,
                is_on,
            });
        }
        Ok(Self { given })
    }

    /// Takes a flag's value; an empty one counts as absent.
    pub(super) fn one(&mut self, name: &str) -> Option<Spanned<String>> {
        self.any(name).filter(|value| !value.value.is_empty())
    }

    /// Takes a flag's value, empty or not.
    pub(super) fn any(&mut self, name: &str) -> Option<Spanned<String>> {
        let at = self.given.iter().position(|given| given.name == name)?;
        Some(self.given.remove(at).value)
    }

    /// Takes all values of a flag, in order.
    pub(super) fn many(&mut self, name: &str) -> Vec<Spanned<String>> {
        let (taken, rest) = std::mem::take(&mut self.given)
            .into_iter()
            .partition(|given| given.name == name);
        self.given = rest;
        let taken: Vec<Given> = taken;
        taken.into_iter().map(|given| given.value).collect()
    }

    /// Takes a flag that is on or off.
    pub(super) fn switch(&mut self, name: &str) -> Option<Spanned<bool>> {
        let at = self.given.iter().position(|given| given.name == name)?;
        let given = self.given.remove(at);
        debug_assert_eq!(given.takes, Takes::Bool);
        Some(Spanned::new(given.is_on, given.value.span))
    }
}

/// Finds the value in a flag word that was written without quotes; otherwise the whole word.
fn value_span(word: &Word, line: &Logical, flag_length: usize) -> Span {
    let is_plain = line.text.get(word.start..word.end) == Some(word.text.as_str());
    if is_plain && word.text.len() > flag_length {
        line.place(word.start + flag_length + 1, word.end)
    } else {
        word.place(line)
    }
}
