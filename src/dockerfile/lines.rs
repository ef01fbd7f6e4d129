//! Physical lines to logical lines: byte order mark, comments, parser directives, continuations, heredoc bodies.

use super::ast::{Directive, DirectiveKind};
use super::error::{ParseError, Problem};
use super::span::{Span, Spanned};

/// The longest physical line in bytes, without its line end: the limit of BuildKit's scanner.
pub(super) const MAX_LINE: usize = 65_535;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One instruction with its continuations joined.
#[derive(Debug)]
pub(super) struct Logical {
    /// The joined text.
    pub(super) text: String,
    /// Where pieces of `text` come from: (offset in `text`, offset in the file).
    segments: Vec<(usize, usize)>,
    /// The physical lines, without the last line end.
    pub(super) span: Span,
    /// Comments directly above.
    pub(super) comments: Vec<Spanned<String>>,
}

impl Logical {
    /// Returns the place in the file of a range of `text`.
    pub(super) fn place(&self, start: usize, end: usize) -> Span {
        let first = self.origin(start);
        let last = if end > start {
            self.origin(end - 1) + 1
        } else {
            first
        };
        Span::new(first, last)
    }

    fn origin(&self, offset: usize) -> usize {
        let behind = self
            .segments
            .partition_point(|(logical, _)| *logical <= offset);
        let (logical, source) = self.segments[behind.saturating_sub(1)];
        source + (offset - logical)
    }
}

/// Reads a Dockerfile line by line.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    in_directives: bool,
    comments: Vec<Spanned<String>>,
    /// The escape character as of now.
    pub(super) escape: char,
    /// The directives so far.
    pub(super) directives: Vec<Directive>,
    /// Blank lines inside of instructions so far.
    pub(super) empty_continuations: Vec<Span>,
    /// Problems of directives so far.
    pub(super) errors: Vec<ParseError>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: if text.starts_with(BYTE_ORDER_MARK) {
                BYTE_ORDER_MARK.len()
            } else {
                0
            },
            in_directives: true,
            comments: Vec::new(),
            escape: '\\',
            directives: Vec::new(),
            empty_continuations: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Returns the next instruction; `None` at the end of the file.
    ///
    /// # Errors
    /// A line that cannot be read (too long, not text). Reading can go on after it.
    pub(super) fn next_logical(&mut self) -> Result<Option<Logical>, ParseError> {
        while let Some(line) = self.next_physical()? {
            let content = decode(self.text, line)?;
            let trimmed = content.text.trim_start();
            let start = line.start + (content.text.len() - trimmed.len());
            if self.in_directives {
                self.in_directives = self.directive(trimmed, start);
                if self.in_directives {
                    continue;
                }
            }
            if content.is_comment {
                self.comment(trimmed, start);
                continue;
            }
            let (body, mut continues) = self.strip_continuation(trimmed);
            if !continues && body.is_empty() {
                continue;
            }
            let mut logical = Logical {
                text: body.to_owned(),
                segments: vec![(0, start)],
                span: Span::new(start, start + trimmed.trim_end().len()),
                comments: std::mem::take(&mut self.comments),
            };
            while continues {
                let Some(line) = self.next_physical()? else {
                    break;
                };
                let content = decode(self.text, line)?;
                if content.is_comment {
                    continue;
                }
                if content.text.trim_start().is_empty() {
                    self.empty_continuations.push(line);
                    continue;
                }
                let (body, more) = self.strip_continuation(&content.text);
                logical.segments.push((logical.text.len(), line.start));
                logical.text.push_str(body);
                logical.span.end = line.start + content.text.trim_end().len();
                continues = more;
            }
            if let Some(at) = logical.text.find('\0') {
                return Err(ParseError::new(Problem::NulByte, logical.place(at, at + 1)));
            }
            return Ok(Some(logical));
        }
        Ok(None)
    }

    /// Reads lines up to the terminator of a heredoc; returns the place of the body, `None` if it does not end.
    pub(super) fn heredoc_body(
        &mut self,
        name: &str,
        chomp: bool,
    ) -> Result<Option<Span>, ParseError> {
        let start = self.at;
        while let Some(line) = self.next_physical()? {
            let mut content = &self.text[line.start..line.end];
            if chomp {
                let tabs = content.iter().take_while(|byte| **byte == b'\t').count();
                content = &content[tabs..];
            }
            if content == name.as_bytes() {
                return Ok(Some(Span::new(start, line.start)));
            }
        }
        Ok(None)
    }

    /// Returns the offset of the next physical line.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Goes back to an offset that [`Lines::offset`] gave.
    pub(super) fn rewind(&mut self, offset: usize) {
        self.at = offset;
    }

    /// Returns the next line without its line end.
    fn next_physical(&mut self) -> Result<Option<Span>, ParseError> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let length = rest.iter().position(|byte| *byte == b'\n');
        let mut end = start + length.unwrap_or(rest.len());
        self.at = end + usize::from(length.is_some());
        if end - start > MAX_LINE {
            let problem = Problem::LineTooLong { limit: MAX_LINE };
            return Err(ParseError::new(problem, Span::new(start, start)));
        }
        while end > start && self.text[end - 1] == b'\r' {
            end -= 1;
        }
        Ok(Some(Span::new(start, end)))
    }

    /// Takes a line that may be a directive; returns whether it was one, so that more may follow.
    fn directive(&mut self, line: &str, start: usize) -> bool {
        let Some((name, value, value_at)) = split_directive(line) else {
            return false;
        };
        let (kind, name) = match name.to_ascii_lowercase().as_str() {
            "syntax" => (DirectiveKind::Syntax, "syntax"),
            "escape" => (DirectiveKind::Escape, "escape"),
            "check" => (DirectiveKind::Check, "check"),
            _ => return false,
        };
        let span = Span::new(start, start + line.trim_end().len());
        if self
            .directives
            .iter()
            .any(|directive| directive.kind == kind)
        {
            let problem = Problem::DuplicateDirective { name };
            self.errors.push(ParseError::new(problem, span));
            return true;
        }
        let value_span = Span::new(start + value_at, start + value_at + value.len());
        if kind == DirectiveKind::Escape {
            match value {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                other => {
                    let problem = Problem::BadEscape {
                        value: other.to_owned(),
                    };
                    self.errors.push(ParseError::new(problem, value_span));
                }
            }
        }
        self.directives.push(Directive {
            kind,
            value: Spanned::new(value.to_owned(), value_span),
            span,
        });
        true
    }

    fn comment(&mut self, line: &str, start: usize) {
        let text = line[1..].trim();
        if text.is_empty() {
            self.comments.clear();
            return;
        }
        let span = Span::new(start, start + line.trim_end().len());
        self.comments.push(Spanned::new(text.to_owned(), span));
    }

    /// Cuts the continuation character off; returns whether there was one.
    fn strip_continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let blank = |byte| byte == ' ' || byte == '\t';
        let Some(body) = line.trim_end_matches(blank).strip_suffix(self.escape) else {
            return (line, false);
        };
        // An escaped escape character does not continue the line; three in a row are not told apart from two.
        if body.ends_with(self.escape) {
            return (line, false);
        }
        (body, true)
    }
}

/// A physical line as text.
struct Content<'a> {
    text: std::borrow::Cow<'a, str>,
    is_comment: bool,
}

/// Decodes a line. Comments may be in any encoding, everything else must be UTF-8.
fn decode(text: &[u8], line: Span) -> Result<Content<'_>, ParseError> {
    let bytes = &text[line.start..line.end];
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Content {
            is_comment: text.trim_start().starts_with('#'),
            text: text.into(),
        }),
        Err(_) if bytes.trim_ascii_start().starts_with(b"#") => Ok(Content {
            is_comment: true,
            text: String::from_utf8_lossy(bytes),
        }),
        Err(error) => {
            let at = line.start + error.valid_up_to();
            Err(ParseError::new(Problem::NotUtf8, Span::new(at, at + 1)))
        }
    }
}

/// Splits `# name = value`; returns name, value and the offset of the value.
fn split_directive(line: &str) -> Option<(&str, &str, usize)> {
    let blank = |character: char| matches!(character, ' ' | '\t' | '\x0c');
    let body = line.strip_prefix('#')?.trim_start();
    let name_length = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (name, rest) = body.split_at(name_length);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest.trim_start_matches(blank).strip_prefix('=')?;
    let value = value.trim_start_matches(blank);
    let value_at = line.len() - value.len();
    let value = value.trim_end_matches(|character| blank(character) || character == '\r');
    (!value.is_empty()).then_some((name, value, value_at))
}
