//! Lines of `--tags`, `--flavor` and `--images` to rules: the grammar of docker/metadata-action.

use super::MetadataError;

/// What a tag rule makes its tag of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scheduled run: the pattern, `nightly` by default.
    Schedule {
        /// The template.
        pattern: String,
    },
    /// A semantic version, out of the git tag or a given value.
    Semver(Version),
    /// A Python version, out of the git tag or a given value.
    Pep440(Version),
    /// What a regular expression finds in the git tag or a given value.
    Match {
        /// The expression, bare or as `/expression/flags`.
        pattern: String,
        /// Which group of it.
        group: usize,
        /// The text to search instead of the git tag.
        value: String,
    },
    /// The tip of a branch.
    Edge {
        /// The branch; the default branch where empty.
        branch: String,
    },
    /// A branch's name.
    Branch,
    /// A git tag's name.
    Tag,
    /// A change request's number.
    ChangeRequest,
    /// A text.
    Raw {
        /// The template.
        value: String,
    },
    /// The commit.
    Sha {
        /// Whether all of it.
        is_long: bool,
    },
}

/// What a version rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The template, `{{version}}` for one.
    pub pattern: String,
    /// The version instead of the git tag.
    pub value: String,
    /// A regular expression that finds the version.
    pub matching: String,
}

/// One line of `--tags`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it makes the tag of.
    pub kind: Kind,
    /// A template that must render to `true` or `false`.
    pub enable: String,
    /// Rules of a higher one come first.
    pub priority: i64,
    /// In front of the tag, instead of the flavor's.
    pub prefix: Option<String>,
    /// Behind the tag, instead of the flavor's.
    pub suffix: Option<String>,
    /// As it was written.
    pub text: String,
}

/// Whether there is a tag `latest` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latest {
    /// The first rule that makes a tag decides.
    #[default]
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// What holds for all tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flavor {
    /// Whether there is a tag `latest` too.
    pub latest: Latest,
    /// In front of every tag.
    pub prefix: String,
    /// Whether in front of `latest` too.
    pub has_prefix_on_latest: bool,
    /// Behind every tag.
    pub suffix: String,
    /// Whether behind `latest` too.
    pub has_suffix_on_latest: bool,
}

/// The rules where none are given, as the action has them.
pub const DEFAULT_RULES: &str =
    "type=schedule\ntype=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr";

/// Reads rules, one a line; empty lines and those that begin with `#` are left out.
///
/// # Errors
/// The first line that breaks the grammar.
pub fn rules(text: &str) -> Result<Vec<Rule>, MetadataError> {
    lines(text).map(rule).collect()
}

/// Reads the lines of `--flavor`.
///
/// # Errors
/// The first line that breaks the grammar.
pub fn flavor(text: &str) -> Result<Flavor, MetadataError> {
    let mut flavor = Flavor::default();
    for line in lines(text) {
        let wrong = |reason: String| MetadataError::Grammar {
            what: "flavor",
            text: line.to_owned(),
            reason,
        };
        let mut last = None;
        for field in fields(line) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(wrong(format!("\"{field}\" is not of the form key=value")));
            };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
            match key.as_str() {
                "latest" => {
                    flavor.latest = match value {
                        "auto" => Latest::Auto,
                        "true" => Latest::Always,
                        "false" => Latest::Never,
                        _ => return Err(wrong("latest is auto, true or false".to_owned())),
                    }
                }
                "prefix" => value.clone_into(&mut flavor.prefix),
                "suffix" => value.clone_into(&mut flavor.suffix),
                "onlatest" => {
                    let is_on = truth(value)
                        .ok_or_else(|| wrong("onlatest is true or false".to_owned()))?;
                    match last.as_deref() {
                        Some("prefix") => flavor.has_prefix_on_latest = is_on,
                        Some("suffix") => flavor.has_suffix_on_latest = is_on,
                        _ => {
                            return Err(wrong(
                                "onlatest follows prefix or suffix on its line".to_owned(),
                            ));
                        }
                    }
                }
                _ => {
                    return Err(wrong(format!(
                        "\"{key}\" is none of latest, prefix, suffix and onlatest"
                    )));
                }
            }
            last = Some(key);
        }
    }
    Ok(flavor)
}

/// Reads the lines of `--images`: `name` or `name=NAME,enable=true`, names in lower case.
///
/// # Errors
/// The first line that breaks the grammar.
pub fn images(text: &str) -> Result<Vec<String>, MetadataError> {
    let mut images = Vec::new();
    for line in lines(text) {
        let wrong = |reason: String| MetadataError::Grammar {
            what: "image",
            text: line.to_owned(),
            reason,
        };
        let (mut name, mut is_enabled) = (None, true);
        for field in fields(line) {
            match field.split_once('=') {
                None => name = Some(field.clone()),
                Some((key, value)) => match key.trim().to_ascii_lowercase().as_str() {
                    "name" => name = Some(value.trim().to_owned()),
                    "enable" => {
                        is_enabled = truth(value.trim())
                            .ok_or_else(|| wrong("enable is true or false".to_owned()))?;
                    }
                    other => return Err(wrong(format!("\"{other}\" is neither name nor enable"))),
                },
            }
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(wrong("it has no name".to_owned()));
        };
        let name = name.to_ascii_lowercase();
        if is_enabled && !images.contains(&name) {
            images.push(name);
        }
    }
    Ok(images)
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The fields of a line: separated by commas, whole or in part in double quotes, which are doubled inside quotes.
pub(super) fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    // A template may hold commas: {{date 'MMM D, YYYY'}}.
    let mut depth = 0_usize;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.peek() == Some(&'"') => {
                rest.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            '{' if rest.peek() == Some(&'{') => {
                rest.next();
                depth += 1;
                field.push_str("{{");
            }
            '}' if depth > 0 && rest.peek() == Some(&'}') => {
                rest.next();
                depth -= 1;
                field.push_str("}}");
            }
            ',' if !is_quoted && depth == 0 => {
                fields.push(std::mem::take(&mut field).trim().to_owned());
            }
            _ => field.push(c),
        }
    }
    fields.push(field.trim().to_owned());
    fields.retain(|field| !field.is_empty());
    fields
}

/// A rule's attributes while they are being read: each may be taken once.
struct Attributes {
    line: String,
    pairs: Vec<(String, String)>,
}

impl Attributes {
    fn take(&mut self, key: &str) -> Option<String> {
        // The last one of a name counts.
        let at = self.pairs.iter().rposition(|(name, _)| name == key)?;
        let (_, value) = self.pairs.remove(at);
        self.pairs.retain(|(name, _)| name != key);
        Some(value)
    }

    fn need(&mut self, key: &str) -> Result<String, MetadataError> {
        match self.take(key) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(self.wrong(format!("it needs {key}="))),
        }
    }

    fn wrong(&self, reason: String) -> MetadataError {
        MetadataError::Grammar {
            what: "tag rule",
            text: self.line.clone(),
            reason,
        }
    }
}

const PRIORITY_SCHEDULE: i64 = 1000;
const PRIORITY_VERSION: i64 = 900;
const PRIORITY_MATCH: i64 = 800;
const PRIORITY_EDGE: i64 = 700;
const PRIORITY_REF: i64 = 600;
const PRIORITY_RAW: i64 = 200;
const PRIORITY_SHA: i64 = 100;

fn rule(line: &str) -> Result<Rule, MetadataError> {
    let mut pairs = Vec::new();
    for field in fields(line) {
        match field.split_once('=') {
            Some((key, value)) => {
                pairs.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            // A bare word is the value of a raw rule.
            None => pairs.push(("value".to_owned(), field)),
        }
    }
    let mut attributes = Attributes {
        line: line.to_owned(),
        pairs,
    };
    let name = attributes.take("type").unwrap_or_else(|| "raw".to_owned());
    let (kind, priority, prefix) = kind(&name, &mut attributes)?;
    let priority = match attributes.take("priority") {
        None => priority,
        Some(text) => text
            .parse()
            .map_err(|_| attributes.wrong(format!("priority \"{text}\" is not a number")))?,
    };
    let rule = Rule {
        kind,
        enable: attributes
            .take("enable")
            .unwrap_or_else(|| "true".to_owned()),
        priority,
        prefix: attributes
            .take("prefix")
            .or_else(|| prefix.map(str::to_owned)),
        suffix: attributes.take("suffix"),
        text: line.to_owned(),
    };
    match attributes.pairs.first() {
        Some((key, _)) => Err(attributes.wrong(format!("type={name} has no attribute \"{key}\""))),
        None => Ok(rule),
    }
}

/// The kind, its priority, and its own prefix.
fn kind(
    name: &str,
    attributes: &mut Attributes,
) -> Result<(Kind, i64, Option<&'static str>), MetadataError> {
    let version = |attributes: &mut Attributes| {
        Ok(Version {
            pattern: attributes.need("pattern")?,
            value: attributes.take("value").unwrap_or_default(),
            matching: attributes.take("match").unwrap_or_default(),
        })
    };
    Ok(match name {
        "schedule" => {
            let pattern = attributes
                .take("pattern")
                .unwrap_or_else(|| "nightly".to_owned());
            (Kind::Schedule { pattern }, PRIORITY_SCHEDULE, None)
        }
        "semver" => (Kind::Semver(version(attributes)?), PRIORITY_VERSION, None),
        "pep440" => (Kind::Pep440(version(attributes)?), PRIORITY_VERSION, None),
        "match" => {
            let group = attributes.take("group").unwrap_or_else(|| "0".to_owned());
            let kind = Kind::Match {
                pattern: attributes.need("pattern")?,
                group: group
                    .parse()
                    .map_err(|_| attributes.wrong(format!("group \"{group}\" is not a number")))?,
                value: attributes.take("value").unwrap_or_default(),
            };
            (kind, PRIORITY_MATCH, None)
        }
        "edge" => {
            let branch = attributes.take("branch").unwrap_or_default();
            (Kind::Edge { branch }, PRIORITY_EDGE, None)
        }
        "ref" => match attributes.need("event")?.as_str() {
            "branch" => (Kind::Branch, PRIORITY_REF, None),
            "tag" => (Kind::Tag, PRIORITY_REF, None),
            "pr" => (Kind::ChangeRequest, PRIORITY_REF, Some("pr-")),
            other => {
                return Err(
                    attributes.wrong(format!("event \"{other}\" is none of branch, tag and pr"))
                );
            }
        },
        "raw" => {
            let value = attributes.need("value")?;
            (Kind::Raw { value }, PRIORITY_RAW, None)
        }
        "sha" => {
            let is_long = match attributes.take("format").as_deref() {
                None | Some("short") => false,
                Some("long") => true,
                Some(other) => {
                    return Err(
                        attributes.wrong(format!("format \"{other}\" is neither short nor long"))
                    );
                }
            };
            (Kind::Sha { is_long }, PRIORITY_SHA, Some("sha-"))
        }
        other => {
            return Err(attributes.wrong(format!(
                "type \"{other}\" is none of schedule, semver, pep440, match, edge, ref, raw and sha"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_quotes_and_templates_together() {
        let check = |line: &str, expect: &[&str]| assert_eq!(fields(line), expect, "{line}");
        check("type=raw,value=a", &["type=raw", "value=a"]);
        check(
            r#"type=match,"pattern=v(\d),(\d)""#,
            &["type=match", r"pattern=v(\d),(\d)"],
        );
        check(
            r#"type=match,pattern="a,b""#,
            &["type=match", "pattern=a,b"],
        );
        check(r#"value="a ""b"" c""#, &[r#"value=a "b" c"#]);
        check(
            "value={{date 'D, YYYY'}},x=1",
            &["value={{date 'D, YYYY'}}", "x=1"],
        );
        check(r"pattern=\d{1},x=1", &[r"pattern=\d{1}", "x=1"]);
    }

    #[test]
    fn mistakes_name_what_is_wrong() {
        for (line, expect) in [
            ("type=semver", "it needs pattern="),
            ("type=what", "type \"what\" is none of"),
            ("type=ref", "it needs event="),
            ("type=ref,event=commit", "event \"commit\""),
            ("type=raw", "it needs value="),
            ("type=sha,format=tiny", "format \"tiny\""),
            ("type=match,pattern=a,group=x", "group \"x\""),
            ("type=raw,value=a,priority=high", "priority \"high\""),
            ("type=raw,value=a,colour=red", "no attribute \"colour\""),
            ("type=sha,pattern=a", "no attribute \"pattern\""),
        ] {
            let text = rules(line).unwrap_err().to_string();
            assert!(text.contains(expect), "{line}: {text}");
        }
        assert!(
            flavor("latest=maybe")
                .unwrap_err()
                .to_string()
                .contains("auto, true or false")
        );
        assert!(flavor("onlatest=true").is_err());
        assert!(flavor("colour=red").is_err());
        assert!(images("enable=true").is_err());
        assert!(images("name=a,enable=perhaps").is_err());
    }

    #[test]
    fn images_are_lower_case_and_once() {
        let text = "ghcr.io/Acme/App\n# no\nname=docker.io/acme/app\nname=quay.io/x,enable=false\nghcr.io/acme/app";
        assert_eq!(
            images(text).unwrap(),
            ["ghcr.io/acme/app", "docker.io/acme/app"]
        );
    }
}
