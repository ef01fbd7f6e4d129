//! What happened in a build, kept for the summary.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::build::{Event, Events, StepResult};

/// Warnings beyond this number are only counted: a summary is read by people.
const WARNINGS_MAX: usize = 50;

/// Takes events in and remembers what a summary needs.
#[derive(Debug, Default)]
pub struct Journal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    recorded: Recorded,
    display: HashMap<(String, usize), String>,
}

/// How long a step took and what it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The stage's name.
    pub stage: String,
    /// The instruction, on one line.
    pub display: String,
    /// How long it took.
    pub took: Duration,
    /// The size of the layer that it made, in bytes.
    pub size: Option<u64>,
}

/// What was remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The isolation, in words.
    pub isolation: String,
    /// The commit that was fetched as the context.
    pub commit: Option<String>,
    /// Base images: name and digest.
    pub bases: Vec<(String, String)>,
    /// Steps that took time or made a layer, in the order in which they ended.
    pub steps: Vec<StepTime>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Bytes that went over the wire to registries.
    pub pushed_bytes: u64,
}

impl Journal {
    /// What was remembered so far.
    pub fn recorded(&self) -> Recorded {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recorded
            .clone()
    }

    /// Takes an event in; leaves it to others.
    pub fn note(&self, event: &Event) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { recorded, display } = &mut *state;
        match event {
            Event::Isolation(text) => recorded.isolation.clone_from(text),
            Event::ContextReady { commit, .. } => recorded.commit.clone_from(commit),
            Event::ImageResolved {
                reference, digest, ..
            } => {
                recorded
                    .bases
                    .push((reference.to_string(), digest.as_str().to_owned()));
            }
            Event::StepStarted {
                stage,
                number,
                display: text,
                ..
            } => {
                display.insert((stage.clone(), *number), text.clone());
            }
            Event::StepFinished {
                stage,
                number,
                result,
                took,
                ..
            } => {
                let display = display
                    .remove(&(stage.clone(), *number))
                    .unwrap_or_default();
                let size = match result {
                    StepResult::Layer { size, .. } => Some(*size),
                    _ => None,
                };
                if size.is_some() || *took >= Duration::from_millis(50) {
                    recorded.steps.push(StepTime {
                        stage: stage.clone(),
                        display,
                        took: *took,
                        size,
                    });
                }
            }
            Event::Finding(finding) if recorded.warnings.len() < WARNINGS_MAX => {
                let (name, message, hint) = (finding.rule.name, &finding.message, &finding.hint);
                recorded.warnings.push(format!("{name}: {message}; {hint}"));
            }
            Event::BlobPushed { bytes, .. } => recorded.pushed_bytes += bytes,
            Event::Warning { message, .. } if recorded.warnings.len() < WARNINGS_MAX => {
                recorded.warnings.push(message.clone());
            }
            _ => {}
        }
    }
}

impl Events for Journal {
    fn send(&self, event: Event) {
        self.note(&event);
    }
}
