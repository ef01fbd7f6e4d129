//! What came of a build, in the files that CI systems read: step outputs, dotenv, properties, JSON, Tekton results.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Around, Recorded, summary};

/// A dotenv report is refused when larger (GitLab "Limits", dotenv file size).
const DOTENV_MAX: usize = 5 * 1024;
/// All results of a Tekton step share a termination message of 4096 bytes with Tekton's own; one stays well below.
const RESULT_MAX: usize = 1024;
/// What all of them may have in it, as JSON, so that Tekton's own have room: a start time, an exit code, a reason.
const RESULTS_MAX: usize = 3584;
/// What a result takes in the message besides its name and value: `{"key":"","value":"","type":1},`.
const RESULT_FRAME: usize = 32;
/// A step's summary is dropped when larger (GitHub "Job summaries").
const SUMMARY_MAX: usize = 1024 * 1024;

/// What came of a build.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The digest of the image's manifest.
    pub digest: String,
    /// The digest of its configuration, which Docker calls the image's id.
    pub image_id: String,
    /// The names `registry/repository:tag`.
    pub names: Vec<String>,
    /// The version, which is the first tag of the rules.
    pub version: String,
    /// The repository and the commit that were built, as far as they are known.
    pub source: Option<(String, String)>,
    /// Whether it was pushed.
    pub is_pushed: bool,
    /// The size of its layers in bytes.
    pub size: u64,
    /// How many layers it has.
    pub layers: usize,
    /// Its platform.
    pub platform: String,
    /// As the metadata file has it.
    pub metadata: Value,
    /// What happened.
    pub recorded: Recorded,
    /// How long it took.
    pub took: Duration,
    /// Why there is no image.
    pub failure: Option<String>,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `$GITHUB_OUTPUT`: appended to.
    GitHub,
    /// `NAME=value` lines, for GitLab's dotenv report: appended to.
    Dotenv,
    /// Java properties, for Jenkins' `readProperties`.
    Properties,
    /// A JSON object.
    Json,
    /// A directory of files, for Tekton.
    Tekton,
}

impl Format {
    /// The format of a name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "github" => Some(Self::GitHub),
            "dotenv" => Some(Self::Dotenv),
            "properties" => Some(Self::Properties),
            "json" => Some(Self::Json),
            "tekton" => Some(Self::Tekton),
            _ => None,
        }
    }
}

/// Something that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it is.
    pub what: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What had to be left out, for people.
    pub notice: Option<String>,
}

/// Outputs that cannot be handed back.
#[derive(Debug, thiserror::Error)]
pub enum CiError {
    /// A file cannot be written.
    #[error("cannot write {what} {}", path.display())]
    File {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A value holds the delimiter that was to end it.
    #[error("output {name} holds the random delimiter that was to end it")]
    Delimiter {
        /// The output.
        name: &'static str,
    },
}

/// The outputs of a step, by name: what `action.yml` promises.
pub fn step_outputs(report: &Report) -> Vec<(&'static str, String)> {
    vec![
        ("digest", report.digest.clone()),
        ("imageid", report.image_id.clone()),
        ("metadata", report.metadata.to_string()),
        ("image", reference(report)),
        ("tags", report.names.join("\n")),
        ("version", report.version.clone()),
        ("pushed", report.is_pushed.to_string()),
    ]
}

/// The results of a Tekton step, by name.
pub fn results(report: &Report) -> Vec<(&'static str, String)> {
    let url = report.names.first().cloned().unwrap_or_default();
    let digests: Vec<String> = if report.is_pushed {
        report
            .names
            .iter()
            .map(|name| format!("{name}@{}", report.digest))
            .collect()
    } else {
        Vec::new()
    };
    let bases = report
        .recorded
        .bases
        .iter()
        .map(|(name, digest)| format!("{}@{digest}", without_tag(name)));
    let artifact = json!({"uri": without_tag(&url), "digest": report.digest, "isBuildArtifact": report.is_pushed.to_string()});
    let mut results = vec![
        ("IMAGE_DIGEST", report.digest.clone()),
        ("IMAGE_URL", url),
        ("IMAGE_REF", reference(report)),
        ("IMAGE_ARTIFACT_OUTPUTS", artifact.to_string()),
        ("IMAGES", digests.join("\n")),
        ("BASE_IMAGES_DIGESTS", bases.collect::<Vec<_>>().join("\n")),
    ];
    // A result that says nothing would be taken for a repository without a name.
    if let Some((url, commit)) = &report.source {
        results.insert(4, ("CHAINS-GIT_URL", url.clone()));
        results.insert(5, ("CHAINS-GIT_COMMIT", commit.clone()));
    }
    results
}

/// The variables of a dotenv report and of properties, by name.
pub fn variables(report: &Report) -> Vec<(&'static str, String)> {
    let first = report.names.first().cloned().unwrap_or_default();
    let name = without_tag(&first).to_owned();
    let tag = first[name.len()..].trim_start_matches(':').to_owned();
    let tags = report
        .names
        .iter()
        .map(|name| name[without_tag(name).len()..].trim_start_matches(':'));
    let mut unique: Vec<&str> = Vec::new();
    for tag in tags {
        if !unique.contains(&tag) {
            unique.push(tag);
        }
    }
    vec![
        ("IMAGE_REF", reference(report)),
        ("IMAGE_DIGEST", report.digest.clone()),
        ("IMAGE_NAME", name),
        ("IMAGE_TAG", tag),
        ("IMAGE_TAGS", unique.join(" ")),
        ("IMAGE_ID", report.image_id.clone()),
        ("IMAGE_VERSION", report.version.clone()),
    ]
}

/// `registry/repository@digest` of the first name; the bare digest where there is none.
fn reference(report: &Report) -> String {
    match report.names.first() {
        Some(name) => format!("{}@{}", without_tag(name), report.digest),
        None => report.digest.clone(),
    }
}

/// A name without its tag and digest.
fn without_tag(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

/// Writes one file, or the files of one directory.
///
/// # Errors
/// What cannot be written.
pub fn write(
    format: Format,
    path: &Path,
    report: &Report,
    around: &Around,
) -> Result<Written, CiError> {
    let mut notice = None;
    let what = match format {
        Format::GitHub => {
            let text = github(report, &around.random)?;
            append(path, "step outputs", &text)?;
            "step outputs"
        }
        Format::Dotenv => {
            let (text, left_out) = dotenv(report);
            notice = left_out;
            append(path, "dotenv report", &text)?;
            "dotenv report"
        }
        Format::Properties => {
            replace(path, "properties", &properties(report))?;
            "properties"
        }
        Format::Json => {
            replace(path, "outputs", &format!("{:#}\n", object(report)))?;
            "outputs"
        }
        Format::Tekton => {
            // A StepAction can only name a result's file, not the directory of all.
            let all = results(report);
            let is_file = path
                .file_name()
                .is_some_and(|name| all.iter().any(|(known, _)| name == *known));
            let directory = if is_file {
                path.parent().unwrap_or(path)
            } else {
                path
            };
            let mut room = RESULTS_MAX;
            for (name, value) in all {
                room = room.saturating_sub(name.len() + RESULT_FRAME);
                let (value, left_out) = shortened(&value, room.min(RESULT_MAX));
                room = room.saturating_sub(encoded_len(&value));
                if left_out > 0 {
                    notice = Some(format!(
                        "{left_out} lines of {name} do not fit into a result of Tekton"
                    ));
                }
                // A line end would be part of the result.
                replace(&directory.join(name), "result", &value)?;
            }
            "results"
        }
    };
    Ok(Written {
        what,
        path: path.to_owned(),
        notice,
    })
}

/// Adds the summary to a step's.
///
/// # Errors
/// A file that cannot be written.
pub fn write_summary(path: &Path, report: &Report) -> Result<Written, CiError> {
    let text = summary::markdown(report);
    debug_assert!(
        text.len() < SUMMARY_MAX,
        "the journal's bounds keep it short"
    );
    append(path, "summary", &text)?;
    Ok(Written {
        what: "summary",
        path: path.to_owned(),
        notice: None,
    })
}

fn github(report: &Report, random: &str) -> Result<String, CiError> {
    let delimiter = format!("longshore_{random}");
    let mut text = String::new();
    for (name, value) in step_outputs(report) {
        if value.contains(&delimiter) {
            return Err(CiError::Delimiter { name });
        }
        let _ = write!(text, "{name}<<{delimiter}\n{value}\n{delimiter}\n");
    }
    Ok(text)
}

/// Tags beyond the report's size are left out.
fn dotenv(report: &Report) -> (String, Option<String>) {
    let mut text = String::new();
    let mut notice = None;
    for (name, value) in variables(report) {
        // No quoting exists there: a line end would begin another variable.
        let mut value = value.replace(['\r', '\n', '\0'], " ");
        if text.len() + name.len() + value.len() + 2 > DOTENV_MAX - RESULT_MAX {
            let mut end = value.len().min(RESULT_MAX);
            while !value.is_char_boundary(end) {
                end -= 1;
            }
            end = value[..end].rfind(' ').unwrap_or(0);
            notice = Some(format!(
                "{name} is cut: a dotenv report holds {DOTENV_MAX} bytes"
            ));
            value.truncate(end);
        }
        let _ = writeln!(text, "{name}={value}");
    }
    (text, notice)
}

/// Java's `Properties.load` (its class documentation) reads this back.
fn properties(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in variables(report) {
        let _ = write!(text, "{name}=");
        for (at, c) in value.chars().enumerate() {
            match c {
                ' ' if at == 0 => text.push_str("\\ "),
                '\\' | ':' | '=' | '#' | '!' => {
                    text.push('\\');
                    text.push(c);
                }
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                ' '..='~' => text.push(c),
                other => {
                    let mut units = [0; 2];
                    for unit in other.encode_utf16(&mut units) {
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
            }
        }
        text.push('\n');
    }
    text
}

fn object(report: &Report) -> Value {
    let bases: Vec<Value> = report
        .recorded
        .bases
        .iter()
        .map(|(name, digest)| json!({"name": name, "digest": digest}))
        .collect();
    json!({
        "digest": report.digest,
        "imageid": report.image_id,
        "image": reference(report),
        "tags": report.names,
        "version": report.version,
        "source": report.source.as_ref().map(|(url, commit)| json!({"url": url, "commit": commit})),
        "pushed": report.is_pushed,
        "size": report.size,
        "layers": report.layers,
        "platform": report.platform,
        "baseImages": bases,
        "seconds": report.took.as_secs_f64(),
        "metadata": report.metadata,
    })
}

/// How long a text is within a JSON text.
fn encoded_len(text: &str) -> usize {
    Value::from(text).to_string().len() - 2
}

/// Whole lines up to so many bytes of JSON, and how many were left out.
fn shortened(value: &str, limit: usize) -> (String, usize) {
    if encoded_len(value) <= limit {
        return (value.to_owned(), 0);
    }
    let mut kept = String::new();
    let mut left_out = 0;
    for line in value.lines() {
        if left_out > 0 || encoded_len(&kept) + encoded_len(line) + 2 > limit {
            left_out += 1;
            continue;
        }
        if !kept.is_empty() {
            kept.push('\n');
        }
        kept.push_str(line);
    }
    (kept, left_out)
}

fn append(path: &Path, what: &'static str, text: &str) -> Result<(), CiError> {
    let write = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)?
            .write_all(text.as_bytes())
    };
    write().map_err(|source| failed(what, path, source))
}

fn replace(path: &Path, what: &'static str, text: &str) -> Result<(), CiError> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent).map_err(|source| failed(what, path, source))?;
    }
    std::fs::write(path, text).map_err(|source| failed(what, path, source))
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> CiError {
    CiError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_results_fit_into_a_termination_message() {
        // The longest names that a registry takes, many of them, and many base images.
        let name = |number: usize| {
            let repository = "r".repeat(255 - 20);
            format!("registry.example.com/{repository}:{number:0>128}")
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        let report = Report {
            digest: digest.clone(),
            names: (0..50).map(name).collect(),
            is_pushed: true,
            source: Some((
                format!("https://git.example.com/{}", "g".repeat(200)),
                "0".repeat(64),
            )),
            recorded: Recorded {
                bases: (0..50).map(|n| (name(n), digest.clone())).collect(),
                ..Recorded::default()
            },
            ..Report::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let written = write(
            Format::Tekton,
            directory.path(),
            &report,
            &Around::default(),
        )
        .unwrap();
        assert!(written.notice.is_some());
        let mut message =
            vec![json!({"key": "StartedAt", "value": "2026-01-01T00:00:00.000Z", "type": 3})];
        for (name, value) in results(&report) {
            let read = std::fs::read_to_string(directory.path().join(name)).unwrap();
            let may_be_cut = ["IMAGES", "BASE_IMAGES_DIGESTS"].contains(&name);
            assert!(may_be_cut || read == value, "{name}");
            message.push(json!({"key": name, "value": read, "type": 1}));
        }
        let length = Value::from(message).to_string().len();
        assert!(length <= 4096, "{length}");
        let images = std::fs::read_to_string(directory.path().join("IMAGES")).unwrap();
        assert!(images.starts_with(&name(0)), "{images}");
    }
}
