//! A build's output, so that no CI system takes it for a command.
//!
//! Runners read commands out of a job's log: `::error::` at the beginning of a line, `##[group]` and `##vso[...]` anywhere,
//! GitLab's `section_start:`, Jenkins' hidden notes. What a RUN step prints comes from whoever wrote the Dockerfile's
//! dependencies, and must not be able to set outputs, hide text or forge annotations. So: lines end where any runner would end
//! them; control characters and terminal sequences other than colours go; what would be a command is broken by a backslash,
//! which shows. All rules apply everywhere, because logs are copied from one system to another.

/// The longest line that is kept back until it ends, in bytes. What is longer is broken.
const LINE_MAX: usize = 64 * 1024;

/// Makes output harmless, piece by piece. Gives whole lines only.
#[derive(Clone, Debug, Default)]
pub struct Neutralizer {
    rest: Vec<u8>,
    is_after_return: bool,
}

impl Neutralizer {
    /// Takes a piece and gives the lines that are complete by it, each with its line end.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        for &byte in bytes {
            // A runner's line ends at a carriage return, too. Empty lines are kept where a line feed alone makes them.
            if byte == b'\n' && self.rest.is_empty() && !self.is_after_return {
                out.push('\n');
            } else if matches!(byte, b'\n' | b'\r') || self.rest.len() >= LINE_MAX {
                out.push_str(&self.finish());
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.rest.push(byte);
            }
            self.is_after_return = byte == b'\r';
        }
        out
    }

    /// Gives what has no line end yet.
    pub fn finish(&mut self) -> String {
        if self.rest.is_empty() {
            return String::new();
        }
        let line = std::mem::take(&mut self.rest);
        let mut text = line_of(&String::from_utf8_lossy(&line));
        text.push('\n');
        text
    }

    /// Makes a text of one or more lines harmless, without a line end behind the last.
    pub fn text(text: &str) -> String {
        let lines: Vec<String> = text.split(['\n', '\r']).map(line_of).collect();
        lines.join("\n")
    }

    /// The same without colours, for a place that shows none, or where they would run into what follows.
    pub fn plain(text: &str) -> String {
        without_colors(&Self::text(text))
    }
}

/// One line.
fn line_of(line: &str) -> String {
    let shown = without_controls(line);
    let plain = without_invisible(&without_colors(&shown));
    let broken = broken(&plain);
    // A line that had to be broken loses its colours and what is invisible: they could stand in the middle of what is broken.
    if broken == plain { shown } else { broken }
}

/// Colours stay; other sequences, and other control characters, go.
fn without_controls(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let (kept, taken) = match c {
            '\t' => ("\t", 1),
            '\u{1b}' => sequence(rest),
            // The eighth bit's forms of the same.
            '\u{9b}' => ("", c.len_utf8() + control_sequence(&rest[c.len_utf8()..])),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => {
                ("", c.len_utf8() + string(&rest[c.len_utf8()..]))
            }
            // Line and paragraph separators.
            '\u{2028}' | '\u{2029}' => (" ", c.len_utf8()),
            // Other control characters; what takes no place, or turns the direction of writing.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => ("", c.len_utf8()),
            other => (&rest[..other.len_utf8()], other.len_utf8()),
        };
        out.push_str(kept);
        rest = &rest[taken..];
    }
    out
}

/// What an escape sequence becomes, and how long it is (ECMA-48 5.3 "Elements of control functions").
fn sequence(text: &str) -> (&str, usize) {
    let after = &text[1..];
    match after.chars().next() {
        Some('[') => {
            let length = 2 + control_sequence(&after[1..]);
            let whole = &text[..length];
            (if is_color(whole) { whole } else { "" }, length)
        }
        Some(']' | 'P' | 'X' | '^' | '_') => ("", 2 + string(&after[1..])),
        Some(c @ ' '..='/') => (
            "",
            1 + c.len_utf8() + usize::from(after.len() > 1 && after.is_char_boundary(2)),
        ),
        Some(c @ '0'..='~') => ("", 1 + c.len_utf8()),
        _ => ("", 1),
    }
}

/// The length of what follows a control sequence's introducer.
fn control_sequence(text: &str) -> usize {
    let body = text
        .bytes()
        .take_while(|byte| (0x20..=0x3f).contains(byte))
        .count();
    body + usize::from(
        text.as_bytes()
            .get(body)
            .is_some_and(|byte| (0x40..=0x7e).contains(byte)),
    )
}

/// The length of a string up to its terminator; without one, all of the line.
fn string(text: &str) -> usize {
    let ends = ["\u{7}", "\u{1b}\\", "\u{9c}"];
    let end = ends
        .iter()
        .filter_map(|end| Some(text.find(end)? + end.len()))
        .min();
    end.unwrap_or(text.len())
}

/// Whether a sequence only chooses how text looks, and hides none.
fn is_color(sequence: &str) -> bool {
    let Some(body) = sequence
        .strip_prefix("\u{1b}[")
        .and_then(|rest| rest.strip_suffix('m'))
    else {
        return false;
    };
    let mut numbers = body
        .split([';', ':'])
        .map(|number| if number.is_empty() { "0" } else { number });
    while let Some(number) = numbers.next() {
        match number.parse::<u16>() {
            Ok(38 | 48 | 58) => {
                // A colour by its number or its parts.
                let parts = match numbers.next() {
                    Some("5") => 1,
                    Some("2") => 3,
                    _ => return false,
                };
                if (0..parts).any(|_| {
                    numbers
                        .next()
                        .is_none_or(|part| part.parse::<u8>().is_err())
                }) {
                    return false;
                }
            }
            Ok(0..=7 | 9 | 21..=27 | 29..=49 | 90..=107) => {}
            _ => return false,
        }
    }
    true
}

fn without_colors(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// What is not seen by itself and still means something in ordinary text: soft hyphens, what joins or chooses forms of letters and
/// emoji. A comparison of texts by culture passes over them, and GitHub's runner looks for its commands by one.
fn without_invisible(line: &str) -> String {
    let is_invisible = |c: &char| {
        matches!(
            *c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{180b}'..='\u{180f}'
                | '\u{206a}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{fff9}'..='\u{fffb}'
        )
    };
    line.chars().filter(|c| !is_invisible(c)).collect()
}

/// Words that begin a command wherever they stand.
const ANYWHERE: [&str; 6] = [
    "section_start:",
    "section_end:",
    "travis_fold:",
    "travis_time:",
    "ha:////",
    "[Pipeline]",
];

fn broken(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let trimmed = line.trim_start();
    let blanks = &line[..line.len() - trimmed.len()];
    out.push_str(blanks);
    // GitHub: after blanks. Buildkite: headings, at the very beginning.
    let is_heading = ["--- ", "+++ ", "~~~ ", "^^^ "]
        .iter()
        .any(|mark| trimmed.starts_with(mark));
    if trimmed.starts_with("::") || is_heading && blanks.is_empty() && is_bare_heading(trimmed) {
        out.push('\\');
    }
    let mut rest = trimmed;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = bracketed(rest) {
            // ##name[ of GitHub, Azure and TeamCity.
            out.push_str(&rest[..length - 1]);
            out.push_str("\\[");
            rest = &rest[length..];
        } else if let Some(word) = ANYWHERE
            .iter()
            .find(|word| starts_with_any_case(rest, word))
        {
            let (first, others) = rest[..word.len()].split_at(1);
            out.push_str(first);
            out.push('\\');
            out.push_str(others);
            rest = &rest[word.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Buildkite's headings. A unified diff's file names stay as they are.
fn is_bare_heading(line: &str) -> bool {
    let rest = &line[4..];
    !(line.starts_with("--- a/") || line.starts_with("+++ b/") || rest.starts_with("/dev/null"))
}

fn starts_with_any_case(text: &str, word: &str) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// The length of `##`, a name that may be empty, and `[`.
fn bracketed(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("##")?;
    let name = rest
        .bytes()
        .take_while(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'#' | b'.' | b'-' | b'_')
        })
        .count();
    (rest.as_bytes().get(name) == Some(&b'[')).then_some(name + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_output_stays() {
        for text in [
            "hello",
            "  indented\ttext",
            "\u{1b}[32mgreen\u{1b}[0m and \u{1b}[1;38;5;208morange\u{1b}[m",
            "std::vector::push_back",
            "a ## heading",
            "### [link](x)",
            "--- a/file",
            "+++ b/file",
            "ünïcode ✓",
            "\u{26a0}\u{fe0f} a warn\u{ad}ing",
        ] {
            assert_eq!(Neutralizer::text(text), text);
        }
    }

    #[test]
    fn commands_are_broken() {
        for (text, expect) in [
            ("::error::x", "\\::error::x"),
            (" \t::set-output name=a::b", " \t\\::set-output name=a::b"),
            ("\u{1b}[0m::error::x", "\\::error::x"),
            ("\u{a0}::error::x", "\u{a0}\\::error::x"),
            ("\u{200b}::error::x", "\\::error::x"),
            ("\u{ad}::error::x", "\\::error::x"),
            (":\u{fe0f}:error::x", "\\::error::x"),
            ("x ##[error]y", "x ##\\[error]y"),
            (
                "##vso[task.setvariable variable=a]b",
                "##vso\\[task.setvariable variable=a]b",
            ),
            ("#\u{1b}[1m#\u{1b}[0m[group]", "##\\[group]"),
            ("##\u{1b}[Kteamcity[x]", "##teamcity\\[x]"),
            ("section_start:1:a", "s\\ection_start:1:a"),
            ("\u{1b}[8mha:////x\u{1b}[0m", "h\\a:////x"),
            ("[Pipeline] sh", "[\\Pipeline] sh"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{9b}2Jx", "x"),
            ("a\rb", "a\nb"),
            ("--- heading", "\\--- heading"),
        ] {
            assert_eq!(Neutralizer::text(text), expect, "{text:?}");
            assert_eq!(Neutralizer::plain(text), expect, "{text:?}");
        }
        let colored = "\u{1b}[31;1mred\u{1b}[0m \u{26a0}\u{fe0f}\u{1b}[m\n\u{1b}[2Kplain";
        assert_eq!(Neutralizer::plain(colored), "red \u{26a0}\u{fe0f}\nplain");
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = "one\r\n::err\u{1b}[Kor::two\r##[x]\n\n  three";
        let mut whole = Neutralizer::default();
        let mut expect = whole.push(text.as_bytes());
        expect.push_str(&whole.finish());
        let mut pieces = Neutralizer::default();
        let mut found: String = text.bytes().map(|byte| pieces.push(&[byte])).collect();
        found.push_str(&pieces.finish());
        assert_eq!(found, expect);
        assert_eq!(expect, "one\n\\::error::two\n##\\[x]\n\n  three\n");
    }

    #[test]
    fn a_line_without_an_end_is_broken() {
        let mut stream = Neutralizer::default();
        let out = stream.push(&vec![b'x'; 3 * LINE_MAX]);
        assert_eq!(out.lines().count(), 2);
    }
}
