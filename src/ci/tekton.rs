//! Tekton. A TaskRun has no environment of its own: what is known comes by variables that our Task sets, and from `.git`.

use std::path::Path;

use super::facts::{Defaults, Facts, Found};
use super::outputs::{self, CiError, Report, Written};
use super::style::LogStyle;
use super::{Around, Ci};

/// Where a step's results are collected.
pub(super) const RESULTS: &str = "/tekton/results";

/// Tekton.
#[derive(Debug)]
pub(super) struct Tekton;

impl Ci for Tekton {
    fn name(&self) -> &'static str {
        "tekton"
    }

    fn facts(&self, around: &Around) -> Facts {
        stated(around)
    }

    fn defaults(&self, around: &Around) -> Defaults {
        Defaults {
            image: around
                .env
                .get("LONGSHORE_CI_IMAGE")
                .map(|image| Found::new(image, "LONGSHORE_CI_IMAGE")),
            ..Defaults::default()
        }
    }

    fn style(&self) -> LogStyle {
        LogStyle::Plain
    }

    fn publish(&self, around: &Around, report: &Report) -> Result<Vec<Written>, CiError> {
        let directory = Path::new(RESULTS);
        if report.failure.is_some() || !directory.is_dir() {
            return Ok(Vec::new());
        }
        Ok(vec![outputs::write(
            outputs::Format::Tekton,
            directory,
            report,
            around,
        )?])
    }
}

/// What variables of our own say, else the checkout.
pub fn stated(around: &Around) -> Facts {
    let env = &around.env;
    let variable = |name: &str| Some(Found::new(env.get(name)?, name));
    let git = around.git.as_ref();
    let of_git = |value: Option<&String>| Some(Found::new(value?.as_str(), ".git"));
    Facts {
        event: variable("LONGSHORE_CI_EVENT"),
        reference: variable("LONGSHORE_CI_REF")
            .map(|found| Found {
                value: full(&found.value),
                ..found
            })
            .or_else(|| of_git(git?.reference.as_ref())),
        sha: variable("LONGSHORE_CI_SHA").or_else(|| of_git(git?.sha.as_ref())),
        default_branch: variable("LONGSHORE_CI_DEFAULT_BRANCH")
            .or_else(|| of_git(git?.default_branch.as_ref())),
        base_ref: variable("LONGSHORE_CI_BASE_REF"),
        commit_time: variable("LONGSHORE_CI_COMMIT_TIME"),
        url: variable("LONGSHORE_CI_URL")
            .map(|found| Found {
                value: super::git::web(&found.value),
                ..found
            })
            .or_else(|| of_git(git?.url.as_ref()))
            .filter(|found| !found.value.is_empty()),
        title: variable("LONGSHORE_CI_TITLE"),
        description: None,
        license: None,
        build_url: variable("LONGSHORE_CI_BUILD_URL"),
        fork: None,
    }
}

/// A branch's bare name as a full reference.
fn full(reference: &str) -> String {
    if reference.starts_with("refs/") {
        reference.to_owned()
    } else {
        format!("refs/heads/{reference}")
    }
}
