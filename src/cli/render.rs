//! Events to lines on standard error.
//!
//! One line for each step with its time; a RUN also gets a line when it begins, since its output follows. Meaning is
//! never only in a colour. A log that nobody reads any more (a closed pipe) does not stop a build.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::build::{Direction, Event, Events, MountChange, StepResult, Stream};
use crate::ci::Severity;
use crate::dockerfile::Span;
use crate::oci::Digest;

use super::diagnostic::SourceText;
use super::explain;
use super::fetching::Fetching;
use super::flags::{LogFormat, Verbosity};
use super::last_output::LastOutput;
use super::runner_log::{Log, PlatformState};
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

/// Writes the log.
#[derive(Debug)]
pub(super) struct Renderer {
    pub(super) style: Style,
    pub(super) log: Log,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) source: Option<SourceText>,
    display: HashMap<String, String>,
    transfers: HashMap<(Direction, Digest), (u64, u64)>,
    pushed_bytes: u64,
    pub(super) bar: Option<ProgressBar>,
    /// The context that is being downloaded.
    pub(super) fetching: Option<Fetching>,
    /// The stream whose last piece of a RUN's output ended in the middle of a line.
    mid_line: Option<Stream>,
    /// Output of RUNs that is not a whole line yet, by stage and stream, where lines are written as a whole: in JSON, and
    /// while several stages are built at once.
    partial: BTreeMap<(String, bool), Vec<u8>>,
    /// The stage whose command wrote what stands last in the log; none if several were running, or if it was somebody else.
    pub(super) above: Option<String>,
    /// The stages that are being built.
    pub(super) running: BTreeSet<String>,
    /// What only a CI system's log needs.
    pub(super) platform: PlatformState,
}

/// How often the bar is drawn: often enough to be seen to move.
pub(super) const DRAWS_A_SECOND: u8 = 10;

/// The longest part of a line that a JSON log keeps back until the line ends, in bytes.
const PARTIAL_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
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
        renderer.tell_masks();
        renderer
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
        self.error_of_command(text, &LastOutput::default());
    }

    /// The same, with what a failed command wrote last.
    pub(super) fn error_of_command(&self, text: &str, output: &LastOutput) {
        let mut state = self.lock();
        if self.style.format == LogFormat::Json {
            self.line(&mut state, Level::Error, text, output.fields());
        } else {
            self.close_group(&mut state);
            self.end_partial_line(&mut state);
            let text = if self.ends_with(&state, output) {
                text.to_owned()
            } else {
                output.below(text)
            };
            write_out(&state, self.cleaned(&text).as_bytes());
            write_out(&state, b"\n");
        }
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shows(&self, level: Level) -> bool {
        match level {
            Level::Error => true,
            Level::Warn => self.style.verbosity >= Verbosity::Warn,
            Level::Info => self.style.verbosity >= Verbosity::Info,
            Level::Debug => self.style.verbosity >= Verbosity::Debug,
        }
    }

    pub(super) fn line(&self, state: &mut State, level: Level, message: &str, fields: Value) {
        if !self.shows(level) {
            return;
        }
        self.end_partial_line(state);
        state.above = None;
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

    pub(super) fn end_partial_line(&self, state: &mut State) {
        self.end_untrusted(state);
        if state.mid_line.take().is_some() {
            write_out(state, b"\n");
        }
        // Of several stages, each ends its own lines.
        if state.running.len() <= 1 {
            for ((stage, is_error), rest) in std::mem::take(&mut state.partial) {
                self.output_line(state, &stage, is_error, &rest);
            }
        }
    }

    fn output(&self, state: &mut State, stage: &str, stream: Stream, bytes: &[u8]) {
        if !self.shows(Level::Info) {
            return;
        }
        if state.running.len() > 1 {
            state.above = None;
        } else if state.above.as_deref() != Some(stage) {
            state.above = Some(stage.to_owned());
        }
        if self.is_for_runner() {
            self.output_for_runner(state, stage, stream, bytes);
            return;
        }
        let is_alone = state.running.len() <= 1 && state.partial.is_empty();
        if self.style.format != LogFormat::Json && is_alone {
            // Lines of the two streams do not run into one another.
            if state.mid_line.is_some_and(|other| other != stream) {
                write_out(state, b"\n");
            }
            write_out(state, bytes);
            state.mid_line = (!bytes.ends_with(b"\n")).then_some(stream);
            return;
        }
        if state.mid_line.take().is_some() {
            write_out(state, b"\n");
        }
        let place = (stage.to_owned(), stream == Stream::Stderr);
        let mut rest = state.partial.remove(&place).unwrap_or_default();
        rest.extend_from_slice(bytes);
        while let Some(at) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            self.output_line(state, stage, place.1, &line[..at]);
        }
        if rest.len() > PARTIAL_MAX {
            self.output_line(state, stage, place.1, &rest);
            rest.clear();
        }
        if !rest.is_empty() {
            state.partial.insert(place, rest);
        }
    }

    /// Writes a line of a RUN's output, with the stage that it belongs to.
    fn output_line(&self, state: &State, stage: &str, is_error: bool, bytes: &[u8]) {
        if self.style.format == LogFormat::Json {
            let text = String::from_utf8_lossy(bytes);
            let line = output_line(stage, is_error, &self.cleaned(&text));
            write_out(state, line.as_bytes());
            return;
        }
        let mut line = format!("[{stage}] ").into_bytes();
        line.extend_from_slice(bytes);
        line.push(b'\n');
        write_out(state, &line);
    }

    /// A stage is over: what it left of a line is written.
    fn end_stage(&self, state: &mut State, stage: &str) {
        for is_error in [false, true] {
            if let Some(rest) = state.partial.remove(&(stage.to_owned(), is_error)) {
                self.output_line(state, stage, is_error, &rest);
            }
        }
        self.end_stage_for_runner(state, stage);
        state.running.remove(stage);
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
            Event::ContextFetching { source, done, total } => self.fetching(state, &source, done, total),
            Event::ContextFetched => Self::end_fetching(state),
            Event::ContextReady { source, commit: None } => {
                self.line(state, Level::Info, &format!("context: {source}"), json!({"context": source}));
            }
            Event::ContextReady { source, commit: Some(commit) } => self.line(
                state,
                Level::Info,
                &format!("context: {source}, commit {commit}"),
                json!({"context": source, "commit": commit}),
            ),
            Event::DockerfileRead { name, text } => state.source = Some(SourceText { name, text }),
            Event::Credentials { registry, source } => {
                let shown = source.as_deref().unwrap_or("none, anonymous");
                let text = format!("credentials for {registry}: {shown}");
                let fields = json!({"registry": registry, "credentials": source});
                self.line(state, Level::Info, &text, fields);
            }
            Event::ImageResolved { reference, mirror, digest, platform, layers } => self.line(
                state,
                Level::Info,
                &match mirror {
                    Some(mirror) => format!("image {reference} is {digest} ({platform}, {layers} layers), from {}", mirror.name()),
                    None => format!("image {reference} is {digest} ({platform}, {layers} layers)"),
                },
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
                if !state.running.is_empty() {
                    // Groups are for what happens one after another.
                    self.close_group(state);
                }
                state.running.insert(name);
            }
            Event::StageFinished { name } => self.end_stage(state, &name),
            Event::StepCached { stage, number, of, display, digest, size } => {
                let rest = format!(" (cached, layer {} of {})", digest.short(), bytes_text(size));
                let text = self.step_line(state, &stage, number, of, &display, &rest);
                self.line(
                    state,
                    Level::Info,
                    &text,
                    json!({"stage": stage, "step": number, "of": of, "cached": true, "layer": digest.as_str(), "size": size}),
                );
            }
            Event::CacheExplained { stage, number, of, display, miss } => {
                let why = miss.as_ref().map(explain::miss);
                let rest = match &why {
                    None => ": in the cache".to_owned(),
                    Some(lines) => format!(": not in the cache: {}", lines.join("; ")),
                };
                let text = self.step_line(state, &stage, number, of, &display, &rest);
                let fields = json!({"stage": stage, "step": number, "of": of, "hit": miss.is_none(), "why": why});
                self.line(state, Level::Info, &text, fields);
            }
            Event::CacheMount { id, change } => {
                let id = id.escape_debug();
                let (level, text) = match change {
                    MountChange::Restored { bytes } => (Level::Info, format!("restored, {}", bytes_text(bytes))),
                    MountChange::Saved { bytes } => (Level::Info, format!("saved, {}", bytes_text(bytes))),
                    MountChange::Unchanged => (Level::Info, "unchanged".to_owned()),
                    MountChange::TooLarge { bytes, limit } => {
                        let (bytes, limit) = (bytes_text(bytes), bytes_text(limit));
                        (Level::Warn, format!("not saved: it has {bytes}, and --cache-mounts-max-size is {limit}"))
                    }
                };
                self.line(state, level, &format!("cache mount {id}: {text}"), json!({"cacheMount": id.to_string(), "change": text}));
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
                    if self.is_for_runner() && self.shows(Level::Info) && state.running.len() <= 1 {
                        self.open_group(state, format!("{stage}/{number}"), &text);
                    } else {
                        self.line(state, Level::Info, &text, json!({"stage": stage, "step": number, "of": of}));
                    }
                }
                state.display.insert(format!("{stage}/{number}"), display);
            }
            Event::StepOutput { stage, stream, bytes } => self.output(state, &stage, stream, &bytes),
            Event::StepFinished { stage, number, of, result, took } => {
                let step = format!("{stage}/{number}");
                let display = state.display.remove(&step).unwrap_or_default();
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
                self.end_step(state, &step, text, fields);
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
            Event::Written { what, place } => self.line(
                state,
                Level::Info,
                &format!("wrote {what} {place}"),
                json!({"wrote": what, "path": place}),
            ),
            Event::Finding(finding) => {
                let place = place(state, Some(finding.span));
                let line = state.source.as_ref().map(|source| source.line(finding.span));
                let text = format!("{}: {}{place}; {}", finding.rule.name, finding.message, finding.hint);
                let fields = json!({"check": finding.rule.name, "line": line, "hint": finding.hint});
                self.line(state, Level::Warn, &text, fields);
                let (name, message, hint) = (finding.rule.name, &finding.message, &finding.hint);
                let text = format!("{name}: {message}; {hint}");
                self.annotate_in(state, Severity::Warning, &text, Some(finding.span));
            }
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

pub(super) fn write_out(state: &State, bytes: &[u8]) {
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

fn output_line(stage: &str, is_error: bool, text: &str) -> String {
    let stream = if is_error { "stderr" } else { "stdout" };
    json_line(
        Level::Info,
        text,
        json!({ "stream": stream, "stage": stage }),
    )
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
