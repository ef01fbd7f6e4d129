//! What users should know beside the results: what registries warn of, and whose credentials they were shown.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::client::Client;
use crate::http::{Response, header, printable};

/// The most characters of a warning that are shown.
const TEXT_LIMIT: usize = 512;

/// The most notes that are kept: a registry is not to fill a log.
const NOTES_MAX: usize = 50;

/// Something that users should know, once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// A registry warns of something (distribution-spec "Warnings"). The text is escaped and cut.
    Warning {
        /// The registry.
        registry: String,
        /// What it says.
        text: String,
    },
    /// A registry asks who we are.
    Credential {
        /// The registry.
        registry: String,
        /// The name of the source that knows; without one we are nobody.
        source: Option<String>,
    },
}

/// The notes of a client.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: BTreeSet<Note>,
    /// Those that nobody has taken yet.
    fresh: Vec<Note>,
}

impl Notes {
    pub(super) fn add(&self, note: Note) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.known.len() < NOTES_MAX && kept.known.insert(note.clone()) {
            kept.fresh.push(note);
        }
    }

    /// Notes the warnings of an answer.
    pub(super) fn add_warnings(&self, registry: &str, response: &Response) {
        for value in response.headers().get_all(header::WARNING) {
            if let Some(text) = warning(value.as_bytes()) {
                self.add(Note::Warning {
                    registry: registry.to_owned(),
                    text,
                });
            }
        }
    }
}

impl Client {
    /// Gives what there is to know that was not given before.
    pub fn take_notes(&self) -> Vec<Note> {
        let notes = &self.shared.notes.0;
        let mut kept = notes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut kept.fresh)
    }
}

/// Reads `299 - "text"`, the only form that registries may use.
fn warning(value: &[u8]) -> Option<String> {
    let value = String::from_utf8_lossy(value);
    let quoted = value.trim().strip_prefix("299 - \"")?.strip_suffix('"')?;
    let text = quoted.replace("\\\"", "\"").replace("\\\\", "\\");
    let text = printable(&text, TEXT_LIMIT);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read_escaped_and_cut() {
        let check = |value: &str, expect: Option<&str>| {
            assert_eq!(warning(value.as_bytes()).as_deref(), expect, "{value}");
        };
        check("299 - \"old\"", Some("old"));
        check(r#" 299 - "say \"why\"" "#, Some("say \"why\""));
        check("299 - \"\u{1b}[31mred\"", Some(r"\u{1b}[31mred"));
        check("299 - \"\"", None);
        check("299 registry \"old\"", None);
        check("199 - \"old\"", None);
        check("299 - old", None);
        let long = warning(format!("299 - \"{}\"", "x".repeat(5000)).as_bytes());
        assert_eq!(long.map(|text| text.len()), Some(TEXT_LIMIT + 3));
    }
}
