//! The log as a CI system's runner reads it: groups, annotations, masks, and output that cannot be taken for commands.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::build::Stream;
use crate::ci::{Annotation, LogStyle, Neutralizer, Severity};
use crate::dockerfile::Span;

use super::flags::LogFormat;
use super::render::{Level, Renderer, State, write_out};

/// What the CI system wants of the log.
#[derive(Clone, Default)]
pub(super) struct Log {
    /// Groups and annotations.
    pub(super) style: LogStyle,
    /// What nobody can foresee, to bracket a RUN's output with.
    pub(super) token: String,
    /// What never stands in the log.
    pub(super) masks: Vec<String>,
    /// Whether the runner is told the masks. It reads them out of the log, so only where the log is certainly the runner's.
    pub(super) tells_masks: bool,
    /// Annotations name files relative to it.
    pub(super) checkout: Option<PathBuf>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

/// What only a CI system's log needs to remember.
#[derive(Debug, Default)]
pub(super) struct PlatformState {
    /// Output of RUNs that is not a whole line yet, by stage and whether it is standard error.
    neutral: BTreeMap<(String, bool), Neutralizer>,
    /// Whether the runner reads no commands at the moment.
    is_paused: bool,
    /// The step whose group is open, and how many groups there were.
    group: Option<String>,
    groups: usize,
    /// Lines about other steps that came while it was open: they are written behind it.
    late: Vec<String>,
    annotations: usize,
}

/// A secret shorter than this is not masked: it would tear other words apart.
pub(super) const MASK_MIN: usize = 6;
/// What stands in a secret's place.
const MASK: &str = "***";
/// Annotations of a kind beyond this number are lines only: GitHub shows ten of each kind a step.
const ANNOTATIONS_MAX: usize = 9;

impl Renderer {
    /// Whether lines are written for a runner.
    pub(super) fn is_for_runner(&self) -> bool {
        self.log.style.is_ci() && self.style.format != LogFormat::Json
    }

    /// Tells the runner what to hide, where that is safe.
    pub(super) fn tell_masks(&self) {
        if self.log.tells_masks {
            let state = self.lock();
            for mask in &self.log.masks {
                write_out(&state, self.log.style.mask(mask).as_bytes());
            }
        }
    }

    /// Writes what the user should know, as an annotation where there are such.
    pub(super) fn notice(&self, message: &str) {
        self.line(&mut self.lock(), Level::Warn, message, json!({}));
        self.annotate(Severity::Notice, message, None);
    }

    /// Tells the CI system of something at a place in the Dockerfile, besides the line that people read.
    pub(super) fn annotate(&self, severity: Severity, message: &str, span: Option<Span>) {
        let mut state = self.lock();
        self.annotate_in(&mut state, severity, message, span);
    }

    /// The same within an event.
    pub(super) fn annotate_in(
        &self,
        state: &mut State,
        severity: Severity,
        message: &str,
        span: Option<Span>,
    ) {
        let is_too_much = state.platform.annotations >= ANNOTATIONS_MAX || !self.shows(Level::Warn);
        if !self.is_for_runner() || (severity != Severity::Error && is_too_much) {
            return;
        }
        let source = state.source.as_ref();
        let name = source.map(|source| {
            let path = Path::new(&source.name);
            let checkout = self.log.checkout.as_deref().unwrap_or(Path::new("/"));
            let relative = path.strip_prefix(checkout).unwrap_or(path);
            relative.display().to_string()
        });
        let annotation = Annotation {
            severity,
            file: name.as_deref().filter(|_| span.is_some()),
            line: source.zip(span).map(|(source, span)| source.line(span)),
            message: &self.cleaned(message),
        };
        if let Some(command) = self.log.style.annotate(&annotation) {
            self.end_partial_line(state);
            write_out(state, command.as_bytes());
            state.platform.annotations += 1;
        }
    }

    /// The text without secrets; in a CI system's log, harmless too.
    pub(super) fn cleaned<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.log.style.is_ci() {
            Cow::Owned(self.masked(&Neutralizer::text(text)))
        } else {
            Cow::Borrowed(text)
        }
    }

    fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for mask in &self.log.masks {
            if text.contains(mask) {
                text = text.replace(mask, MASK);
            }
        }
        text
    }

    /// A JSON value whose texts are harmless.
    pub(super) fn cleaned_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.cleaned(&text).into_owned()),
            Value::Array(values) => {
                let values = values.into_iter().map(|value| self.cleaned_value(value));
                values.collect()
            }
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key, self.cleaned_value(value)))
                .collect(),
            other => other,
        }
    }

    /// Opens the group of a step.
    pub(super) fn open_group(&self, state: &mut State, step: String, title: &str) {
        self.close_group(state);
        self.end_partial_line(state);
        state.platform.groups += 1;
        let title = self.masked(title);
        let number = state.platform.groups;
        let text = self.log.style.open_group(&title, number, seconds_now());
        write_out(state, text.as_bytes());
        state.platform.group = Some(step);
    }

    /// Closes the group that is open, if one is, and writes what was kept back until then.
    pub(super) fn close_group(&self, state: &mut State) {
        if state.platform.group.is_some() {
            self.end_partial_line(state);
            state.platform.group = None;
            let number = state.platform.groups;
            let text = self.log.style.close_group(number, seconds_now());
            write_out(state, text.as_bytes());
        }
        for line in std::mem::take(&mut state.platform.late) {
            self.line(state, Level::Info, &line, json!({}));
        }
    }

    /// A step is over, and so is its group. Its line does not stand in that of another: a layer that is packed while the next command
    /// runs is ready in the middle of that command's output, where nobody would see the line.
    pub(super) fn end_step(&self, state: &mut State, step: &str, line: String, fields: Value) {
        if state.platform.group.as_deref() == Some(step) {
            self.close_group(state);
        }
        if state.platform.group.is_some() && self.log.style.folds() {
            state.platform.late.push(line);
        } else {
            self.line(state, Level::Info, &line, fields);
        }
    }

    /// Writes a RUN's output, as far as its lines are complete.
    pub(super) fn output_for_runner(
        &self,
        state: &mut State,
        stage: &str,
        stream: Stream,
        bytes: &[u8],
    ) {
        let place = (stage.to_owned(), stream == Stream::Stderr);
        let lines = state.platform.neutral.entry(place).or_default().push(bytes);
        self.untrusted(state, stage, &lines);
    }

    /// Writes what was left of lines, and lets the runner read commands again. Of several stages, each ends its own lines.
    pub(super) fn end_untrusted(&self, state: &mut State) {
        if !self.is_for_runner() {
            return;
        }
        if state.running.len() <= 1 {
            for ((stage, _), mut rest) in std::mem::take(&mut state.platform.neutral) {
                self.untrusted(state, &stage, &rest.finish());
            }
        }
        if std::mem::take(&mut state.platform.is_paused) {
            write_out(state, self.log.style.resume(&self.log.token).as_bytes());
        }
    }

    /// A stage is over: what it left of a line is written.
    pub(super) fn end_stage_for_runner(&self, state: &mut State, stage: &str) {
        for is_error in [false, true] {
            let rest = state.platform.neutral.remove(&(stage.to_owned(), is_error));
            if let Some(mut rest) = rest {
                self.untrusted(state, stage, &rest.finish());
            }
        }
    }

    /// Writes whole lines that somebody else made up, with their stage where there are several.
    fn untrusted(&self, state: &mut State, stage: &str, lines: &str) {
        if lines.is_empty() {
            return;
        }
        if !std::mem::replace(&mut state.platform.is_paused, true) {
            write_out(state, self.log.style.pause(&self.log.token).as_bytes());
        }
        let lines = self.masked(lines);
        if state.running.len() <= 1 {
            write_out(state, lines.as_bytes());
            return;
        }
        let stage = Neutralizer::text(stage);
        for line in lines.lines() {
            write_out(state, format!("[{stage}] {line}\n").as_bytes());
        }
    }
}

/// Seconds since 1970, for sections.
fn seconds_now() -> i64 {
    jiff::Timestamp::now().as_second()
}
