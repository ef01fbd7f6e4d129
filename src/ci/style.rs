//! How a CI system wants its log: groups that fold, annotations at a file's line.

use std::fmt::Write as _;

use super::Neutralizer;

/// The longest message of an annotation, in characters: GitHub cuts there.
const MESSAGE_MAX: usize = 4000;

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStyle {
    /// For people at a terminal: a command's output goes through as it is.
    #[default]
    Terminal,
    /// Nothing but lines, harmless ones.
    Plain,
    /// Workflow commands of GitHub Actions.
    GitHub,
    /// Sections of GitLab.
    GitLab,
    /// Logging commands of Azure Pipelines.
    Azure,
    /// Headings of Buildkite.
    Buildkite,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It ends the build.
    Error,
    /// It does not.
    Warning,
    /// Something to know.
    Notice,
}

/// A message at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// The file, relative to the checkout.
    pub file: Option<&'a str>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is the matter.
    pub message: &'a str,
}

impl LogStyle {
    /// Whether output has to be made harmless.
    pub fn is_ci(self) -> bool {
        self != Self::Terminal
    }

    /// Whether a group is folded when it is over, so that nobody sees what is in it.
    pub fn folds(self) -> bool {
        match self {
            Self::GitHub | Self::GitLab | Self::Azure | Self::Buildkite => true,
            Self::Terminal | Self::Plain => false,
        }
    }

    /// What opens a group; empty where there are none. `seconds` is the time since 1970, `number` differs between groups.
    pub fn open_group(self, title: &str, number: usize, seconds: i64) -> String {
        let title = Neutralizer::text(title).replace('\n', " ");
        match self {
            Self::GitHub => format!("::group::{}\n", data(&title)),
            Self::Azure => format!("##[group]{}\n", title.replace(['[', ']'], "|")),
            Self::GitLab => {
                format!(
                    "\x1b[0Ksection_start:{seconds}:longshore_{number}[collapsed=true]\r\x1b[0K{title}\n"
                )
            }
            Self::Buildkite => format!("--- {title}\n"),
            Self::Terminal | Self::Plain => format!("{title}\n"),
        }
    }

    /// What closes the group `number`.
    pub fn close_group(self, number: usize, seconds: i64) -> String {
        match self {
            Self::GitHub => "::endgroup::\n".to_owned(),
            Self::Azure => "##[endgroup]\n".to_owned(),
            Self::GitLab => format!("\x1b[0Ksection_end:{seconds}:longshore_{number}\r\x1b[0K\n"),
            Self::Buildkite | Self::Terminal | Self::Plain => String::new(),
        }
    }

    /// What makes the runner read no command until [`Self::resume`]; empty where there is no such thing.
    pub fn pause(self, token: &str) -> String {
        match self {
            Self::GitHub => format!("::stop-commands::{token}\n"),
            _ => String::new(),
        }
    }

    /// What ends [`Self::pause`].
    pub fn resume(self, token: &str) -> String {
        match self {
            Self::GitHub => format!("::{token}::\n"),
            _ => String::new(),
        }
    }

    /// An annotation's command, if the system has one.
    pub fn annotate(self, annotation: &Annotation) -> Option<String> {
        let mut message: String = annotation.message.chars().take(MESSAGE_MAX).collect();
        if message.len() < annotation.message.len() {
            message.push('…');
        }
        let name = match annotation.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        match self {
            Self::GitHub => {
                let mut properties = Vec::new();
                if let Some(file) = annotation.file {
                    properties.push(format!("file={}", property(file)));
                }
                if let Some(line) = annotation.line {
                    properties.push(format!("line={line}"));
                }
                properties.push("title=longshore".to_owned());
                Some(format!(
                    "::{name} {}::{}\n",
                    properties.join(","),
                    data(&message)
                ))
            }
            Self::Azure if annotation.severity != Severity::Notice => {
                let mut properties = format!("type={name}");
                if let Some(file) = annotation.file {
                    let _ = write!(properties, ";sourcepath={}", azure(file));
                }
                if let Some(line) = annotation.line {
                    let _ = write!(properties, ";linenumber={line}");
                }
                Some(format!(
                    "##vso[task.logissue {properties}]{}\n",
                    azure(&message)
                ))
            }
            _ => None,
        }
    }

    /// What makes the runner hide a value in the log from here on.
    pub fn mask(self, value: &str) -> String {
        if self != Self::GitHub {
            return String::new();
        }
        let lines = value.lines().filter(|line| !line.trim().is_empty());
        lines.fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "::add-mask::{}", data(line));
            text
        })
    }
}

/// A workflow command's message.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A workflow command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

fn azure(text: &str) -> String {
    text.replace('%', "%AZP25")
        .replace(';', "%3B")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
        .replace(']', "%5D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_escape_what_they_hold() {
        let annotation = Annotation {
            severity: Severity::Error,
            file: Some("a,b:Dockerfile"),
            line: Some(3),
            message: "100%\n::error::x",
        };
        assert_eq!(
            LogStyle::GitHub.annotate(&annotation).unwrap(),
            "::error file=a%2Cb%3ADockerfile,line=3,title=longshore::100%25%0A::error::x\n"
        );
        assert_eq!(
            LogStyle::Azure.annotate(&annotation).unwrap(),
            "##vso[task.logissue type=error;sourcepath=a,b:Dockerfile;linenumber=3]100%AZP25%0A::error::x\n"
        );
        assert_eq!(LogStyle::GitLab.annotate(&annotation), None);
    }

    #[test]
    fn groups_hold_one_line() {
        let title = "RUN a\n::endgroup::";
        assert_eq!(
            LogStyle::GitHub.open_group(title, 1, 7),
            "::group::RUN a \\::endgroup::\n"
        );
        assert_eq!(
            LogStyle::GitLab.open_group("RUN section_end:1:x", 2, 7),
            "\u{1b}[0Ksection_start:7:longshore_2[collapsed=true]\r\u{1b}[0KRUN s\\ection_end:1:x\n"
        );
        assert_eq!(
            LogStyle::GitLab.close_group(2, 9),
            "\u{1b}[0Ksection_end:9:longshore_2\r\u{1b}[0K\n"
        );
    }

    #[test]
    fn masks_are_one_for_each_line() {
        assert_eq!(
            LogStyle::GitHub.mask("a%\n\nb"),
            "::add-mask::a%25\n::add-mask::b\n"
        );
        assert_eq!(LogStyle::GitLab.mask("secret"), "");
    }
}
