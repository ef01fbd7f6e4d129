//! The argument shapes of instructions: words between blanks, quoted words, JSON arrays, leading flags.

use serde_json::value::RawValue;

use super::lines::Logical;
use super::span::{Span, Spanned};

/// A word with its range in the logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Word {
    pub(super) fn place(&self, line: &Logical) -> Span {
        line.place(self.start, self.end)
    }

    pub(super) fn spanned(self, line: &Logical) -> Spanned<String> {
        let span = self.place(line);
        Spanned::new(self.text, span)
    }
}

/// A piece of a logical line: the text and its offset there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Piece<'_> {
    /// Cuts white space off on both sides.
    pub(super) fn trim(self) -> Self {
        let text = self.text.trim_start();
        let at = self.at + (self.text.len() - text.len());
        Self {
            text: text.trim_end(),
            at,
        }
    }

    /// Returns the text from an offset on.
    pub(super) fn from(self, offset: usize) -> Self {
        Self {
            text: &self.text[offset..],
            at: self.at + offset,
        }
    }

    /// Splits at the first run of blanks.
    pub(super) fn split_blank(self) -> (Self, Option<Self>) {
        let Some(end) = self.text.find(is_blank) else {
            return (self, None);
        };
        let rest = &self.text[end..];
        let next = end + (rest.len() - rest.trim_start_matches(is_blank).len());
        let first = Self {
            text: &self.text[..end],
            at: self.at,
        };
        (first, Some(self.from(next)))
    }

    pub(super) fn word(self) -> Word {
        Word {
            text: self.text.to_owned(),
            start: self.at,
            end: self.at + self.text.len(),
        }
    }
}

/// The characters that separate words; other white space of Unicode does not.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\x0b' | '\x0c' | '\r')
}

/// The white space around flags and the type of a HEALTHCHECK.
pub(super) fn is_ascii_space(character: char) -> bool {
    is_blank(character) || character == '\n'
}

/// Splits at blanks; quotes mean nothing.
pub(super) fn split_blanks(piece: Piece<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = Some(piece.trim());
    while let Some(piece) = rest {
        if piece.text.is_empty() {
            break;
        }
        let (word, tail) = piece.split_blank();
        words.push(word.word());
        rest = tail;
    }
    words
}

/// Splits at white space that is neither quoted nor escaped; quotes and escapes stay in the words.
pub(super) fn split_quoted(piece: Piece<'_>, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut quote: Option<char> = None;
    let mut characters = piece.text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            words.extend(word.take().map(|word| finish(word, piece.at + at)));
            continue;
        }
        let (_, text) = word.get_or_insert_with(|| (piece.at + at, String::new()));
        if character == escape && quote != Some('\'') {
            // An escape character at the very end is dropped.
            if let Some((_, escaped)) = characters.next() {
                text.push(character);
                text.push(escaped);
            }
            continue;
        }
        match quote {
            Some(open) if open == character => quote = None,
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(_) | None => {}
        }
        text.push(character);
    }
    let end = piece.at + piece.text.len();
    words.extend(word.map(|word| finish(word, end)));
    words.retain(|word| !word.text.is_empty());
    words
}

fn finish((start, text): (usize, String), end: usize) -> Word {
    Word { text, start, end }
}

/// Takes the leading words that begin with `--`, without their quotes; returns them and what follows.
pub(super) fn split_flags(piece: Piece<'_>, escape: char) -> (Vec<Word>, Piece<'_>) {
    let mut flags = Vec::new();
    let mut rest = piece;
    loop {
        let text = rest.text.trim_start_matches(is_ascii_space);
        rest = rest.from(rest.text.len() - text.len());
        if !text.starts_with("--") {
            return (flags, rest);
        }
        let (word, length) = flag_word(text, escape);
        let next = rest.from(length);
        if word == "--" {
            return (flags, next);
        }
        flags.push(Word {
            text: word,
            start: rest.at,
            end: rest.at + length,
        });
        rest = next;
    }
}

/// Reads one word up to white space, drops its quotes and escapes; returns it and its length as written.
fn flag_word(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if is_ascii_space(character) => return (word, at),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if open == character => quote = None,
            Some(_) | None if character == escape => {
                word.extend(characters.next().map(|(_, escaped)| escaped));
            }
            Some(_) | None => word.push(character),
        }
    }
    (word, text.len())
}

/// What a text is as JSON.
#[derive(Debug)]
pub(super) enum Json {
    /// Not a JSON array: it is in shell form.
    No,
    /// An array of strings.
    Strings(Vec<Word>),
    /// A JSON array with something else in it.
    Mixed,
}

/// Reads a JSON array of strings.
pub(super) fn json_strings(piece: Piece<'_>) -> Json {
    let piece = piece.trim();
    if !piece.text.starts_with('[') {
        return Json::No;
    }
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(piece.text) else {
        return Json::No;
    };
    let mut words = Vec::with_capacity(items.len());
    for item in items {
        let raw = item.get();
        let Some(text) = json_string(raw) else {
            return Json::Mixed;
        };
        let start = piece.at + (raw.as_ptr() as usize - piece.text.as_ptr() as usize);
        words.push(Word {
            text,
            start,
            end: start + raw.len(),
        });
    }
    Json::Strings(words)
}

/// Decodes one JSON string; half of a surrogate pair becomes U+FFFD, as in Go.
fn json_string(raw: &str) -> Option<String> {
    let body = raw.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(body.len());
    let mut characters = body.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next()? {
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let high = unit(&mut characters)?;
                let mut ahead = characters.clone();
                let pair = (ahead.next() == Some('\\') && ahead.next() == Some('u'))
                    .then(|| unit(&mut ahead))
                    .flatten()
                    .and_then(|low| char::decode_utf16([high, low]).next()?.ok())
                    .filter(|decoded| *decoded as u32 > 0xffff);
                if pair.is_some() {
                    characters = ahead;
                }
                let single = char::from_u32(u32::from(high));
                text.push(pair.or(single).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(other),
        }
    }
    Some(text)
}

fn unit(characters: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits: String = characters.by_ref().take(4).collect();
    u16::from_str_radix(&digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(|word| word.text.as_str()).collect()
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        let check = |input: &str, expect: &[&str]| {
            let words = split_quoted(Piece { text: input, at: 0 }, '\\');
            assert_eq!(texts(&words), expect, "{input}");
        };
        check("a=1 b=2", &["a=1", "b=2"]);
        check(r#"a="1 2" b='3 4'"#, &[r#"a="1 2""#, "b='3 4'"]);
        check(r"a=1\ 2 b", &[r"a=1\ 2", "b"]);
        check(r#"a="x\" y" b"#, &[r#"a="x\" y""#, "b"]);
        check(r"a='x\' b", &[r"a='x\'", "b"]);
        check(r"a=b\", &["a=b"]);
        check("\"\" x", &["\"\"", "x"]);
        check("a=\"open b", &["a=\"open b"]);
        check("", &[]);
        check("a\u{a0}b", &["a", "b"]);
    }

    #[test]
    fn flags_lose_their_quotes() {
        let check = |input: &str, expect: &[&str], rest: &str| {
            let (flags, tail) = split_flags(Piece { text: input, at: 0 }, '\\');
            assert_eq!(texts(&flags), expect, "{input}");
            assert_eq!(tail.text.trim(), rest, "{input}");
        };
        check("--a --b=1 c --d", &["--a", "--b=1"], "c --d");
        check("--a='x y' z", &["--a=x y"], "z");
        check(r"--a=x\ y z", &["--a=x y"], "z");
        check("--a -- --b", &["--a"], "--b");
        check("-a", &[], "-a");
        check("--a", &["--a"], "");
        check("--é=ü z", &["--é=ü"], "z");
    }

    #[test]
    fn json_arrays_are_told_from_shell_text() {
        let strings = |input: &str| match json_strings(Piece { text: input, at: 0 }) {
            Json::Strings(words) => {
                Some(words.into_iter().map(|word| word.text).collect::<Vec<_>>())
            }
            Json::No | Json::Mixed => None,
        };
        assert_eq!(
            strings(r#"["a", "b c"]"#),
            Some(vec!["a".into(), "b c".into()])
        );
        assert_eq!(strings("[]"), Some(vec![]));
        assert_eq!(
            strings(r#"["\u00e9\ud83d\ude00\ud800x\n\/"]"#),
            Some(vec!["é😀\u{fffd}x\n/".into()])
        );
        assert_eq!(strings("['a']"), None);
        assert_eq!(strings(r#"["a"] b"#), None);
        assert_eq!(strings(r#"["a",]"#), None);
        let mixed = |input| matches!(json_strings(Piece { text: input, at: 0 }), Json::Mixed);
        assert!(mixed(r#"["a", 1]"#));
        assert!(mixed(r#"[["a"]]"#));
        assert!(mixed("[null]"));
        assert!(!mixed("[ -f x ]"));
    }

    #[test]
    fn words_know_where_they_are() {
        let words = split_blanks(Piece {
            text: "  a\tbc ",
            at: 10,
        });
        let places: Vec<_> = words.iter().map(|word| (word.start, word.end)).collect();
        assert_eq!(places, [(12, 13), (14, 16)]);
    }
}
