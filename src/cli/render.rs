//! Events to lines on standard error.
//!
//! One line for each step with its time; a RUN also gets a line when it begins, since its output follows. Meaning is
//! never only in a colour. In a CI system a RUN's output is a group that folds, and none of it can be taken for a command. A log that nobody reads any more (a closed pipe) does not stop a build.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::build::{Direction, Event, Events, StepResult, Stream};
use crate::ci::{Annotation, LogStyle, Neutralizer, Severity};
use crate::dockerfile::Span;
use crate::oci::Digest;

use super::diagnostic::SourceText;
use super::flags::{LogFormat, Verbosity};
use super::terminal::Stderr;

/// How the log looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// The form of lines.
    pub(super) format: LogFormat,
    /// Whether colours are used.
    pub(super) has_color: bool,
    /// Whether a line begins with the time.
    pub(super) has_timestamp: bool,
    /// How much is said.
    pub(super) verbosity: Verbosity,
    /// Whether standard error is a terminal.
    pub(super) is_terminal: bool,
}

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

/// A secret shorter than this is not masked: it would tear other words apart.
pub(super) const MASK_MIN: usize = 6;
/// What stands in a secret's place.
const MASK: &str = "***";
/// Annotations of a kind beyond this number are lines only: GitHub shows ten of each kind a step.
const ANNOTATIONS_MAX: usize = 9;

/// Writes the log.
#[derive(Debug)]
pub(super) struct Renderer {
    style: Style,
    log: Log,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    source: Option<SourceText>,
    display: HashMap<String, String>,
    transfers: HashMap<(Direction, Digest), (u64, u64)>,
    pushed_bytes: u64,
    bar: Option<ProgressBar>,
    /// The stream whose last piece of a RUN's output ended in the middle of a line.
    mid_line: Option<Stream>,
    /// A RUN's output that is not a whole line yet (JSON only).
    partial: HashMap<bool, Vec<u8>>,
    /// A RUN's output that is not a whole line yet, made harmless (CI only): standard output, then standard error.
    neutral: [Neutralizer; 2],
    /// Whether the runner reads no commands at the moment.
    is_paused: bool,
    /// The step whose group is open, and how many groups there were.
    group: Option<String>,
    groups: usize,
    annotations: usize,
}

/// How often the bar is drawn: often enough to be seen to move.
const DRAWS_A_SECOND: u8 = 10;

/// The longest part of a line that a JSON log keeps back until the line ends, in bytes.
const PARTIAL_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Renderer {
    pub(super) fn new(style: Style, log: Log) -> Self {
        let renderer = Self {
            style,
            log,
            started: Instant::now(),
            state: Mutex::default(),
        };
        if renderer.log.tells_masks {
            let state = renderer.lock();
            for mask in &renderer.log.masks {
                write_out(&state, renderer.log.style.mask(mask).as_bytes());
            }
        }
        renderer
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

    fn annotate_in(
        &self,
        state: &mut State,
        severity: Severity,
        message: &str,
        span: Option<Span>,
    ) {
        if self.style.format == LogFormat::Json
            || (severity != Severity::Error
                && (state.annotations >= ANNOTATIONS_MAX || !self.shows(Level::Warn)))
        {
            return;
        }
        let source = state.source.as_ref();
        let name = source.map(|source| {
            let path = Path::new(&source.name);
            let checkout = self.log.checkout.as_deref().unwrap_or(Path::new("/"));
            path.strip_prefix(checkout)
                .unwrap_or(path)
                .display()
                .to_string()
        });
        let annotation = Annotation {
            severity,
            file: name.as_deref().filter(|_| span.is_some()),
            line: source.zip(span).map(|(source, span)| source.line(span)),
            message: &self.masked(message),
        };
        if let Some(command) = self.log.style.annotate(&annotation) {
            self.end_partial_line(state);
            write_out(state, command.as_bytes());
            state.annotations += 1;
        }
    }

    /// The text without secrets; in a CI system's log, harmless too.
    fn cleaned<'a>(&self, text: &'a str) -> Cow<'a, str> {
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
    fn cleaned_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.cleaned(&text).into_owned()),
            Value::Array(values) => values
                .into_iter()
                .map(|value| self.cleaned_value(value))
                .collect(),
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| (key, self.cleaned_value(value)))
                .collect(),
            other => other,
        }
    }

    fn open_group(&self, state: &mut State, step: String, title: &str) {
        self.close_group(state);
        self.end_partial_line(state);
        state.groups += 1;
        let text = self
            .log
            .style
            .open_group(&self.masked(title), state.groups, seconds_now());
        write_out(state, text.as_bytes());
        state.group = Some(step);
    }

    fn close_group(&self, state: &mut State) {
        if state.group.is_some() {
            self.end_partial_line(state);
            state.group = None;
            write_out(
                state,
                self.log
                    .style
                    .close_group(state.groups, seconds_now())
                    .as_bytes(),
            );
        }
    }

    /// The Dockerfile's text, if it was read.
    pub(super) fn source(&self) -> Option<SourceText> {
        self.lock().source.clone()
    }

    /// Bytes that went to registries.
    pub(super) fn pushed_bytes(&self) -> u64 {
        self.lock().pushed_bytes
    }

    /// Writes a line that is not an event of the engine.
    pub(super) fn info(&self, message: &str) {
        self.line(&mut self.lock(), Level::Info, message, json!({}));
    }

    /// Writes the final error, already laid out.
    pub(super) fn error(&self, text: &str) {
        let mut state = self.lock();
        if self.style.format == LogFormat::Json {
            self.line(&mut state, Level::Error, text, json!({}));
        } else {
            self.close_group(&mut state);
            self.end_partial_line(&mut state);
            write_out(&state, self.cleaned(text).as_bytes());
            write_out(&state, b"\n");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shows(&self, level: Level) -> bool {
        match level {
            Level::Error => true,
            Level::Warn => self.style.verbosity >= Verbosity::Warn,
            Level::Info => self.style.verbosity >= Verbosity::Info,
            Level::Debug => self.style.verbosity >= Verbosity::Debug,
        }
    }

    fn line(&self, state: &mut State, level: Level, message: &str, fields: Value) {
        if !self.shows(level) {
            return;
        }
        self.end_partial_line(state);
        let message = &*self.cleaned(message);
        let text = match self.style.format {
            LogFormat::Json => json_line(level, message, self.cleaned_value(fields)),
            LogFormat::Text | LogFormat::Color => self.text_line(level, message),
        };
        write_out(state, text.as_bytes());
    }

    fn text_line(&self, level: Level, message: &str) -> String {
        let time = if self.style.has_timestamp {
            format!("{} ", jiff::Timestamp::now())
        } else {
            String::new()
        };
        let (label, color) = match level {
            Level::Error => ("error: ", "\x1b[1;31m"),
            Level::Warn => ("warning: ", "\x1b[1;33m"),
            Level::Info => ("", ""),
            Level::Debug => ("debug: ", "\x1b[2m"),
        };
        if self.style.has_color && !color.is_empty() {
            format!("{time}{color}{label}\x1b[0m{message}\n")
        } else {
            format!("{time}{label}{message}\n")
        }
    }

    fn end_partial_line(&self, state: &mut State) {
        if self.log.style.is_ci() && self.style.format != LogFormat::Json {
            for at in [0, 1] {
                let rest = state.neutral[at].finish();
                self.untrusted(state, &rest);
            }
            if std::mem::take(&mut state.is_paused) {
                write_out(state, self.log.style.resume(&self.log.token).as_bytes());
            }
        }
        if state.mid_line.take().is_some() {
            write_out(state, b"\n");
        }
        if self.style.format == LogFormat::Json {
            for is_error in [false, true] {
                if let Some(rest) = state
                    .partial
                    .remove(&is_error)
                    .filter(|rest| !rest.is_empty())
                {
                    write_out(state, self.output_line(is_error, &rest).as_bytes());
                }
            }
        }
    }

    /// Writes whole lines that somebody else made up.
    fn untrusted(&self, state: &mut State, lines: &str) {
        if lines.is_empty() {
            return;
        }
        if !std::mem::replace(&mut state.is_paused, true) {
            write_out(state, self.log.style.pause(&self.log.token).as_bytes());
        }
        write_out(state, self.masked(lines).as_bytes());
    }

    fn output(&self, state: &mut State, stream: Stream, bytes: &[u8]) {
        if !self.shows(Level::Info) {
            return;
        }
        if self.log.style.is_ci() && self.style.format != LogFormat::Json {
            let lines = state.neutral[usize::from(stream == Stream::Stderr)].push(bytes);
            self.untrusted(state, &lines);
            return;
        }
        if self.style.format != LogFormat::Json {
            // Lines of the two streams do not run into one another.
            if state.mid_line.is_some_and(|other| other != stream) {
                write_out(state, b"\n");
            }
            write_out(state, bytes);
            state.mid_line = (!bytes.ends_with(b"\n")).then_some(stream);
            return;
        }
        let is_error = stream == Stream::Stderr;
        let mut rest = state.partial.remove(&is_error).unwrap_or_default();
        rest.extend_from_slice(bytes);
        while let Some(at) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            write_out(state, self.output_line(is_error, &line[..at]).as_bytes());
        }
        if rest.len() > PARTIAL_MAX {
            write_out(state, self.output_line(is_error, &rest).as_bytes());
            rest.clear();
        }
        state.partial.insert(is_error, rest);
    }

    fn output_line(&self, is_error: bool, bytes: &[u8]) -> String {
        let stream = if is_error { "stderr" } else { "stdout" };
        let text = String::from_utf8_lossy(bytes);
        json_line(
            Level::Info,
            &self.cleaned(&text),
            json!({ "stream": stream }),
        )
    }

    fn transfer(
        &self,
        state: &mut State,
        direction: Direction,
        digest: Digest,
        done: u64,
        total: u64,
    ) {
        if !self.style.is_terminal
            || self.style.format == LogFormat::Json
            || !self.shows(Level::Info)
        {
            return;
        }
        state.transfers.insert((direction, digest), (done, total));
        let (done, total) = state
            .transfers
            .values()
            .fold((0, 0), |(done, total), one| (done + one.0, total + one.1));
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(
                Some(total),
                ProgressDrawTarget::term_like_with_hz(Box::new(Stderr), DRAWS_A_SECOND),
            );
            if let Ok(style) = ProgressStyle::with_template(
                "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
            ) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        bar.set_message(match direction {
            Direction::Pull => "pulling",
            Direction::Push => "pushing",
        });
        bar.set_length(total);
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
            state.bar = None;
            state.transfers.clear();
        }
    }

    fn step_line(
        &self,
        state: &State,
        stage: &str,
        number: usize,
        of: usize,
        display: &str,
        rest: &str,
    ) -> String {
        let _ = state;
        let head = format!("[{stage} {number}/{of}]");
        if self.style.has_color {
            format!("\x1b[1m{head}\x1b[0m {display}{rest}")
        } else {
            format!("{head} {display}{rest}")
        }
    }
}

impl Events for Renderer {
    fn send(&self, event: Event) {
        let mut state = self.lock();
        let state = &mut *state;
        match event {
            Event::Isolation(text) => {
                self.line(state, Level::Info, &format!("isolation: {text}"), json!({"isolation": text}));
            }
            Event::ContextReady { source } => {
                self.line(state, Level::Info, &format!("context: {source}"), json!({"context": source}));
            }
            Event::DockerfileRead { name, text } => state.source = Some(SourceText { name, text }),
            Event::ImageResolved { reference, digest, platform, layers } => self.line(
                state,
                Level::Info,
                &format!("image {reference} is {digest} ({platform}, {layers} layers)"),
                json!({"image": reference.to_string(), "digest": digest.as_str(), "platform": platform.to_string()}),
            ),
            Event::StageStarted { name, number, of, span } => {
                let line = state.source.as_ref().map_or(0, |source| source.line(span));
                self.line(
                    state,
                    Level::Debug,
                    &format!("stage {name} ({number} of {of}), line {line}"),
                    json!({"stage": name, "number": number, "of": of, "line": line}),
                );
            }
            Event::LayerUnpacked { digest, is_reused, took } => {
                let how = if is_reused { "reused".to_owned() } else { format!("unpacked in {}", seconds(took)) };
                self.line(
                    state,
                    Level::Info,
                    &format!("layer {} {how}", digest.short()),
                    json!({"layer": digest.as_str(), "reused": is_reused, "seconds": took.as_secs_f64()}),
                );
            }
            Event::StepStarted { stage, number, of, display } => {
                if display.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("RUN ")) {
                    let text = self.step_line(state, &stage, number, of, &display, "");
                    if self.log.style.is_ci() && self.style.format != LogFormat::Json && self.shows(Level::Info) {
                        self.open_group(state, format!("{stage}/{number}"), &text);
                    } else {
                        self.line(state, Level::Info, &text, json!({"stage": stage, "step": number, "of": of}));
                    }
                }
                state.display.insert(format!("{stage}/{number}"), display);
            }
            Event::StepOutput { stream, bytes } => self.output(state, stream, &bytes),
            Event::StepFinished { stage, number, of, result, took } => {
                let step = format!("{stage}/{number}");
                let display = state.display.remove(&step).unwrap_or_default();
                if state.group.as_ref() == Some(&step) {
                    self.close_group(state);
                }
                let (made, fields) = match &result {
                    StepResult::Metadata => (String::new(), json!({})),
                    StepResult::Deferred => (", in the stage's one layer".to_owned(), json!({})),
                    StepResult::Layer { digest, size, entries } => (
                        format!(", layer {} of {}", digest.short(), bytes_text(*size)),
                        json!({"layer": digest.as_str(), "size": size, "entries": entries}),
                    ),
                };
                let mut fields = fields;
                for (key, value) in
                    [("stage", json!(stage)), ("step", json!(number)), ("of", json!(of)), ("seconds", json!(took.as_secs_f64()))]
                {
                    fields[key] = value;
                }
                let rest = format!(" ({}{made})", seconds(took));
                let text = self.step_line(state, &stage, number, of, &display, &rest);
                self.line(state, Level::Info, &text, fields);
            }
            Event::Transfer { direction, digest, done, total } => {
                self.transfer(state, direction, digest, done, total);
            }
            Event::BlobPushed { repository, digest, bytes } => {
                state.pushed_bytes += bytes;
                let how = if bytes == 0 { "was there".to_owned() } else { format!("{} pushed", bytes_text(bytes)) };
                self.line(
                    state,
                    Level::Debug,
                    &format!("blob {} of {repository}: {how}", digest.short()),
                    json!({"blob": digest.as_str(), "repository": repository, "bytes": bytes}),
                );
            }
            Event::Pushed { reference, digest } => self.line(
                state,
                Level::Info,
                &format!("Pushed {reference}@{digest}"),
                json!({"pushed": reference.to_string(), "digest": digest.as_str()}),
            ),
            Event::Written { what, path } => self.line(
                state,
                Level::Info,
                &format!("wrote {what} {}", path.display()),
                json!({"wrote": what, "path": path.display().to_string()}),
            ),
            Event::Warning { message, span } => {
                let place = place(state, span);
                self.line(state, Level::Warn, &format!("{message}{place}"), json!({}));
                self.annotate_in(state, Severity::Warning, &message, span);
            }
        }
    }
}

fn place(state: &State, span: Option<Span>) -> String {
    match (span, &state.source) {
        (Some(span), Some(source)) => format!(" ({}:{})", source.name, source.line(span)),
        _ => String::new(),
    }
}

fn write_out(state: &State, bytes: &[u8]) {
    let write = || {
        // A reader that went away is no reason to fail a build.
        let _ = std::io::stderr().lock().write_all(bytes);
    };
    match &state.bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn json_line(level: Level, message: &str, fields: Value) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let mut line =
        json!({"level": level, "msg": message, "time": jiff::Timestamp::now().to_string()});
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend(fields);
    }
    format!("{line}\n")
}

/// Seconds since 1970, for sections.
fn seconds_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A duration for people: `0.3s`, `75.0s`.
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.1}s", took.as_secs_f64())
}

/// A size for people, in powers of 1000.
pub(super) fn bytes_text(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (value, unit) = match bytes {
        0..=999 => return format!("{bytes} B"),
        1_000..=999_999 => (bytes as f64 / 1e3, "kB"),
        1_000_000..=999_999_999 => (bytes as f64 / 1e6, "MB"),
        _ => (bytes as f64 / 1e9, "GB"),
    };
    format!("{value:.1} {unit}")
}

impl Renderer {
    /// How long the program runs already.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
