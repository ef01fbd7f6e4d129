//! The last lines that a command wrote, kept as they stream by, for the error that follows if it fails.

use std::collections::VecDeque;

use super::event::Stream;

/// So many lines are kept: what a compiler or a test says last, and not a second log.
const LINES_MAX: usize = 20;
/// The longest part of a line that is kept, in bytes. It is longer than what anybody is shown of it, so that a secret that is masked
/// there is whole here.
const LINE_MAX: usize = 16 * 1024;

/// A line that a command wrote, as it came and without its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastLine {
    /// Its bytes, as far as they are kept.
    pub bytes: Vec<u8>,
    /// Whether it went on.
    pub is_cut: bool,
}

/// Takes in what a command writes and keeps the last lines of both its streams, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct LastLines {
    lines: VecDeque<LastLine>,
    stdout: Unended,
    stderr: Unended,
}

/// A line that has not ended yet.
#[derive(Debug, Default)]
struct Unended {
    line: LastLine,
    /// Whether what comes next is written over it, as a progress bar does.
    is_returned: bool,
}

impl LastLines {
    /// Takes a piece in.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let unended = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            unended.extend(&rest[..at]);
            if rest[at] == b'\n' {
                keep(&mut self.lines, std::mem::take(unended).line);
            } else {
                unended.is_returned = true;
            }
            rest = &rest[at + 1..];
        }
        unended.extend(rest);
    }

    /// Gives the last lines, with what has no line end.
    pub(super) fn finish(mut self) -> Vec<LastLine> {
        for Unended { line, .. } in [self.stdout, self.stderr] {
            if !line.bytes.is_empty() {
                keep(&mut self.lines, line);
            }
        }
        self.lines.into()
    }
}

impl Unended {
    fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.is_returned) {
            self.line.bytes.clear();
            self.line.is_cut = false;
        }
        let kept = bytes.len().min(LINE_MAX - self.line.bytes.len());
        self.line.bytes.extend_from_slice(&bytes[..kept]);
        self.line.is_cut |= kept < bytes.len();
    }
}

/// Of empty lines one after the other, the first is kept: they would drive out what says something.
fn keep(lines: &mut VecDeque<LastLine>, line: LastLine) {
    if line.bytes.is_empty() && lines.back().is_none_or(|last| last.bytes.is_empty()) {
        return;
    }
    if lines.len() == LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[(Stream, &str)]) -> Vec<String> {
        let mut last = LastLines::default();
        for (stream, piece) in pieces {
            last.push(*stream, piece.as_bytes());
        }
        let text = |line: LastLine| String::from_utf8(line.bytes).unwrap();
        last.finish().into_iter().map(text).collect()
    }

    #[test]
    fn lines_end_as_a_terminal_shows_them() {
        use Stream::{Stderr, Stdout};
        for (pieces, expect) in [
            (&[][..], &[][..]),
            (&[(Stdout, "one\ntwo")], &["one", "two"]),
            (
                &[(Stdout, "o"), (Stdout, "ne\r"), (Stdout, "\ntwo\r\n")],
                &["one", "two"],
            ),
            (&[(Stdout, "10%\r50%\r100%\ndone\n")], &["100%", "done"]),
            (&[(Stdout, "10%\r"), (Stdout, "50%\r")], &["50%"]),
            (
                &[(Stdout, "\n\none\n\n\n\ntwo\n\n")],
                &["one", "", "two", ""],
            ),
            (
                &[
                    (Stdout, "out "),
                    (Stderr, "err\n"),
                    (Stdout, "put\n"),
                    (Stderr, "or"),
                ],
                &["err", "out put", "or"],
            ),
        ] {
            assert_eq!(kept(pieces), expect, "{pieces:?}");
        }
    }

    #[test]
    fn only_the_last_lines_are_kept_and_no_more_of_one_than_its_beginning() {
        let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        for end in ["", "\n"] {
            let last = kept(&[(Stream::Stdout, &lines.join("\n")), (Stream::Stdout, end)]);
            assert_eq!(last, lines[100 - LINES_MAX..]);
        }

        let mut last = LastLines::default();
        for _ in 0..64 {
            last.push(Stream::Stderr, &[b'x'; 4096]);
        }
        last.push(Stream::Stderr, b"\nshort\n");
        let last = last.finish();
        assert_eq!(last[0].bytes.len(), LINE_MAX);
        assert_eq!((last[0].is_cut, last[1].is_cut), (true, false));
        assert_eq!(last[1].bytes, b"short");
    }
}
