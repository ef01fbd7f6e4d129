//! Glob patterns over paths as bytes: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]`, a backslash before anything.
//!
//! [`Glob`] is Go's `filepath.Match`, which COPY and ADD use for wildcards; the ignore rules add `**` to it. A match
//! takes time in proportion to the length of the pattern times that of the path, whatever the pattern.

/// A compiled pattern that matches whole paths.
///
/// # Deviation
/// As in Go, a class may match a `/` (`a[^b]c` matches `a/c`). A range that is the wrong way round is an error here;
/// Go never matches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGlob {
    /// `[` without `]`, or with nothing in between.
    #[error("the character class after `[` is empty or not closed")]
    Class,
    /// `[z-a]`, `[a-]` or `[-a]`.
    #[error("the range in a character class has no proper ends")]
    Range,
    /// A backslash at the end.
    #[error("the backslash at the end escapes nothing")]
    Escape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// One character.
    Literal(u32),
    /// `?`
    One,
    /// `*`
    Star,
    /// `[...]`
    Class {
        is_negated: bool,
        ranges: Vec<(u32, u32)>,
    },
    /// `**/`: nothing, or anything up to and with a `/`. Always followed by `DirsBody`.
    Dirs,
    /// The inside of `**/`.
    DirsBody,
    /// `**` at the end: anything.
    Rest,
}

const SLASH: u32 = b'/' as u32;

/// Bytes that are not UTF-8 become numbers above all characters.
const RAW_BYTE: u32 = 0x11_0000;

impl Glob {
    /// Compiles a pattern in the language of Go's `filepath.Match`.
    pub fn parse(pattern: &[u8]) -> Result<Self, BadGlob> {
        let mut characters = Characters::new(pattern);
        let mut tokens = Vec::new();
        while let Some(token) = characters.token()? {
            if !(token == Token::Star && tokens.last() == Some(&Token::Star)) {
                tokens.push(token);
            }
        }
        Ok(Self { tokens })
    }

    /// Says whether the pattern matches the whole of `path`.
    pub fn matches(&self, path: &[u8]) -> bool {
        matches(&self.tokens, &characters(path))
    }
}

/// Says whether a source is a pattern and not a plain name; an escape alone does not make it one.
pub fn has_wildcard(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Decodes a path for [`matches`].
pub(super) fn characters(path: &[u8]) -> Vec<u32> {
    let mut decoded = Vec::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        decoded.extend(chunk.valid().chars().map(u32::from));
        decoded.extend(
            chunk
                .invalid()
                .iter()
                .map(|byte| RAW_BYTE + u32::from(*byte)),
        );
    }
    decoded
}

/// Encodes what [`characters`] decoded.
pub(super) fn push_bytes(bytes: &mut Vec<u8>, character: u32) {
    match (
        char::from_u32(character),
        u8::try_from(character.wrapping_sub(RAW_BYTE)),
    ) {
        (Some(character), _) => bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
        (None, Ok(byte)) => bytes.push(byte),
        (None, Err(_)) => {}
    }
}

/// Reads the tokens of a pattern.
pub(super) struct Characters {
    characters: Vec<u32>,
    at: usize,
}

impl Characters {
    pub(super) fn new(pattern: &[u8]) -> Self {
        Self {
            characters: characters(pattern),
            at: 0,
        }
    }

    pub(super) fn peek(&self) -> Option<u32> {
        self.characters.get(self.at).copied()
    }

    /// Takes the next character if it is this one.
    pub(super) fn take(&mut self, character: char) -> bool {
        let is_next = self.peek() == Some(u32::from(character));
        self.at += usize::from(is_next);
        is_next
    }

    /// Reads the next token; `**` is two stars here.
    pub(super) fn token(&mut self) -> Result<Option<Token>, BadGlob> {
        let Some(character) = self.peek() else {
            return Ok(None);
        };
        self.at += 1;
        Ok(Some(match char::from_u32(character) {
            Some('*') => Token::Star,
            Some('?') => Token::One,
            Some('[') => self.class()?,
            Some('\\') => {
                let escaped = self.peek().ok_or(BadGlob::Escape)?;
                self.at += 1;
                Token::Literal(escaped)
            }
            _ => Token::Literal(character),
        }))
    }

    fn class(&mut self) -> Result<Token, BadGlob> {
        let is_negated = self.take('^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.take(']') {
            let low = self.class_end()?;
            let high = if self.take('-') {
                self.class_end()?
            } else {
                low
            };
            if low > high {
                return Err(BadGlob::Range);
            }
            ranges.push((low, high));
        }
        Ok(Token::Class { is_negated, ranges })
    }

    fn class_end(&mut self) -> Result<u32, BadGlob> {
        let character = self.peek().ok_or(BadGlob::Class)?;
        self.at += 1;
        match char::from_u32(character) {
            Some(']') => Err(BadGlob::Class),
            Some('-') => Err(BadGlob::Range),
            Some('\\') => {
                let escaped = self.peek().ok_or(BadGlob::Escape)?;
                self.at += 1;
                Ok(escaped)
            }
            _ => Ok(character),
        }
    }
}

/// Matches by keeping the set of all tokens that may come next: no backtracking.
pub(super) fn matches(tokens: &[Token], path: &[u32]) -> bool {
    let mut current = States::new(tokens.len());
    let mut next = States::new(tokens.len());
    current.add(tokens, 0);
    for &character in path {
        next.clear();
        for &state in &current.active {
            match &tokens[state] {
                Token::Literal(literal) if *literal == character => next.add(tokens, state + 1),
                Token::One if character != SLASH => next.add(tokens, state + 1),
                Token::Star if character != SLASH => next.add(tokens, state),
                Token::Class { is_negated, ranges } => {
                    let is_in = ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&character));
                    if is_in != *is_negated {
                        next.add(tokens, state + 1);
                    }
                }
                Token::DirsBody => {
                    next.add(tokens, state);
                    if character == SLASH {
                        next.add(tokens, state + 1);
                    }
                }
                Token::Rest => next.add(tokens, state),
                Token::Literal(_) | Token::One | Token::Star | Token::Dirs => {}
            }
        }
        std::mem::swap(&mut current, &mut next);
        if current.active.is_empty() && !current.is_accepting {
            return false;
        }
    }
    current.is_accepting
}

/// A set of positions in a pattern.
struct States {
    active: Vec<usize>,
    is_in: Vec<bool>,
    is_accepting: bool,
}

impl States {
    fn new(tokens: usize) -> Self {
        Self {
            active: Vec::new(),
            is_in: vec![false; tokens],
            is_accepting: false,
        }
    }

    fn clear(&mut self) {
        for state in self.active.drain(..) {
            self.is_in[state] = false;
        }
        self.is_accepting = false;
    }

    /// Adds a position and those that can be reached from it without a character.
    fn add(&mut self, tokens: &[Token], mut state: usize) {
        loop {
            let Some(token) = tokens.get(state) else {
                self.is_accepting = true;
                return;
            };
            if std::mem::replace(&mut self.is_in[state], true) {
                return;
            }
            self.active.push(state);
            match token {
                Token::Star | Token::Rest => state += 1,
                Token::Dirs => {
                    // Into the body, which is entered only here, and past it.
                    if !std::mem::replace(&mut self.is_in[state + 1], true) {
                        self.active.push(state + 1);
                    }
                    state += 2;
                }
                Token::Literal(_) | Token::One | Token::Class { .. } | Token::DirsBody => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_go() {
        let check = |pattern: &str, path: &str, expect: bool| {
            let glob = Glob::parse(pattern.as_bytes())
                .unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(glob.matches(path.as_bytes()), expect, "{pattern} {path}");
        };
        check("abc", "abc", true);
        check("*", "abc", true);
        check("*", "", true);
        check("*", "a/b", false);
        check("*c", "abc", true);
        check("a*", "a", true);
        check("a*/b", "abc/b", true);
        check("a*/b", "a/c/b", false);
        check("a*b*c*d*e*/f", "axbxcxdxexxx/f", true);
        check("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false);
        check("a*b?c*x", "abxbbxdbxebxczzx", true);
        check("a*b?c*x", "abxbbxdbxebxczzy", false);
        check("ab[c]", "abc", true);
        check("ab[b-d]", "abc", true);
        check("ab[e-g]", "abc", false);
        check("ab[^c]", "abc", false);
        check("ab[^e-g]", "abc", true);
        check("a[^b]c", "a/c", true);
        check(r"a\*b", "a*b", true);
        check(r"a\*b", "axb", false);
        check("a?b", "aßb", true);
        check("a???b", "aßb", false);
        check("[a-ζ]*", "α", true);
        check("*[a-ζ]", "A", false);
        check("a?b", "a/b", false);
        check("[!a]", "!", true);
        check(r"[\]a]", "]", true);
        check(r"[\-x]", "-", true);
        check("**", "ab", true);
        check("**", "a/b", false);
        check("a]", "a]", true);
        check("", "", true);
        check("", "a", false);
    }

    #[test]
    fn names_that_are_not_text_match_too() {
        let glob = Glob::parse(b"a?\xff*").unwrap();
        assert!(glob.matches(b"a\xfe\xff\xfd"));
        assert!(!glob.matches(b"a\xfe\xfe"));
        let mut bytes = Vec::new();
        for character in characters(b"\xffa\xc3\xa9") {
            push_bytes(&mut bytes, character);
        }
        assert_eq!(bytes, b"\xffa\xc3\xa9");
    }

    #[test]
    fn bad_patterns_are_errors() {
        let check = |pattern: &str, expect: BadGlob| {
            assert_eq!(Glob::parse(pattern.as_bytes()), Err(expect), "{pattern}");
        };
        check("[]a]", BadGlob::Class);
        check("[", BadGlob::Class);
        check("[^", BadGlob::Class);
        check("[a", BadGlob::Class);
        check("[-]", BadGlob::Range);
        check("[x-]", BadGlob::Class);
        check("[-x]", BadGlob::Range);
        check("[z-a]", BadGlob::Range);
        check("a\\", BadGlob::Escape);
        check("[a\\", BadGlob::Escape);
    }

    #[test]
    fn wildcards_are_told_from_names() {
        assert!(has_wildcard(b"a*"));
        assert!(has_wildcard(b"a?"));
        assert!(has_wildcard(b"[a]"));
        assert!(!has_wildcard(b"a]"));
        assert!(!has_wildcard(br"a\*"));
        assert!(!has_wildcard(b"a\\"));
    }

    #[test]
    fn hostile_patterns_take_linear_time() {
        let glob = Glob::parse("*a".repeat(500).as_bytes()).unwrap();
        let start = std::time::Instant::now();
        assert!(!glob.matches("a".repeat(4000).replace('a', "ab").as_bytes()));
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }
}
