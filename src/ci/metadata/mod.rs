//! Tags and labels out of what a commit and its event are: the grammar of docker/metadata-action, over neutral facts.
//!
//! The same lines work in every CI system, since they never see which one it is. Pure: the time and all else arrive as
//! values. Entry points: [`rules`], [`flavor`] and [`images`] read the lines, [`tags`] evaluates them, [`labels`] describes
//! the image in the words of the OCI specification.
//!
//! # Deviation
//! A tag that a registry would refuse is made valid: a leading dot or dash goes, and what is longer than 128 characters is
//! cut and ends in a piece of its hash. An unknown attribute is a mistake. `created` is the commit's time where it is
//! known, so that building a commit again gives the same image.

mod labels;
mod moment;
mod rule;
mod template;
mod version;

#[cfg(test)]
mod tests;

use regex::{Regex, RegexBuilder};
use sha2::{Digest as _, Sha256};

pub use labels::{LabelFacts, REVISION, labels};
pub use rule::{DEFAULT_RULES, Flavor, Kind, Latest, Rule, flavor, images, rules};

/// The longest tag that registries take (distribution-spec "Pulling manifests").
const LONGEST_TAG: usize = 128;
/// How much of a tag's hash stands at the end of one that was cut, in hexadecimal digits.
const HASH_TAIL: usize = 12;
/// The length of a short commit, as the action has it.
const SHORT_SHA: usize = 7;

/// Rules that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A line breaks the grammar.
    #[error("{what} \"{}\": {reason}", text.escape_debug())]
    Grammar {
        /// What the line is.
        what: &'static str,
        /// The line.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A rule's `enable` is neither.
    #[error("tag rule \"{}\": enable is \"{}\", which is neither true nor false", text.escape_debug(), value.escape_debug())]
    Enable {
        /// The rule.
        text: String,
        /// What it rendered to.
        value: String,
    },
}

/// What rules are evaluated over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataFacts {
    /// What happened: `push`, `pull_request`, `schedule` and so on.
    pub event: String,
    /// The full git reference: `refs/heads/main`, `refs/tags/v1`, `refs/pull/7/merge`.
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// The branch that the repository calls its default.
    pub default_branch: String,
    /// Whether this is told to be another branch than that, which may be unknown then.
    pub is_other_branch: bool,
    /// The branch that a change request goes to, or that a tag was made on.
    pub base_ref: String,
    /// When the commit was made, in seconds since 1970.
    pub commit_time: Option<i64>,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// Events that belong to no commit of their own, so that they are about the default branch.
const BRANCHLESS_EVENTS: [&str; 4] = ["create", "discussion", "issues", "schedule"];

impl MetadataFacts {
    /// The branch's name, if it is a branch.
    pub fn branch(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/heads/")
    }

    /// The tag's name, if it is a tag.
    pub fn tag(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/tags/")
    }

    /// The change request's number, if it is one.
    pub fn change_request(&self) -> Option<&str> {
        let rest = self.reference.strip_prefix("refs/pull/")?;
        Some(
            rest.strip_suffix("/merge")
                .or_else(|| rest.strip_suffix("/head"))
                .unwrap_or(rest),
        )
    }

    fn short_sha(&self) -> &str {
        self.sha.get(..SHORT_SHA).unwrap_or(&self.sha)
    }

    fn is_default_branch(&self) -> bool {
        match self.branch() {
            Some(branch) if branch == self.default_branch => true,
            _ => BRANCHLESS_EVENTS
                .iter()
                .any(|event| self.event.contains(event)),
        }
    }
}

/// What came of the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// The first tag's text: the image's version. Empty where no rule applies.
    pub version: String,
    /// All tags, the version first and `latest` last, each valid and once.
    pub tags: Vec<String>,
    /// What was left out or changed, for people.
    pub notices: Vec<String>,
}

/// What one rule gave.
struct Value {
    text: String,
    is_latest: bool,
}

/// Evaluates rules.
///
/// # Errors
/// A template or `enable` that makes no sense. A rule that does not apply is no error.
pub fn tags(rules: &[Rule], flavor: &Flavor, facts: &MetadataFacts) -> Result<Tags, MetadataError> {
    let mut ordered: Vec<&Rule> = rules.iter().collect();
    ordered.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
    let mut result = Tags::default();
    if rules.iter().any(asks_for_default_branch)
        && facts.branch().is_some()
        && facts.default_branch.is_empty()
        && !facts.is_other_branch
    {
        let notice = "nothing tells which branch is the default one, so this one is taken for another: LONGSHORE_CI_DEFAULT_BRANCH names it";
        result.notices.push(notice.to_owned());
    }
    let mut is_latest = None;
    for rule in ordered {
        if !is_enabled(rule, facts)? {
            continue;
        }
        let Some(value) = value(rule, facts, &mut result.notices)? else {
            continue;
        };
        let prefix = global(rule.prefix.as_ref().unwrap_or(&flavor.prefix), facts)?;
        let suffix = global(rule.suffix.as_ref().unwrap_or(&flavor.suffix), facts)?;
        // The first rule that applies decides on `latest`.
        is_latest.get_or_insert(value.is_latest);
        add(&format!("{prefix}{}{suffix}", value.text), &mut result);
    }
    let has_latest = match flavor.latest {
        Latest::Auto => is_latest == Some(true),
        Latest::Always => is_latest.is_some(),
        Latest::Never => false,
    };
    if has_latest {
        let prefix = if flavor.has_prefix_on_latest {
            &flavor.prefix
        } else {
            ""
        };
        let suffix = if flavor.has_suffix_on_latest {
            &flavor.suffix
        } else {
            ""
        };
        add(
            &global(&format!("{prefix}latest{suffix}"), facts)?,
            &mut result,
        );
    }
    result.version = result.tags.first().cloned().unwrap_or_default();
    Ok(result)
}

/// Whether what a rule makes depends on which branch is the default one.
fn asks_for_default_branch(rule: &Rule) -> bool {
    let is_edge = matches!(&rule.kind, Kind::Edge { branch } if branch.is_empty());
    is_edge || rule.text.contains("default_branch")
}

fn add(text: &str, result: &mut Tags) {
    let Some(tag) = valid(text) else {
        result.notices.push(format!(
            "nothing of \"{}\" can stand in a tag",
            text.escape_debug()
        ));
        return;
    };
    if !result.tags.contains(&tag) {
        result.tags.push(tag);
    }
}

/// Makes a text a valid tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`. None if nothing is left of it.
pub fn valid(text: &str) -> Option<String> {
    let mut tag = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            tag.push(c);
        } else if !tag.ends_with('\0') {
            // A run of others becomes one dash.
            tag.push('\0');
        }
    }
    let tag = tag.replace('\0', "-");
    let tag = tag.trim_start_matches(['.', '-']);
    if tag.is_empty() {
        return None;
    }
    if tag.len() <= LONGEST_TAG {
        return Some(tag.to_owned());
    }
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    Some(format!(
        "{}-{}",
        &tag[..LONGEST_TAG - HASH_TAIL - 1],
        &hash[..HASH_TAIL]
    ))
}

fn global(text: &str, facts: &MetadataFacts) -> Result<String, MetadataError> {
    template::render(text, facts, &|_| None)
}

fn is_enabled(rule: &Rule, facts: &MetadataFacts) -> Result<bool, MetadataError> {
    let value = global(&rule.enable, facts)?;
    match value.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(MetadataError::Enable {
            text: rule.text.clone(),
            value,
        }),
    }
}

fn value(
    rule: &Rule,
    facts: &MetadataFacts,
    notices: &mut Vec<String>,
) -> Result<Option<Value>, MetadataError> {
    let plain = |text: String| {
        Ok(Some(Value {
            text,
            is_latest: false,
        }))
    };
    match &rule.kind {
        Kind::Schedule { pattern } => {
            if facts.event.contains("schedule") {
                plain(global(pattern, facts)?)
            } else {
                Ok(None)
            }
        }
        Kind::Semver(wanted) => versioned(
            rule,
            wanted,
            "semantic version",
            version::semver,
            facts,
            notices,
        ),
        Kind::Pep440(wanted) => versioned(
            rule,
            wanted,
            "version of PEP 440",
            version::pep440,
            facts,
            notices,
        ),
        Kind::Match {
            pattern,
            group,
            value,
        } => {
            let Some(text) = given_or_tag(value, facts)? else {
                return Ok(None);
            };
            let expression = expression(pattern, rule)?;
            let found = expression.captures(&text);
            let Some(found) = found.as_ref().and_then(|captures| captures.get(*group)) else {
                notices.push(format!(
                    "\"{text}\" does not match: no tag by \"{}\"",
                    rule.text
                ));
                return Ok(None);
            };
            Ok(Some(Value {
                text: found.as_str().to_owned(),
                is_latest: true,
            }))
        }
        Kind::Edge { branch } => {
            let branch = global(branch, facts)?;
            let branch = if branch.is_empty() {
                &facts.default_branch
            } else {
                &branch
            };
            if !branch.is_empty() && facts.branch() == Some(branch) {
                plain("edge".to_owned())
            } else {
                Ok(None)
            }
        }
        Kind::Branch => facts
            .branch()
            .map_or(Ok(None), |branch| plain(branch.to_owned())),
        Kind::Tag => Ok(facts.tag().map(|tag| Value {
            text: tag.to_owned(),
            is_latest: true,
        })),
        Kind::ChangeRequest => facts
            .change_request()
            .map_or(Ok(None), |number| plain(number.to_owned())),
        Kind::Raw { value } => plain(global(value, facts)?),
        Kind::Sha { is_long } => {
            let sha = if *is_long {
                &facts.sha
            } else {
                facts.short_sha()
            };
            if sha.is_empty() {
                Ok(None)
            } else {
                plain(sha.to_owned())
            }
        }
    }
}

/// The value that a rule gives, else the git tag.
fn given_or_tag(value: &str, facts: &MetadataFacts) -> Result<Option<String>, MetadataError> {
    if value.is_empty() {
        return Ok(facts.tag().map(str::to_owned));
    }
    let rendered = global(value, facts)?;
    let text = rendered.strip_prefix("refs/tags/").unwrap_or(&rendered);
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn versioned(
    rule: &Rule,
    wanted: &rule::Version,
    what: &str,
    parse: fn(&str) -> Option<version::Parts>,
    facts: &MetadataFacts,
    notices: &mut Vec<String>,
) -> Result<Option<Value>, MetadataError> {
    let Some(mut text) = given_or_tag(&wanted.value, facts)? else {
        return Ok(None);
    };
    if !wanted.matching.is_empty() {
        let expression = expression(&wanted.matching, rule)?;
        let found = expression.captures(&text);
        let Some(found) = found
            .as_ref()
            .and_then(|found| found.get(1).or_else(|| found.get(0)))
        else {
            notices.push(format!(
                "\"{text}\" does not match: no tag by \"{}\"",
                rule.text
            ));
            return Ok(None);
        };
        text = found.as_str().to_owned();
    }
    let text = text.replace('/', "-");
    let Some(parts) = parse(&text) else {
        notices.push(format!(
            "\"{text}\" is no {what}: no tag by \"{}\"",
            rule.text
        ));
        return Ok(None);
    };
    let is_raw = wanted.pattern.replace(' ', "") == "{{raw}}";
    // Of a version before a release no shorter tags are made: they belong to releases.
    let text = match (parts.is_prerelease, is_raw) {
        (true, true) => parts.raw.clone(),
        (true, false) => parts.version.clone(),
        (false, _) => template::render(&wanted.pattern, facts, &|expression| {
            parts.value(expression)
        })?,
    };
    Ok(Some(Value {
        text,
        is_latest: !parts.is_prerelease,
    }))
}

/// `expression` or `/expression/flags`.
fn expression(text: &str, rule: &Rule) -> Result<Regex, MetadataError> {
    let (pattern, flags) = match text
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
    {
        Some((pattern, flags)) if flags.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            (pattern, flags)
        }
        _ => (text, ""),
    };
    RegexBuilder::new(pattern)
        .case_insensitive(flags.contains('i'))
        .multi_line(flags.contains('m'))
        .dot_matches_new_line(flags.contains('s'))
        .build()
        .map_err(|error| MetadataError::Grammar {
            what: "tag rule",
            text: rule.text.clone(),
            reason: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned(),
        })
}
