//! Expansion of words with the variables of a scope.

use crate::dockerfile::Span;
use crate::dockerfile::word::{self, WordError};

use super::PlanError;
use super::environment::Environment;

/// Expands a word to one string.
pub(super) fn expand(
    text: &str,
    scope: &Environment,
    escape: char,
    span: Span,
) -> Result<String, PlanError> {
    word::expand(text, escape, &|name| scope.lookup(name))
        .map(|expansion| expansion.value)
        .map_err(|source| at(span, source))
}

/// Expands a word and splits the result at blanks.
pub(super) fn expand_words(
    text: &str,
    scope: &Environment,
    escape: char,
    span: Span,
) -> Result<Vec<String>, PlanError> {
    word::expand_words(text, escape, &|name| scope.lookup(name))
        .map(|expansion| expansion.words)
        .map_err(|source| at(span, source))
}

/// Expands the body of a heredoc.
pub(super) fn expand_heredoc(
    body: &str,
    scope: &Environment,
    span: Span,
) -> Result<String, PlanError> {
    word::expand_heredoc(body, &|name| scope.lookup(name))
        .map(|expansion| expansion.value)
        .map_err(|source| at(span, source))
}

fn at(span: Span, source: WordError) -> PlanError {
    PlanError::Expansion { source, span }
}
