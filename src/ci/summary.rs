//! The summary of a step, in GitHub's Markdown: what was made, and where the time went.

use std::fmt::Write as _;

use super::Report;

/// Steps beyond this number are left out, the quickest first.
const STEPS_MAX: usize = 40;
/// The length of the longest bar, in blocks.
const BAR: f64 = 20.0;
/// The longest instruction that is shown, in characters.
const DISPLAY_MAX: usize = 100;

/// Lays the summary out.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    if let Some(failure) = &report.failure {
        let _ = write!(
            text,
            "### ❌ The image was not built\n\n```text\n{}\n```\n\n",
            fenced(failure)
        );
    } else {
        let title = match (report.names.first(), report.is_pushed) {
            (Some(name), true) => format!("📦 Pushed {}", code(name)),
            (Some(name), false) => format!("📦 Built {} (not pushed)", code(name)),
            (None, _) => "📦 Built an image".to_owned(),
        };
        let _ = writeln!(text, "### {title}\n\n| | |\n|---|---|");
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "| {name} | {value} |");
        };
        row("Digest", &code(&report.digest));
        if report.names.len() > 1 {
            let names: Vec<String> = report.names.iter().map(|name| code(name)).collect();
            row("Tags", &names.join("<br>"));
        }
        row("Platform", &code(&report.platform));
        row(
            "Size",
            &format!("{} in {} layers", bytes(report.size), report.layers),
        );
        let pushed = if report.is_pushed {
            format!(", {} sent", bytes(report.recorded.pushed_bytes))
        } else {
            String::new()
        };
        row(
            "Time",
            &format!("{:.1} s{pushed}", report.took.as_secs_f64()),
        );
        for (name, digest) in &report.recorded.bases {
            row("Base", &format!("{} {}", code(name), code(digest)));
        }
        text.push('\n');
    }
    steps(report, &mut text);
    if !report.recorded.warnings.is_empty() {
        let _ = writeln!(text, "#### ⚠️ Warnings\n");
        for warning in &report.recorded.warnings {
            let _ = writeln!(text, "- {}", plain(warning));
        }
        text.push('\n');
    }
    text
}

fn steps(report: &Report, text: &mut String) {
    let mut steps: Vec<_> = report.recorded.steps.iter().enumerate().collect();
    if steps.is_empty() {
        return;
    }
    let left_out = steps.len().saturating_sub(STEPS_MAX);
    if left_out > 0 {
        steps.sort_by_key(|(_, step)| std::cmp::Reverse(step.took));
        steps.truncate(STEPS_MAX);
        steps.sort_by_key(|(at, _)| *at);
    }
    let longest = steps
        .iter()
        .map(|(_, step)| step.took.as_secs_f64())
        .fold(f64::EPSILON, f64::max);
    let _ = writeln!(
        text,
        "<details open><summary>Steps</summary>\n\n| Step | Layer | Time | |\n|---|--:|--:|---|"
    );
    for (_, step) in steps {
        let seconds = step.took.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the bar's length"
        )]
        let blocks = (seconds / longest * BAR).round() as usize;
        let display: String = step.display.chars().take(DISPLAY_MAX).collect();
        let size = step.size.map(bytes).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} {} | {size} | {seconds:.1} s | {} |",
            plain(&step.stage),
            code(&display),
            "█".repeat(blocks.max(1))
        );
    }
    if left_out > 0 {
        let _ = writeln!(text, "\n{left_out} quicker steps are not shown.");
    }
    text.push_str("\n</details>\n\n");
}

/// Text that is shown as it is, in a table's cell too.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' | '@' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", plain(text))
}

/// Text inside a fence, which it must not end, without the log's colours (`ESC [`, numbers, a letter).
fn fenced(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                characters.next();
                characters.by_ref().find(|c| ('@'..='~').contains(c));
            }
            '\r' => {}
            _ => plain.push(character),
        }
    }
    plain.replace("```", "'''")
}

fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let value = bytes as f64;
    match bytes {
        0..=999 => format!("{bytes} B"),
        1_000..=999_999 => format!("{:.1} kB", value / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}
