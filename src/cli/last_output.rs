//! What a failed command wrote last, told with the error: a log folds it away, and annotations and summaries have none of it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::build::{BuildError, LastLine};
use crate::ci::Neutralizer;

use super::diagnostic;
use super::render::{Renderer, State};

/// The longest part of a line that is shown, in characters.
const WIDTH: usize = 400;
/// What all lines together may have, in bytes; the first of them go.
const SIZE_MAX: usize = 8 * 1024;
/// What the lines of an annotation may have, in bytes, so that they and the message stay below what GitHub cuts off.
const ANNOTATION_MAX: usize = 2500;

/// The lines, harmless and without secrets.
#[derive(Debug, Default)]
pub(super) struct LastOutput {
    stage: String,
    lines: Vec<String>,
}

impl LastOutput {
    /// An error that was laid out, with the lines below it.
    pub(super) fn below(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if !self.lines.is_empty() {
            text.push_str("\n  last lines of its output:");
        }
        for line in &self.lines {
            let _ = write!(text, "\n    | {line}");
        }
        text
    }

    /// A message of an annotation, with as many of the lines as it has room for.
    pub(super) fn after(&self, message: &str) -> String {
        let mut text = message.to_owned();
        for line in newest(&self.lines, ANNOTATION_MAX) {
            text.push('\n');
            text.push_str(line);
        }
        text
    }

    /// What a JSON log says of it.
    pub(super) fn fields(&self) -> Value {
        if self.lines.is_empty() {
            return json!({});
        }
        json!({"stage": self.stage, "output": self.lines})
    }
}

impl Renderer {
    /// What the command wrote last whose failure ended the build.
    pub(super) fn last_output(&self, error: &BuildError) -> LastOutput {
        let BuildError::Run { stage, output, .. } = error else {
            return LastOutput::default();
        };
        let lines: Vec<String> = output.iter().map(|line| self.shown(line)).collect();
        let has_text = |line: &String| !line.is_empty();
        let first = lines.iter().position(has_text).unwrap_or(lines.len());
        let end = lines.iter().rposition(has_text).map_or(first, |at| at + 1);
        LastOutput {
            stage: stage.clone(),
            lines: newest(&lines[first..end], SIZE_MAX).to_vec(),
        }
    }

    /// Whether the log ends with these lines already. Where it folds, nobody sees them there; and with those of other stages in
    /// between, they are hard to find.
    pub(super) fn ends_with(&self, state: &State, output: &LastOutput) -> bool {
        !self.log.style.folds() && state.above.as_ref() == Some(&output.stage)
    }

    /// A line as it may be shown: harmless, masked as a whole, and only then cut.
    fn shown(&self, line: &LastLine) -> String {
        let text = Neutralizer::plain(&String::from_utf8_lossy(&line.bytes));
        let mut text = self.cleaned(&text).trim_end().to_owned();
        let mut is_cut = line.is_cut;
        if is_cut {
            // Where it breaks off there may be the beginning of a secret.
            let longest = self.log.masks.iter().map(String::len).max();
            let end = text.len().saturating_sub(longest.unwrap_or(0));
            text.truncate(diagnostic::floor_boundary(&text, end));
        }
        if let Some((end, _)) = text.char_indices().nth(WIDTH) {
            text.truncate(end);
            is_cut = true;
        }
        if is_cut {
            text.push('…');
        }
        text
    }
}

/// The last of the lines that have together no more than so many bytes, line ends included.
fn newest(lines: &[String], bytes_max: usize) -> &[String] {
    let mut left = bytes_max;
    let fits = lines.iter().rev().take_while(|line| {
        let size = line.len() + 1;
        let is_small = size <= left;
        left = left.saturating_sub(size);
        is_small
    });
    &lines[lines.len() - fits.count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay() {
        let lines = ["1", "22", "333"].map(str::to_owned);
        for (bytes_max, expect) in [(3, 0), (4, 1), (6, 1), (7, 2), (9, 3), (100, 3)] {
            assert_eq!(
                newest(&lines, bytes_max),
                &lines[3 - expect..],
                "{bytes_max}"
            );
        }
    }
}
