//! How far the download of a context has come: a bar on a terminal, now and then a line in a log, nothing if it is quick.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::flags::LogFormat;
use super::render::{DRAWS_A_SECOND, Level, Renderer, State, bytes_text};
use super::terminal::Stderr;

/// On a terminal the bar is there after so long.
const UNTIL_BAR: Duration = Duration::from_secs(1);
/// The first line comes after so long, and the next after twice the time.
const FIRST_LINE: Duration = Duration::from_secs(5);
/// There is a line at least that often: a log that says nothing for minutes looks dead.
const LONGEST: Duration = Duration::from_secs(40);

/// A download that is going on.
#[derive(Debug)]
pub(super) struct Fetching {
    /// When it began.
    began: Instant,
    /// When the next line is due, counted from the beginning.
    due: Duration,
}

impl Fetching {
    fn begin(began: Instant) -> Self {
        Self {
            began,
            due: FIRST_LINE,
        }
    }

    /// Whether a line is due; the next one is later.
    fn is_due(&mut self, passed: Duration) -> bool {
        let is_due = passed >= self.due;
        if is_due {
            self.due = passed + self.due.min(LONGEST);
        }
        is_due
    }
}

impl Renderer {
    /// So much of a context has arrived.
    pub(super) fn fetching(&self, state: &mut State, source: &str, done: u64, total: Option<u64>) {
        let now = Instant::now();
        let fetching = state.fetching.get_or_insert_with(|| Fetching::begin(now));
        let passed = now.duration_since(fetching.began);
        if self.style.is_terminal && self.style.format != LogFormat::Json {
            if passed >= UNTIL_BAR && self.shows(Level::Info) {
                let bar = state.bar.get_or_insert_with(|| bar(total));
                bar.set_position(done);
            }
        } else if fetching.is_due(passed) {
            let text = format!("context: {source}, {}", so_far(done, total));
            let fields = json!({"context": source, "bytes": done, "total": total});
            self.line(state, Level::Info, &text, fields);
        }
    }

    /// Nothing arrives any more.
    pub(super) fn end_fetching(state: &mut State) {
        let was_fetching = state.fetching.take().is_some();
        if let Some(bar) = state.bar.take_if(|_| was_fetching) {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(Stderr), DRAWS_A_SECOND);
    let bar = ProgressBar::with_draw_target(total, target);
    let template = match total {
        Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
        None => "{msg} {bytes} {bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message("fetching the context");
    bar
}

/// `100.0 MB of 500.0 MB`.
fn so_far(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {}", bytes_text(done), bytes_text(total)),
        None => format!("{} so far", bytes_text(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few() {
        let mut fetching = Fetching::begin(Instant::now());
        let tenths = (0..6000).map(|tenths| Duration::from_millis(tenths * 100));
        let told: Vec<u64> = tenths
            .filter(|passed| fetching.is_due(*passed))
            .map(|passed| passed.as_secs())
            .collect();
        assert_eq!(told[..6], [5, 10, 20, 40, 80, 120]);
        assert_eq!(told.len(), 17, "of ten minutes: {told:?}");
    }

    #[test]
    fn what_has_come_is_said() {
        assert_eq!(so_far(1_500_000, Some(3_000_000)), "1.5 MB of 3.0 MB");
        assert_eq!(so_far(1_500_000, None), "1.5 MB so far");
    }
}
