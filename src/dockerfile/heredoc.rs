//! Heredocs: documents inside of a Dockerfile.

use std::borrow::Cow;

use super::span::Span;

/// A document that an instruction names with `<<NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes; for COPY and ADD also the file's name.
    pub name: String,
    /// The lines as written, with their line ends and leading tabs; see [`Heredoc::content`].
    pub body: String,
    /// Whether variables in the body are expanded: no part of the delimiter was quoted.
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
        Cow::Owned(
            self.body
                .split_inclusive('\n')
                .map(|line| line.trim_start_matches('\t'))
                .collect(),
        )
    }
}
