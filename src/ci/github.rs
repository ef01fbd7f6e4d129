//! GitHub Actions, and what speaks its language: Gitea and Forgejo.

use super::facts::{Defaults, Facts, Found};
use super::outputs::{self, CiError, Report, Written};
use super::style::LogStyle;
use super::{Around, Ci};

/// GitHub Actions.
#[derive(Debug)]
pub(super) struct GitHub;

impl Ci for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn facts(&self, around: &Around) -> Facts {
        let env = &around.env;
        let variable = |name: &str| Some(Found::new(env.get(name)?, name));
        let event = |pointer: &str| {
            let key = pointer.trim_start_matches('/').replace('/', ".");
            Some(Found::new(
                around.event_text(pointer)?,
                format!("event {key}"),
            ))
        };
        let name = variable("GITHUB_EVENT_NAME");
        let is_target = name
            .as_ref()
            .is_some_and(|name| name.value == "pull_request_target");
        let number = around
            .event
            .pointer("/number")
            .and_then(serde_json::Value::as_u64);
        // That event stands on the base branch; what is built is the change request.
        let reference = match number {
            Some(number) if is_target => Some(Found::new(
                format!("refs/pull/{number}/merge"),
                "event number",
            )),
            _ => variable("GITHUB_REF"),
        };
        let is_tag = reference
            .as_ref()
            .is_some_and(|found| found.value.starts_with("refs/tags/"));
        let base_ref = if is_tag {
            event("/base_ref").map(|found| Found {
                value: found.value.trim_start_matches("refs/heads/").to_owned(),
                ..found
            })
        } else {
            event("/pull_request/base/ref").or_else(|| variable("GITHUB_BASE_REF"))
        };
        let page = || {
            let (server, repository) =
                (env.get("GITHUB_SERVER_URL")?, env.get("GITHUB_REPOSITORY")?);
            Some(format!("{server}/{repository}"))
        };
        let run = || {
            Some(format!(
                "{}/actions/runs/{}",
                page()?,
                env.get("GITHUB_RUN_ID")?
            ))
        };
        let title = || {
            let (_, name) = env.get("GITHUB_REPOSITORY")?.rsplit_once('/')?;
            Some(Found::new(name, "GITHUB_REPOSITORY"))
        };
        Facts {
            event: name,
            reference,
            sha: variable("GITHUB_SHA"),
            default_branch: event("/repository/default_branch"),
            is_other_branch: false,
            base_ref,
            commit_time: event("/head_commit/timestamp"),
            url: event("/repository/html_url")
                .or_else(|| Some(Found::new(page()?, "GITHUB_SERVER_URL, GITHUB_REPOSITORY"))),
            title: event("/repository/name").or_else(title),
            description: event("/repository/description"),
            license: event("/repository/license/spdx_id")
                .filter(|found| found.value != "NOASSERTION"),
            build_url: run().map(|url| Found::new(url, "GITHUB_RUN_ID")),
            fork: fork(around),
        }
    }

    fn defaults(&self, around: &Around) -> Defaults {
        let env = &around.env;
        let host = match env.get("GITHUB_SERVER_URL") {
            // GitHub Enterprise Server has its registry at a subdomain.
            Some(server) if server != "https://github.com" => server
                .strip_prefix("https://")
                .filter(|_| {
                    env.get("GITEA_ACTIONS")
                        .or(env.get("FORGEJO_ACTIONS"))
                        .is_none()
                })
                .map(|host| format!("containers.{host}")),
            _ => Some("ghcr.io".to_owned()),
        };
        let image = host
            .as_ref()
            .zip(env.get("GITHUB_REPOSITORY"))
            .map(|(host, repository)| {
                Found::new(
                    format!("{host}/{}", repository.to_ascii_lowercase()),
                    "GITHUB_REPOSITORY",
                )
            });
        Defaults {
            context: env
                .get("GITHUB_WORKSPACE")
                .map(|path| Found::new(path, "GITHUB_WORKSPACE")),
            image,
            secrets: vec![
                "GITHUB_TOKEN",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
                "ACTIONS_RUNTIME_TOKEN",
            ],
            identity_variables: vec![
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            ],
            ..Defaults::default()
        }
    }

    fn style(&self) -> LogStyle {
        LogStyle::GitHub
    }

    fn places(&self, around: &Around) -> Vec<Found> {
        let place = |name: &str| Some(Found::new(around.env.get(name)?, name));
        ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"]
            .into_iter()
            .filter_map(place)
            .collect()
    }

    fn publish(&self, around: &Around, report: &Report) -> Result<Vec<Written>, CiError> {
        let mut written = Vec::new();
        if let Some(path) = around
            .env
            .get("GITHUB_OUTPUT")
            .filter(|_| report.failure.is_none())
        {
            written.push(outputs::write(
                outputs::Format::GitHub,
                path.as_ref(),
                report,
                around,
            )?);
        }
        if let Some(path) = around.env.get("GITHUB_STEP_SUMMARY") {
            written.push(outputs::write_summary(path.as_ref(), report)?);
        }
        Ok(written)
    }
}

/// The repository that a change request comes from, if that is another.
fn fork(around: &Around) -> Option<Found> {
    let head = around.event.pointer("/pull_request/head")?;
    let name = head
        .pointer("/repo/full_name")
        .and_then(serde_json::Value::as_str);
    let base = around
        .event_text("/pull_request/base/repo/full_name")
        .or_else(|| around.env.get("GITHUB_REPOSITORY"));
    // A fork that was deleted has no repository any more.
    let source = "event pull_request.head.repo";
    match name {
        Some(name) if Some(name) == base => None,
        Some(name) => Some(Found::new(name, source)),
        None => Some(Found::new("a deleted repository", source)),
    }
}
