//! Heredocs: documents inside of a Dockerfile.

use std::borrow::Cow;

use super::error::{ParseError, Problem};
use super::lines::Logical;
use super::span::Span;
use super::word;

/// A document that an instruction names with `<<NAME`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Heredoc {
    /// The delimiter without quotes; for COPY and ADD also the file's name.
    pub name: String,
    /// The lines as written, with their line ends and leading tabs; see [`Heredoc::content`].
    pub body: String,
    /// Whether variables in the body are expanded: no part of the delimiter was quoted. COPY and ADD only.
    pub expand: bool,
    /// Whether leading tabs are dropped (`<<-`).
    pub chomp: bool,
    /// The file descriptor in front of `<<`; 0 if none was given.
    pub fd: u32,
    /// The word `<<NAME`.
    pub span: Span,
    /// The body, without the line of the terminator.
    pub body_span: Span,
}

impl Heredoc {
    /// Returns the body as the reader of the document gets it: with `<<-`, without leading tabs.
    pub fn content(&self) -> Cow<'_, str> {
        if !self.chomp {
            return Cow::Borrowed(&self.body);
        }
        let lines = self.body.split_inclusive('\n');
        Cow::Owned(lines.map(|line| line.trim_start_matches('\t')).collect())
    }
}

/// The word that announces a heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) chomp: bool,
    pub(super) fd: u32,
    pub(super) span: Span,
}

impl Announcement {
    /// Adds the body.
    pub(super) fn complete(self, body: &[u8], body_span: Span) -> Result<Heredoc, ParseError> {
        if let Some(at) = body.iter().position(|byte| *byte == 0) {
            let at = body_span.start + at;
            return Err(ParseError::new(Problem::NulByte, Span::new(at, at + 1)));
        }
        let body = std::str::from_utf8(body).map_err(|error| {
            let at = body_span.start + error.valid_up_to();
            ParseError::new(Problem::NotUtf8, Span::new(at, at + 1))
        })?;
        Ok(Heredoc {
            name: self.name,
            body: body.to_owned(),
            expand: self.expand,
            chomp: self.chomp,
            fd: self.fd,
            span: self.span,
            body_span,
        })
    }
}

/// Finds the heredocs that a line announces, in order.
pub(super) fn announcements(line: &Logical) -> Vec<Announcement> {
    if !line.text.contains("<<") {
        return Vec::new();
    }
    let words = word::raw_words(&line.text);
    let announced = words.iter().filter_map(|(text, start)| {
        let span = line.place(*start, (*start + text.len()).min(line.text.len()));
        announcement(text, span)
    });
    announced.collect()
}

/// Reads `[fd]<<[-][blanks]delimiter`; the delimiter is one word, quoted or not.
pub(super) fn announcement(text: &str, span: Span) -> Option<Announcement> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text[digits..].strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0c']);
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let [name] = word::delimiter_words(rest, false).try_into().ok()?;
    let [raw]: [String; 1] = word::delimiter_words(rest, true).try_into().ok()?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Announcement {
        expand: quotes(&name) == quotes(&raw),
        name,
        chomp,
        fd: text[..digits].parse().unwrap_or(0),
        span,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters() {
        let check = |text: &str, expect: Option<(&str, bool, bool, u32)>| {
            let found = announcement(text, Span::default());
            let found = found
                .as_ref()
                .map(|found| (found.name.as_str(), found.expand, found.chomp, found.fd));
            assert_eq!(found, expect, "{text}");
        };
        check("<<EOF", Some(("EOF", true, false, 0)));
        check("<<-EOF", Some(("EOF", true, true, 0)));
        check("3<<EOF", Some(("EOF", true, false, 3)));
        check("<< EOF", Some(("EOF", true, false, 0)));
        check("<<\"EOF\"", Some(("EOF", false, false, 0)));
        check("<<E'O'F", Some(("EOF", false, false, 0)));
        check("<<'a b'", Some(("a b", false, false, 0)));
        check("<<a.txt", Some(("a.txt", true, false, 0)));
        check("<<", None);
        check("<<<EOF", None);
        check("<<EOF bash", None);
        check("<<'EOF", None);
        check("x<<EOF", None);
        check("<<A<<B", None);
    }
}
