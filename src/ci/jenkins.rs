//! Jenkins: freestyle, pipeline and multibranch.

use super::facts::{Defaults, Facts, Found};
use super::git::web;
use super::outputs::{CiError, Report, Written};
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
        // What the plugin calls origin/x is the branch x of the remote.
        let branch = variable("BRANCH_NAME")
            .or_else(|| variable("GIT_BRANCH"))
            .map(|found| Found {
                value: found
                    .value
                    .trim_start_matches("refs/heads/")
                    .trim_start_matches("origin/")
                    .to_owned(),
                ..found
            });
        let git = around.git.as_ref();
        let of_git = |value: Option<&String>| Some(Found::new(value?.as_str(), ".git"));
        let reference = match (tag, change) {
            (Some(tag), _) => Some(Found::new(format!("refs/tags/{tag}"), "TAG_NAME")),
            (None, Some(number)) => {
                Some(Found::new(format!("refs/pull/{number}/merge"), "CHANGE_ID"))
            }
            (None, None) => branch
                .clone()
                .map(|found| Found {
                    value: format!("refs/heads/{}", found.value),
                    ..found
                })
                .or_else(|| of_git(git?.reference.as_ref())),
        };
        let event = match (change, tag) {
            (Some(_), _) => Found::new("pull_request", "CHANGE_ID"),
            (None, Some(_)) => Found::new("push", "TAG_NAME"),
            (None, None) => Found::new("push", "no CHANGE_ID"),
        };
        let default_branch = branch
            .filter(|_| env.is("BRANCH_IS_PRIMARY", "true"))
            .map(|found| Found::new(found.value, "BRANCH_IS_PRIMARY"))
            .or_else(|| variable("LONGSHORE_CI_DEFAULT_BRANCH"))
            .or_else(|| of_git(git?.default_branch.as_ref()));
        Facts {
            event: Some(variable("LONGSHORE_CI_EVENT").unwrap_or(event)),
            reference,
            sha: variable("GIT_COMMIT").or_else(|| of_git(git?.sha.as_ref())),
            default_branch,
            base_ref: variable("CHANGE_TARGET"),
            commit_time: None,
            url: variable("GIT_URL")
                .map(|found| Found {
                    value: web(&found.value),
                    ..found
                })
                .or_else(|| of_git(git?.url.as_ref()))
                .filter(|found| !found.value.is_empty()),
            title: title(around),
            description: None,
            license: None,
            build_url: variable("BUILD_URL"),
            fork: variable("CHANGE_FORK"),
        }
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
