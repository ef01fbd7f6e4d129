//! Expansion of variables, quotes and escapes, as BuildKit does it.
//!
//! Which parts of an instruction are expanded (the caller does it, with the variables that the part may see):
//!
//! | Instruction | Expanded with [`expand`] |
//! |---|---|
//! | FROM | image and `--platform`; only ARGs before the first FROM and the automatic platform ARGs are visible |
//! | ADD, COPY | sources, destination, `--chown`, `--chmod`, ADD's `--checksum`; heredoc bodies with [`expand_heredoc`] if [`expand`](super::Heredoc::expand) says so. Not `--exclude`, not `--from` |
//! | ENV, LABEL | keys and values |
//! | EXPOSE | each word with [`expand_words`], which splits the result again |
//! | USER, VOLUME, WORKDIR, STOPSIGNAL | yes |
//! | ARG | the default, only if it is used; never the name |
//! | RUN | values inside of `--mount=` except `from`; never the command, the shell does that |
//! | CMD, ENTRYPOINT, HEALTHCHECK, SHELL, MAINTAINER | no |
//! | ONBUILD | no; the trigger is, as an instruction of the stage in which it fires |
//!
//! All words of one instruction see the variables as they were before it: `ENV a=2 b=$a` takes the old `a`.
//!
//! Forms: `$n` `${n}` `${n:-w}` `${n-w}` `${n:+w}` `${n+w}` `${n:?w}` `${n?w}` `${n#p}` `${n##p}` `${n%p}` `${n%%p}` `${n/p/r}`
//! `${n//p/r}`. In single quotes nothing is special; in double quotes the escape character takes away the meaning of
//! `"`, `$` and of itself, elsewhere of anything.

use std::collections::HashSet;

use super::pattern::{self, Edge};

/// How deep `${a:-${b:-...}}` may be nested: enough for people, and far from the end of a thread's stack.
pub const MAX_DEPTH: usize = 200;

/// The longest result in bytes. A chain of `ENV a=$a$a` would otherwise double until memory ends.
pub const MAX_LENGTH: usize = 16 << 20;

/// Finds the value of a variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// An expanded word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The result.
    pub value: String,
    /// The variables that were asked for and are not set, each once, in order; those with a default too.
    pub undefined: Vec<String>,
}

/// Several expanded words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordsExpansion {
    /// The words; none is empty.
    pub words: Vec<String>,
    /// The variables that were asked for and are not set, each once, in order; those with a default too.
    pub undefined: Vec<String>,
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// A quote is not closed.
    #[error("the {0} quote is not closed")]
    OpenQuote(&'static str),
    /// `${` is not closed.
    #[error("missing `}}` after `${{`")]
    MissingBrace,
    /// `${name/pattern` without its second `/`.
    #[error("missing `/` in a substitution: expected ${{name/pattern/replacement}}")]
    MissingSlash,
    /// `${}`, `${:...}` or `${{...}`.
    #[error("bad substitution: no variable name after `${{`")]
    BadSubstitution,
    /// An operator that does not exist.
    #[error("unsupported modifier `{0}` in a substitution")]
    UnsupportedModifier(String),
    /// A pattern with an escape that it may not have.
    #[error("invalid pattern `{pattern}` in a substitution: {reason}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// `${name:?message}` of a variable that is not set, or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, or a stock sentence.
        message: String,
    },
    /// Substitutions nested deeper than [`MAX_DEPTH`].
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A result longer than [`MAX_LENGTH`].
    #[error("the expanded text is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

/// Expands a word: variables, quotes and escapes. The result is one string, blanks in it or not.
pub fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<Expansion, WordError> {
    let mode = Mode::new(escape);
    let mut lexer = Lexer::new(word, mode, lookup);
    let value = lexer.run(None)?;
    Ok(Expansion {
        value,
        undefined: lexer.undefined,
    })
}

/// Expands a word and splits the result at white space; what is quoted, or escaped, is not split.
///
/// # Deviation
/// BuildKit forgets what stands in front of `${name:-default}` in the same word (`80${a:-80}` gives `80`); here it is
/// kept (`8080`).
pub fn expand_words(
    word: &str,
    escape: char,
    lookup: Lookup<'_>,
) -> Result<WordsExpansion, WordError> {
    let mut words = Words::default();
    let mut lexer = Lexer::new(word, Mode::new(escape), lookup);
    lexer.run(Some(&mut words))?;
    Ok(WordsExpansion {
        words: words.finish().into_iter().map(|(word, _)| word).collect(),
        undefined: lexer.undefined,
    })
}

/// Expands the body of a heredoc: variables, and escapes with the backslash; quotes stay.
pub fn expand_heredoc(body: &str, lookup: Lookup<'_>) -> Result<Expansion, WordError> {
    let mode = Mode {
        quotes: false,
        ..Mode::new('\\')
    };
    let mut lexer = Lexer::new(body, mode, lookup);
    let value = lexer.run(None)?;
    Ok(Expansion {
        value,
        undefined: lexer.undefined,
    })
}

/// Expands an instruction for display: variables that are not set stay as written, and so do quotes; a text that
/// cannot be expanded is returned as it is.
pub fn expand_for_display(text: &str, escape: char, lookup: Lookup<'_>) -> String {
    let mode = Mode {
        raw_quotes: true,
        keep_unset: true,
        ..Mode::new(escape)
    };
    Lexer::new(text, mode, lookup)
        .run(None)
        .unwrap_or_else(|_| text.to_owned())
}

/// Splits a command line into shell words with their offsets, for the search for heredocs: quotes, escapes and
/// variables stay as written. No words if the line cannot be read.
pub(super) fn raw_words(line: &str) -> Vec<(String, usize)> {
    let mode = Mode {
        raw_quotes: true,
        raw_escapes: true,
        keep_unset: true,
        ..Mode::new('\\')
    };
    split(line, mode)
}

/// Splits the word behind `<<`; with `keep_quotes` or without.
pub(super) fn delimiter_words(text: &str, keep_quotes: bool) -> Vec<String> {
    let mode = Mode {
        raw_quotes: keep_quotes,
        keep_unset: true,
        ..Mode::new('\\')
    };
    split(text, mode)
        .into_iter()
        .map(|(word, _)| word)
        .collect()
}

fn split(text: &str, mode: Mode) -> Vec<(String, usize)> {
    let mut words = Words::default();
    match Lexer::new(text, mode, &|_| None).run(Some(&mut words)) {
        Ok(_) => words.finish(),
        Err(_) => Vec::new(),
    }
}

/// What is special, and what of it stays in the result.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of one lexer, private"
)]
struct Mode {
    escape: char,
    quotes: bool,
    raw_quotes: bool,
    raw_escapes: bool,
    keep_unset: bool,
}

impl Mode {
    fn new(escape: char) -> Self {
        Self {
            escape,
            quotes: true,
            raw_quotes: false,
            raw_escapes: false,
            keep_unset: false,
        }
    }
}

/// Collects words with the offset of their first character.
#[derive(Debug, Default)]
struct Words {
    done: Vec<(String, usize)>,
    word: String,
    start: usize,
}

impl Words {
    fn push(&mut self, character: char, at: usize) {
        if character.is_whitespace() {
            self.end();
        } else {
            self.push_raw(character.encode_utf8(&mut [0; 4]), at);
        }
    }

    fn push_raw(&mut self, text: &str, at: usize) {
        if self.word.is_empty() {
            self.start = at;
        }
        self.word.push_str(text);
    }

    fn end(&mut self) {
        if !self.word.is_empty() {
            self.done.push((std::mem::take(&mut self.word), self.start));
        }
    }

    fn finish(mut self) -> Vec<(String, usize)> {
        self.end();
        self.done
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    mode: Mode,
    lookup: Lookup<'a>,
    undefined: Vec<String>,
    seen: HashSet<String>,
    depth: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, mode: Mode, lookup: Lookup<'a>) -> Self {
        Self {
            text,
            at: 0,
            mode,
            lookup,
            undefined: Vec::new(),
            seen: HashSet::new(),
            depth: 0,
        }
    }

    fn run(&mut self, words: Option<&mut Words>) -> Result<String, WordError> {
        self.until(None, self.mode.raw_escapes, words)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Expands up to `stop`, which is consumed, or to the end of the text if there is none.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
        mut words: Option<&mut Words>,
    ) -> Result<String, WordError> {
        let outer = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let mut result = String::new();
        while let Some(character) = self.peek() {
            let start = self.at;
            if Some(character) == stop {
                self.next();
                self.mode.raw_escapes = outer;
                return Ok(result);
            }
            match character {
                '$' => {
                    let value = self.dollar()?;
                    if let Some(words) = words.as_deref_mut() {
                        value
                            .chars()
                            .for_each(|character| words.push(character, start));
                    }
                    result.push_str(&value);
                }
                '\'' | '"' if self.mode.quotes => {
                    let value = if character == '"' {
                        self.double_quote()?
                    } else {
                        self.single_quote()?
                    };
                    if let Some(words) = words.as_deref_mut() {
                        words.push_raw(&value, start);
                    }
                    result.push_str(&value);
                }
                '<' => {
                    self.next();
                    if self.peek() == Some('<') {
                        // Blanks between `<<` and the delimiter belong to the word.
                        self.next();
                        while matches!(self.peek(), Some(' ' | '\t' | '\r')) {
                            self.next();
                        }
                    }
                    let value = &self.text[start..self.at];
                    if let Some(words) = words.as_deref_mut() {
                        words.push_raw(value, start);
                    }
                    result.push_str(value);
                }
                _ if character == self.mode.escape => {
                    self.escaped(&mut result, words.as_deref_mut());
                }
                _ => {
                    self.next();
                    if let Some(words) = words.as_deref_mut() {
                        words.push(character, start);
                    }
                    result.push(character);
                }
            }
            if result.len() > MAX_LENGTH {
                return Err(WordError::TooLong);
            }
        }
        match stop {
            None => {
                self.mode.raw_escapes = outer;
                Ok(result)
            }
            Some('/') => Err(WordError::MissingSlash),
            Some(_) => Err(WordError::MissingBrace),
        }
    }

    /// Takes the escape character and the one after it; at the end of the text it means nothing.
    fn escaped(&mut self, result: &mut String, words: Option<&mut Words>) {
        let start = self.at;
        self.next();
        let character = self.next();
        let from = if self.mode.raw_escapes {
            start
        } else {
            self.at - character.map_or(0, char::len_utf8)
        };
        let taken = &self.text[from..self.at];
        result.push_str(taken);
        if let Some(words) = words {
            words.push_raw(taken, start);
        }
    }

    fn single_quote(&mut self) -> Result<String, WordError> {
        let start = self.at;
        self.next();
        let Some(length) = self.text[self.at..].find('\'') else {
            return Err(WordError::OpenQuote("single"));
        };
        let body = self.at..self.at + length;
        self.at = body.end + 1;
        let range = if self.mode.raw_quotes {
            start..self.at
        } else {
            body
        };
        Ok(self.text[range].to_owned())
    }

    fn double_quote(&mut self) -> Result<String, WordError> {
        let mut result = String::new();
        self.next();
        if self.mode.raw_quotes {
            result.push('"');
        }
        while let Some(character) = self.peek() {
            if character == '$' {
                result.push_str(&self.dollar()?);
                if result.len() > MAX_LENGTH {
                    return Err(WordError::TooLong);
                }
                continue;
            }
            self.next();
            if character == '"' {
                if self.mode.raw_quotes {
                    result.push('"');
                }
                return Ok(result);
            }
            if character != self.mode.escape {
                result.push(character);
                continue;
            }
            if self.mode.raw_escapes {
                result.push(character);
            }
            let Some(next) = self.peek() else { break };
            if next == '"' || next == '$' || next == self.mode.escape {
                self.next();
                result.push(next);
            } else {
                result.push(character);
            }
        }
        Err(WordError::OpenQuote("double"))
    }

    /// Expands what begins at `$`.
    fn dollar(&mut self) -> Result<String, WordError> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                None if self.mode.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(WordError::MissingBrace),
            Some('{' | '}' | ':') => return Err(WordError::BadSubstitution),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(WordError::TooDeep);
        }
        let name = self.name();
        let value = self.braces(&name)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Expands what stands behind the name in `${name...}`.
    fn braces(&mut self, name: &str) -> Result<String, WordError> {
        let operator = self.next().ok_or(WordError::MissingBrace)?;
        match operator {
            '}' => Ok(match self.get(name) {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => {
                let operator = self.next().ok_or(WordError::MissingBrace)?;
                if !matches!(operator, '-' | '+' | '?') {
                    return Err(WordError::UnsupportedModifier(format!(":{operator}")));
                }
                self.conditional(name, operator, true)
            }
            '-' | '+' | '?' => self.conditional(name, operator, false),
            '#' | '%' => self.trimmed(name, operator),
            '/' => self.replaced(name),
            other => Err(WordError::UnsupportedModifier(other.to_string())),
        }
    }

    fn conditional(
        &mut self,
        name: &str,
        operator: char,
        empty_is_unset: bool,
    ) -> Result<String, WordError> {
        let word = self.until(Some('}'), false, None)?;
        let value = self.get(name);
        if self.mode.keep_unset && value.is_none() {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let is_unset = value.is_none();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, value) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('?', None) => {
                let stock = if is_unset {
                    "is not allowed to be unset"
                } else {
                    "is not allowed to be empty"
                };
                let message = if word.is_empty() {
                    stock.to_owned()
                } else {
                    word
                };
                let name = name.to_owned();
                Err(WordError::Required { name, message })
            }
            (_, Some(value)) => Ok(value),
            (_, None) => Ok(String::new()),
        }
    }

    fn trimmed(&mut self, name: &str, operator: char) -> Result<String, WordError> {
        let word = self.until(Some('}'), true, None)?;
        let value = self.get(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let (pattern, is_longest) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let edge = if operator == '#' {
            Edge::Prefix
        } else {
            Edge::Suffix
        };
        pattern::trim(&value.unwrap_or_default(), pattern, edge, is_longest)
    }

    fn replaced(&mut self, name: &str) -> Result<String, WordError> {
        let replace_all = self.peek() == Some('/');
        if replace_all {
            self.next();
        }
        let pattern = self.until(Some('/'), true, None)?;
        let replacement = self.until(Some('}'), true, None)?;
        let value = self.get(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        pattern::replace(
            &value.unwrap_or_default(),
            &pattern,
            &replacement,
            replace_all,
        )
    }

    /// Reads a variable name: letters, digits and `_`; or digits only; or one special character.
    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return String::new();
        };
        let length = if first.is_ascii_digit() {
            rest.find(|character: char| !character.is_ascii_digit())
        } else if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            Some(1)
        } else {
            rest.find(|character: char| !(character.is_alphanumeric() || character == '_'))
        };
        let name = &rest[..length.unwrap_or(rest.len())];
        self.at += name.len();
        name.to_owned()
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() && self.seen.insert(name.to_owned()) {
            self.undefined.push(name.to_owned());
        }
        value
    }
}
