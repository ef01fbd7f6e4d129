//! Jenkins: freestyle, pipeline and multibranch.

use super::facts::{Defaults, Facts, Found};
use super::git::web;
use super::outputs::{CiError, Report, Written};
use super::stated::{full, stated};
use super::style::LogStyle;
use super::{Around, Ci};

/// Jenkins.
#[derive(Debug)]
pub(super) struct Jenkins;

impl Ci for Jenkins {
    fn name(&self) -> &'static str {
        "jenkins"
    }

    fn facts(&self, around: &Around) -> Facts {
        let env = &around.env;
        let variable = |name: &str| Some(Found::new(env.get(name)?, name));
        let change = env.get("CHANGE_ID");
        let tag = env.get("TAG_NAME");
        let branch = branch(around);
        let reference = match (tag, change) {
            (Some(tag), _) => Some(Found::new(format!("refs/tags/{tag}"), "TAG_NAME")),
            (None, Some(number)) => {
                Some(Found::new(format!("refs/pull/{number}/merge"), "CHANGE_ID"))
            }
            (None, None) => branch.as_ref().map(|found| Found {
                value: full(&found.value),
                ..found.clone()
            }),
        };
        let event = match (change, tag) {
            (Some(_), _) => Found::new("pull_request", "CHANGE_ID"),
            (None, Some(_)) => Found::new("push", "TAG_NAME"),
            (None, None) => Found::new("push", "no CHANGE_ID"),
        };
        let is_primary = env.is("BRANCH_IS_PRIMARY", "true");
        let default_branch = branch
            .filter(|_| is_primary)
            .map(|found| Found::new(found.value, "BRANCH_IS_PRIMARY"));
        let told = Facts {
            event: Some(event),
            reference,
            sha: variable("GIT_COMMIT"),
            default_branch,
            is_other_branch: env.get("BRANCH_NAME").is_some() && !is_primary,
            base_ref: variable("CHANGE_TARGET"),
            url: variable("GIT_URL")
                .map(|found| Found {
                    value: web(&found.value),
                    ..found
                })
                .filter(|found| !found.value.is_empty()),
            title: title(around),
            build_url: variable("BUILD_URL"),
            fork: variable("CHANGE_FORK"),
            ..Facts::default()
        };
        told.or(stated(around))
    }

    fn defaults(&self, around: &Around) -> Defaults {
        Defaults {
            context: around
                .env
                .get("WORKSPACE")
                .map(|path| Found::new(path, "WORKSPACE")),
            ..Defaults::default()
        }
    }

    fn style(&self) -> LogStyle {
        LogStyle::Plain
    }

    /// Jenkins has no place of its own: properties and JSON are files that the job names.
    fn publish(&self, _around: &Around, _report: &Report) -> Result<Vec<Written>, CiError> {
        Ok(Vec::new())
    }
}

/// The branch: as a multibranch job names it, else as the git plugin does. That puts the remote before the name, or says `detached` where a
/// commit was checked out by its digits; then, and where there is neither, the checkout is asked.
///
/// The default branch is not guessed where nothing tells it: a tag that moves by it would move on a wrong one, too. A multibranch job says
/// of other branches that they are not the primary one, which is all that rules ask for.
fn branch(around: &Around) -> Option<Found> {
    let variable = |name: &str| Some(Found::new(around.env.get(name)?, name));
    let without = |mut found: Found, prefixes: &[&str]| {
        for prefix in prefixes {
            if let Some(rest) = found.value.strip_prefix(prefix) {
                found.value = rest.to_owned();
            }
        }
        found
    };
    let is_a_branch = |found: &Found| found.value != "detached";
    let of_job = variable("BRANCH_NAME").map(|found| without(found, &["refs/heads/"]));
    let local = || variable("GIT_LOCAL_BRANCH").filter(is_a_branch);
    let remote = || {
        let found = variable("GIT_BRANCH").filter(is_a_branch)?;
        Some(match found.value.strip_prefix("tags/") {
            Some(tag) => Found::new(format!("refs/tags/{tag}"), found.source),
            None if found.value.starts_with("refs/tags/") => found,
            None => without(found, &["refs/heads/", "refs/", "remotes/", "origin/"]),
        })
    };
    of_job.or_else(local).or_else(remote)
}

/// The last part of a multibranch job's name is the branch; the project is the one before.
fn title(around: &Around) -> Option<Found> {
    let name = around.env.get("JOB_NAME")?;
    let mut parts = name.rsplit('/');
    let last = parts.next()?;
    let title = if around.env.get("BRANCH_NAME").is_some() {
        parts.next().unwrap_or(last)
    } else {
        last
    };
    Some(Found::new(title, "JOB_NAME"))
}

#[cfg(test)]
mod tests {
    use super::super::git::Head;
    use super::super::metadata::{flavor, rules, tags};
    use super::*;

    /// The variables, what the checkout says, the reference with its source, and the tags of the rules below with the notices' number.
    type Row = (
        &'static [(&'static str, &'static str)],
        Option<(&'static str, Option<&'static str>)>,
        &'static str,
        &'static str,
    );

    const RULES: &str = "type=ref,event=branch\ntype=edge\ntype=raw,value=stable,enable={{is_default_branch}}\ntype=raw,value=other,enable={{is_not_default_branch}}\ntype=ref,event=tag";

    const ROWS: &[Row] = &[
        // A multibranch job: the primary branch, another one, a change, a tag.
        (
            &[("BRANCH_NAME", "trunk"), ("BRANCH_IS_PRIMARY", "true")],
            None,
            "refs/heads/trunk by BRANCH_NAME",
            "edge trunk stable",
        ),
        (
            &[("BRANCH_NAME", "topic/a"), ("GIT_BRANCH", "PR-9")],
            None,
            "refs/heads/topic/a by BRANCH_NAME",
            "topic-a other",
        ),
        (
            &[("BRANCH_NAME", "PR-7"), ("CHANGE_ID", "7")],
            None,
            "refs/pull/7/merge by CHANGE_ID",
            "other",
        ),
        (
            &[("BRANCH_NAME", "v1.0"), ("TAG_NAME", "v1.0")],
            None,
            "refs/tags/v1.0 by TAG_NAME",
            "v1.0 other latest",
        ),
        // A branch that is called so.
        (
            &[("BRANCH_NAME", "origin/x")],
            None,
            "refs/heads/origin/x by BRANCH_NAME",
            "origin-x other",
        ),
        // Another job: what the git plugin says. Nothing tells the default branch, and that is said.
        (
            &[("GIT_BRANCH", "origin/main")],
            None,
            "refs/heads/main by GIT_BRANCH",
            "main other !",
        ),
        (
            &[("GIT_BRANCH", "origin/main"), ("GIT_LOCAL_BRANCH", "main")],
            None,
            "refs/heads/main by GIT_LOCAL_BRANCH",
            "main other !",
        ),
        (
            &[("GIT_BRANCH", "refs/remotes/origin/main")],
            None,
            "refs/heads/main by GIT_BRANCH",
            "main other !",
        ),
        (
            &[("GIT_BRANCH", "refs/tags/v2")],
            None,
            "refs/tags/v2 by GIT_BRANCH",
            "v2 other latest",
        ),
        (
            &[("GIT_BRANCH", "tags/v2")],
            None,
            "refs/tags/v2 by GIT_BRANCH",
            "v2 other latest",
        ),
        // The checkout tells it, or a variable of ours, which wins over all.
        (
            &[("GIT_BRANCH", "origin/main")],
            Some(("refs/heads/x", Some("main"))),
            "refs/heads/main by GIT_BRANCH",
            "edge main stable",
        ),
        (
            &[
                ("GIT_BRANCH", "origin/main"),
                ("LONGSHORE_CI_DEFAULT_BRANCH", "main"),
            ],
            None,
            "refs/heads/main by GIT_BRANCH",
            "edge main stable",
        ),
        (
            &[
                ("BRANCH_NAME", "trunk"),
                ("BRANCH_IS_PRIMARY", "true"),
                ("LONGSHORE_CI_DEFAULT_BRANCH", "main"),
            ],
            None,
            "refs/heads/trunk by BRANCH_NAME",
            "trunk other",
        ),
        (
            &[("GIT_BRANCH", "origin/x"), ("LONGSHORE_CI_REF", "main")],
            Some(("refs/heads/x", Some("main"))),
            "refs/heads/main by LONGSHORE_CI_REF",
            "edge main stable",
        ),
        // No branch in the environment, as in a scripted pipeline; or a commit that was checked out by its digits.
        (
            &[],
            Some(("refs/heads/main", Some("main"))),
            "refs/heads/main by .git",
            "edge main stable",
        ),
        (
            &[("GIT_BRANCH", "detached")],
            Some(("refs/heads/main", None)),
            "refs/heads/main by .git",
            "main other !",
        ),
        (
            &[("GIT_BRANCH", "detached"), ("GIT_LOCAL_BRANCH", "detached")],
            None,
            "",
            "other",
        ),
    ];

    #[test]
    fn branches_and_the_default_one_are_found_or_said_to_be_unknown() {
        for (variables, checkout, reference, expect) in ROWS {
            let started = [("JENKINS_URL", "u"), ("BUILD_TAG", "t")];
            let around = Around {
                env: started.iter().chain(*variables).copied().collect(),
                git: checkout.map(|(reference, default_branch)| Head {
                    reference: Some(reference.to_owned()),
                    default_branch: default_branch.map(str::to_owned),
                    ..Head::default()
                }),
                ..Around::default()
            };
            let facts = super::super::facts(&Jenkins, &around);
            let found = facts.reference.clone().map(|found| {
                let Found { value, source } = found;
                format!("{value} by {source}")
            });
            assert_eq!(found.unwrap_or_default(), *reference, "{variables:?}");
            let made = tags(
                &rules(RULES).unwrap(),
                &flavor("").unwrap(),
                &facts.for_metadata(0),
            )
            .unwrap();
            let mut words = made.tags;
            words.extend(made.notices.iter().map(|notice| {
                assert!(notice.contains("LONGSHORE_CI_DEFAULT_BRANCH"), "{notice}");
                "!".to_owned()
            }));
            assert_eq!(words.join(" "), *expect, "{variables:?}");
        }
    }
}
