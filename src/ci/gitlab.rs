//! GitLab CI/CD.

use super::facts::{Defaults, Facts, Found};
use super::outputs::{CiError, Report, Written};
use super::style::LogStyle;
use super::{Around, Ci, Env};

/// GitLab CI/CD.
#[derive(Debug)]
pub(super) struct GitLab;

impl Ci for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn facts(&self, around: &Around) -> Facts {
        let env = &around.env;
        let variable = |name: &str| Some(Found::new(env.get(name)?, name));
        Facts {
            event: variable("CI_PIPELINE_SOURCE").map(|found| Found {
                value: event(&found.value).to_owned(),
                ..found
            }),
            reference: reference(env),
            sha: variable("CI_COMMIT_SHA"),
            default_branch: variable("CI_DEFAULT_BRANCH"),
            is_other_branch: false,
            base_ref: variable("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
                .or_else(|| variable("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME")),
            commit_time: variable("CI_COMMIT_TIMESTAMP"),
            url: variable("CI_PROJECT_URL"),
            title: variable("CI_PROJECT_TITLE").or_else(|| variable("CI_PROJECT_NAME")),
            description: variable("CI_PROJECT_DESCRIPTION"),
            license: None,
            build_url: variable("CI_JOB_URL"),
            fork: fork(env),
        }
    }

    fn defaults(&self, around: &Around) -> Defaults {
        let env = &around.env;
        let variable = |name: &str| Some(Found::new(env.get(name)?, name));
        let certificates = |registry: &str| {
            let file = env.get("CI_SERVER_TLS_CA_FILE")?;
            Some((registry.to_owned(), file.into()))
        };
        Defaults {
            context: variable("CI_PROJECT_DIR"),
            image: variable("CI_REGISTRY_IMAGE").map(|found| Found {
                value: found.value.to_ascii_lowercase(),
                ..found
            }),
            identity_variables: vec!["OCI_ID_TOKEN"],
            secrets: vec![
                "CI_REGISTRY_PASSWORD",
                "CI_DEPLOY_PASSWORD",
                "CI_JOB_TOKEN",
                "CI_DEPENDENCY_PROXY_PASSWORD",
                "HARBOR_PASSWORD",
            ],
            certificates: ["CI_REGISTRY", "CI_DEPENDENCY_PROXY_SERVER"]
                .into_iter()
                .filter_map(|name| certificates(env.get(name)?))
                .collect(),
        }
    }

    fn style(&self) -> LogStyle {
        LogStyle::GitLab
    }

    /// GitLab has no place of its own: a dotenv report is a file that the job names.
    fn publish(&self, _around: &Around, _report: &Report) -> Result<Vec<Written>, CiError> {
        Ok(Vec::new())
    }
}

/// In GitHub's words, which the rules are written in.
fn event(source: &str) -> &str {
    match source {
        "merge_request_event" | "external_pull_request_event" => "pull_request",
        other => other,
    }
}

fn reference(env: &Env) -> Option<Found> {
    if let Some(tag) = env.get("CI_COMMIT_TAG") {
        return Some(Found::new(format!("refs/tags/{tag}"), "CI_COMMIT_TAG"));
    }
    for name in ["CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"] {
        if let Some(number) = env.get(name) {
            return Some(Found::new(format!("refs/pull/{number}/merge"), name));
        }
    }
    ["CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME"]
        .into_iter()
        .find_map(|name| Some(Found::new(format!("refs/heads/{}", env.get(name)?), name)))
}

fn fork(env: &Env) -> Option<Found> {
    let pairs = [
        (
            "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH",
            "CI_MERGE_REQUEST_PROJECT_PATH",
        ),
        (
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY",
            "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY",
        ),
    ];
    pairs.into_iter().find_map(|(source, target)| {
        let from = env.get(source)?;
        let to = env.get(target).or_else(|| env.get("CI_PROJECT_PATH"))?;
        (from != to).then(|| Found::new(from, source))
    })
}
