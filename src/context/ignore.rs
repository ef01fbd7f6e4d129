//! `.dockerignore`: which files of a context a build does not see.
//!
//! The rules are those of BuildKit: the last rule that matches a path decides, and a rule that matches a directory
//! decides for everything below it. `**` stands for any number of directories, `!` takes an exclusion back.
//!
//! A walk asks [`Ignore::decide`] with the state of the directory that it is in, so that no path is matched twice.
//! Rules are found by their literal beginnings and ends: a hundred thousand plain names cost no more than one.

use std::collections::{BTreeSet, HashMap};

use super::glob::{self, BadGlob, Characters, Token};

/// The longest line in bytes: the limit of BuildKit's scanner.
const MAX_LINE: usize = 65_535;

/// The rules of one ignore file.
///
/// # Deviation
/// A backslash makes the next character literal; in BuildKit `\d`, `\w` and the like are classes of characters.
/// `*` and `**` match line feeds in names; in BuildKit `**` does not.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    name: String,
    rules: Vec<Rule>,
    exact: HashMap<Vec<u8>, Vec<usize>>,
    prefixes: Buckets,
    suffixes: Buckets,
    anywhere: Vec<usize>,
    reincluded: Reincluded,
}

/// One rule and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The line in the ignore file, from 1.
    pub line: usize,
    /// The line as written, without white space around.
    pub text: String,
    /// Whether it takes an exclusion back (`!`).
    pub is_reinclude: bool,
    pattern: Vec<u8>,
    shape: Shape,
}

/// Why an ignore file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// `!` without a pattern.
    #[error("{name} line {line}: `!` without a pattern")]
    LoneExclamation {
        /// The ignore file.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// A pattern that is none.
    #[error("{name} line {line}: bad pattern `{pattern}`: {reason}")]
    BadPattern {
        /// The ignore file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: BadGlob,
    },
    /// A line that is too long.
    #[error("{name} line {line}: the line is longer than {MAX_LINE} bytes")]
    LineTooLong {
        /// The ignore file.
        name: String,
        /// The line, from 1.
        line: usize,
    },
}

/// The rules that decided about a directory; they decide for what is below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirState {
    matched: Vec<usize>,
}

/// What the rules say about one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The rule that excludes the path; `None` if it is part of the context.
    pub excluded_by: Option<&'a Rule>,
    /// The state for the entries of the path, if it is a directory.
    pub state: DirState,
}

impl Ignore {
    /// Reads an ignore file; `name` is for messages.
    pub fn parse(text: &[u8], name: &str) -> Result<Self, IgnoreError> {
        let mut ignore = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut repeats = Repeats::default();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line_number = at + 1;
            if line.len() > MAX_LINE {
                let name = name.to_owned();
                return Err(IgnoreError::LineTooLong {
                    name,
                    line: line_number,
                });
            }
            let rule = Rule::read(line, line_number)
                .map_err(|wrong| wrong.into_error(name, line_number))?;
            if let Some(rule) = rule.filter(|rule| repeats.is_news(rule)) {
                ignore.add(rule);
            }
        }
        ignore.finish();
        Ok(ignore)
    }

    /// Makes rules of patterns that no file holds, those of `--exclude` and `--parents`: a `#` in front does not make
    /// a comment, and a pattern with a `/` in front matches nothing. The line in an error counts the patterns.
    ///
    /// # Errors
    /// [`IgnoreError`] says which pattern is none.
    pub fn from_patterns<'p>(
        patterns: impl IntoIterator<Item = &'p [u8]>,
        name: &str,
    ) -> Result<Self, IgnoreError> {
        let mut ignore = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        for (at, pattern) in patterns.into_iter().enumerate() {
            let written = trim(pattern);
            if written.is_empty() {
                continue;
            }
            let rule = Rule::compile(clean(written), written, at + 1)
                .map_err(|wrong| wrong.into_error(name, at + 1))?;
            ignore.add(rule);
        }
        ignore.finish();
        Ok(ignore)
    }

    /// Returns the name of the file that was parsed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the rules in the order of their lines.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Says whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Says whether any rule takes an exclusion back.
    pub fn has_reincludes(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_reinclude)
    }

    /// Returns the state for the entries of the context's root.
    pub fn root(&self) -> DirState {
        DirState::default()
    }

    /// Decides about a path, given the state of the directory that holds it. Paths are relative to the root of the
    /// context, with `/` between names and none at the ends.
    pub fn decide(&self, parent: &DirState, path: &[u8]) -> Decision<'_> {
        let mut own = self.matching(path);
        own.sort_unstable();
        let mut own = own.into_iter().peekable();
        let mut inherited = parent.matched.iter().copied().peekable();
        let mut excluded_by: Option<usize> = None;
        let mut state = DirState::default();
        while let Some(at) = own
            .peek()
            .into_iter()
            .chain(inherited.peek())
            .min()
            .copied()
        {
            let is_inherited = inherited.next_if_eq(&at).is_some();
            while own.next_if_eq(&at).is_some() {}
            let is_reinclude = self.rules[at].is_reinclude;
            // A rule that would change nothing is not asked, and then does not count for what is below.
            if !is_inherited && is_reinclude != excluded_by.is_some() {
                continue;
            }
            state.matched.push(at);
            excluded_by = if is_reinclude {
                None
            } else {
                excluded_by.or(Some(at))
            };
        }
        Decision {
            excluded_by: excluded_by.map(|at| &self.rules[at]),
            state,
        }
    }

    /// Returns the rule that excludes a path, for questions outside of a walk; see [`Ignore::decide`].
    pub fn excludes(&self, path: &[u8]) -> Option<&Rule> {
        let mut state = self.root();
        let mut excluded_by = None;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for end in ends.map(|(at, _)| at).chain([path.len()]) {
            let decision = self.decide(&state, &path[..end]);
            state = decision.state;
            excluded_by = decision.excluded_by;
        }
        excluded_by
    }

    /// Says whether a walk has to look below an excluded directory, because a rule may take something there back.
    pub fn may_have_reincluded_below(&self, dir: &[u8]) -> bool {
        let mut inside = dir.to_vec();
        inside.push(b'/');
        self.reincluded.is_possible_in(&inside)
    }

    fn add(&mut self, rule: Rule) {
        let at = self.rules.len();
        let pattern = &rule.pattern;
        match &rule.shape {
            Shape::Exact => self.exact.entry(pattern.clone()).or_default().push(at),
            Shape::Prefix => self.prefixes.add(pattern.clone(), at),
            Shape::Suffix => {
                if let Some(name) = pattern.strip_prefix(b"/") {
                    self.exact.entry(name.to_vec()).or_default().push(at);
                }
                self.suffixes.add(pattern.clone(), at);
            }
            Shape::Tokens(tokens) => {
                let prefix = literals(tokens.iter());
                let mut suffix = literals(tokens.iter().rev());
                suffix.reverse();
                if !prefix.is_empty() {
                    self.prefixes.add(bytes(&prefix), at);
                } else if !suffix.is_empty() {
                    self.suffixes.add(bytes(&suffix), at);
                } else {
                    self.anywhere.push(at);
                }
            }
        }
        if rule.is_reinclude {
            self.reincluded.add(&rule);
        }
        self.rules.push(rule);
    }

    fn finish(&mut self) {
        self.prefixes.finish();
        self.suffixes.finish();
        self.reincluded.finish();
    }

    /// Returns the rules whose pattern matches this very path, in any order.
    fn matching(&self, path: &[u8]) -> Vec<usize> {
        let mut found: Vec<usize> = self.exact.get(path).cloned().unwrap_or_default();
        let mut decoded: Option<Vec<u32>> = None;
        let starts = self.prefixes.at_start(path);
        let ends = self.suffixes.at_end(path);
        for at in starts.chain(ends).chain(self.anywhere.iter().copied()) {
            let is_match = match &self.rules[at].shape {
                Shape::Tokens(tokens) => glob::matches(
                    tokens,
                    decoded.get_or_insert_with(|| glob::characters(path)),
                ),
                Shape::Exact | Shape::Prefix | Shape::Suffix => true,
            };
            if is_match {
                found.push(at);
            }
        }
        found
    }
}

/// How a pattern is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// The whole path.
    Exact,
    /// `dir/**`: the beginning of the path.
    Prefix,
    /// `**/name`: the end of the path; with a `/` in front also the whole path without it.
    Suffix,
    /// Anything else.
    Tokens(Vec<Token>),
}

/// What is wrong with a line.
enum Wrong {
    Lone,
    Pattern(Vec<u8>, BadGlob),
}

impl Wrong {
    fn into_error(self, name: &str, line: usize) -> IgnoreError {
        let name = name.to_owned();
        match self {
            Self::Lone => IgnoreError::LoneExclamation { name, line },
            Self::Pattern(pattern, reason) => IgnoreError::BadPattern {
                name,
                line,
                pattern: String::from_utf8_lossy(&pattern).into_owned(),
                reason,
            },
        }
    }
}

impl Rule {
    /// Reads a line; `None` for a comment or a blank line.
    fn read(line: &[u8], number: usize) -> Result<Option<Self>, Wrong> {
        if line.starts_with(b"#") {
            return Ok(None);
        }
        let written = trim(line);
        if written.is_empty() {
            return Ok(None);
        }
        // The sign comes off before the path is cleaned, and is looked for again after: `/!a` is a sign, too.
        let mut cleaned = match written.strip_prefix(b"!") {
            None => without_root(clean(written)),
            Some(rest) => {
                let rest = trim(rest);
                let rest = if rest.is_empty() {
                    Vec::new()
                } else {
                    without_root(clean(rest))
                };
                [b"!", rest.as_slice()].concat()
            }
        };
        cleaned = clean(trim(&cleaned));
        Self::compile(cleaned, written, number).map(Some)
    }

    /// Compiles a clean pattern with its sign.
    fn compile(cleaned: Vec<u8>, written: &[u8], number: usize) -> Result<Self, Wrong> {
        let (is_reinclude, pattern) = match cleaned.strip_prefix(b"!") {
            Some(b"") => return Err(Wrong::Lone),
            Some(pattern) => (true, pattern.to_vec()),
            None => (false, cleaned),
        };
        let (shape, pattern) = match compile(&pattern) {
            Ok(compiled) => compiled,
            Err(reason) => return Err(Wrong::Pattern(pattern, reason)),
        };
        Ok(Self {
            line: number,
            text: String::from_utf8_lossy(written).into_owned(),
            is_reinclude,
            pattern,
            shape,
        })
    }
}

/// Compiles a pattern; returns with its shape the part of it that is compared.
fn compile(pattern: &[u8]) -> Result<(Shape, Vec<u8>), BadGlob> {
    let mut reader = Characters::new(pattern);
    let mut tokens = Vec::new();
    let mut shape = Shape::Exact;
    let mut is_first = true;
    loop {
        let is_escaped = reader.peek() == Some(u32::from('\\'));
        let Some(token) = reader.token()? else { break };
        if is_escaped {
            shape = Shape::Tokens(Vec::new());
        }
        if token == Token::Star && reader.take('*') {
            reader.take('/');
            if reader.peek().is_none() {
                if shape == Shape::Exact {
                    shape = Shape::Prefix;
                } else {
                    tokens.push(Token::Rest);
                    shape = Shape::Tokens(Vec::new());
                }
            } else {
                tokens.extend([Token::Dirs, Token::DirsBody]);
                shape = Shape::Tokens(Vec::new());
            }
            if is_first {
                shape = Shape::Suffix;
            }
        } else {
            if !matches!(token, Token::Literal(character) if character != u32::from(']')) {
                shape = Shape::Tokens(Vec::new());
            }
            tokens.push(token);
        }
        is_first = false;
    }
    Ok(match shape {
        Shape::Exact => (Shape::Exact, pattern.to_vec()),
        Shape::Prefix => (Shape::Prefix, pattern[..pattern.len() - 2].to_vec()),
        Shape::Suffix => (Shape::Suffix, pattern[2..].to_vec()),
        Shape::Tokens(_) => (Shape::Tokens(tokens), pattern.to_vec()),
    })
}

/// Rules by a literal part of a known length.
#[derive(Clone, Debug, Default)]
struct Buckets {
    rules: HashMap<Vec<u8>, Vec<usize>>,
    lengths: Vec<usize>,
}

impl Buckets {
    fn add(&mut self, part: Vec<u8>, at: usize) {
        self.rules.entry(part).or_default().push(at);
    }

    fn finish(&mut self) {
        let lengths: BTreeSet<usize> = self.rules.keys().map(Vec::len).collect();
        self.lengths = lengths.into_iter().collect();
    }

    fn at_start(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        self.parts(path.len())
            .filter_map(|length| self.rules.get(&path[..length]))
            .flatten()
            .copied()
    }

    fn at_end(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        let parts = self.parts(path.len());
        parts
            .filter_map(|length| self.rules.get(&path[path.len() - length..]))
            .flatten()
            .copied()
    }

    fn parts(&self, longest: usize) -> impl Iterator<Item = usize> {
        self.lengths
            .iter()
            .copied()
            .take_while(move |length| *length <= longest)
    }
}

/// Where rules may take exclusions back.
#[derive(Clone, Debug, Default)]
struct Reincluded {
    /// Literal beginnings of what is taken back, sorted.
    beginnings: Vec<Vec<u8>>,
    /// Those after which anything may follow.
    open: Buckets,
    is_anywhere: bool,
}

impl Reincluded {
    fn add(&mut self, rule: &Rule) {
        let open = match &rule.shape {
            Shape::Exact => {
                self.beginnings.push(rule.pattern.clone());
                return;
            }
            Shape::Prefix => rule.pattern.clone(),
            Shape::Suffix => Vec::new(),
            Shape::Tokens(tokens) => bytes(&literals(tokens.iter())),
        };
        if open.is_empty() {
            self.is_anywhere = true;
        } else {
            self.beginnings.push(open.clone());
            self.open.add(open, 0);
        }
    }

    fn finish(&mut self) {
        self.beginnings.sort_unstable();
        self.open.finish();
    }

    /// Says whether anything whose path begins with `inside` may be taken back.
    fn is_possible_in(&self, inside: &[u8]) -> bool {
        let at = self
            .beginnings
            .partition_point(|beginning| beginning.as_slice() < inside);
        let is_below = self
            .beginnings
            .get(at)
            .is_some_and(|beginning| beginning.starts_with(inside));
        self.is_anywhere || is_below || self.open.at_start(inside).next().is_some()
    }
}

/// Drops rules that only say again what was said.
#[derive(Debug, Default)]
struct Repeats {
    last: HashMap<(bool, Vec<u8>), usize>,
    last_of_sign: [usize; 2],
    count: usize,
}

impl Repeats {
    /// Says whether a rule adds anything: it does not if nothing of the other sign came since the same rule.
    fn is_news(&mut self, rule: &Rule) -> bool {
        self.count += 1;
        let other = self.last_of_sign[usize::from(!rule.is_reinclude)];
        self.last_of_sign[usize::from(rule.is_reinclude)] = self.count;
        // Shapes with the same text compare differently, so the shape is part of what must be the same.
        let kind = match rule.shape {
            Shape::Exact => b'e',
            Shape::Prefix => b'p',
            Shape::Suffix => b's',
            Shape::Tokens(_) => b't',
        };
        let mut key = rule.pattern.clone();
        key.push(kind);
        let before = self.last.insert((rule.is_reinclude, key), self.count);
        before.is_none_or(|before| before < other)
    }
}

/// Returns the literal characters at the beginning of the tokens.
fn literals<'a>(tokens: impl Iterator<Item = &'a Token>) -> Vec<u32> {
    tokens
        .map_while(|token| match token {
            Token::Literal(character) => Some(*character),
            _ => None,
        })
        .collect()
}

fn bytes(characters: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(characters.len());
    for character in characters {
        glob::push_bytes(&mut bytes, *character);
    }
    bytes
}

/// Cuts white space off; that of Unicode too, if the text is UTF-8.
fn trim(text: &[u8]) -> &[u8] {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

/// Drops one leading `/`; a `/` alone stays.
fn without_root(path: Vec<u8>) -> Vec<u8> {
    match path.strip_prefix(b"/") {
        Some(rest) if !rest.is_empty() => rest.to_vec(),
        Some(_) | None => path,
    }
}

/// Returns the shortest path that means the same: no `.`, no `//`, no `..` behind a name.
fn clean(path: &[u8]) -> Vec<u8> {
    let is_rooted = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match names.last() {
                Some(last) if *last != b".." => {
                    names.pop();
                }
                _ if is_rooted => {}
                _ => names.push(name),
            },
            _ => names.push(name),
        }
    }
    let mut cleaned = if is_rooted { b"/".to_vec() } else { Vec::new() };
    cleaned.extend(names.join(b"/".as_slice()));
    if cleaned.is_empty() {
        cleaned.push(b'.');
    }
    cleaned
}
