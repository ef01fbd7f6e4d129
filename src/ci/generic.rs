//! Other CI systems: a table, not code.

use super::facts::{Defaults, Facts, Found};
use super::git::web;
use super::outputs::{self, CiError, Report, Written};
use super::stated::stated;
use super::style::LogStyle;
use super::{Around, Ci, Env};

/// What a CI system calls its things. Each list names variables, the first that is set counts.
#[derive(Debug)]
pub(super) struct Generic {
    name: &'static str,
    /// Variables that are all there, with their value where it matters.
    detect: &'static [(&'static str, Option<&'static str>)],
    sha: &'static [&'static str],
    /// A branch's name, or a full reference.
    branch: &'static [&'static str],
    tag: &'static [&'static str],
    /// A change request's number, or an address that ends in it.
    change: &'static [&'static str],
    base: &'static [&'static str],
    fork: Fork,
    default_branch: &'static [&'static str],
    url: &'static [&'static str],
    title: &'static [&'static str],
    build: &'static [&'static str],
    checkout: &'static [&'static str],
    /// The variable and value that mark a scheduled run.
    schedule: Option<(&'static str, &'static str)>,
    /// The variable that names a file of `NAME=value` lines for later steps.
    outputs: Option<&'static str>,
    style: LogStyle,
}

/// How a fork's change request is known.
#[derive(Debug)]
enum Fork {
    /// It is not.
    Unknown,
    /// By a variable that is set in such a run only, to who made it.
    Maker(&'static str),
    /// By a variable that says whether it is.
    Switch(&'static str, &'static str),
    /// By the address of the repository that it comes from, which is another than that of the second variable.
    Address(&'static str, &'static str),
}

impl Fork {
    fn find(&self, env: &Env) -> Option<Found> {
        match *self {
            Self::Unknown => None,
            Self::Maker(name) => Some(Found::new(env.get(name)?, name)),
            Self::Switch(name, yes) => env
                .is(name, yes)
                .then(|| Found::new("another repository", name)),
            Self::Address(from, to) => {
                let (one, other) = (web(env.get(from)?), web(env.get(to)?));
                (one != other).then(|| Found::new(one, from))
            }
        }
    }
}

const NONE: Generic = Generic {
    name: "",
    detect: &[],
    sha: &[],
    branch: &[],
    tag: &[],
    change: &[],
    base: &[],
    fork: Fork::Unknown,
    default_branch: &[],
    url: &[],
    title: &[],
    build: &[],
    checkout: &[],
    schedule: None,
    outputs: None,
    style: LogStyle::Plain,
};

const SYSTEMS: &[Generic] = &[
    Generic {
        name: "circleci",
        detect: &[("CIRCLECI", None)],
        sha: &["CIRCLE_SHA1"],
        branch: &["CIRCLE_BRANCH"],
        tag: &["CIRCLE_TAG"],
        change: &["CIRCLE_PULL_REQUEST"],
        fork: Fork::Maker("CIRCLE_PR_USERNAME"),
        url: &["CIRCLE_REPOSITORY_URL"],
        title: &["CIRCLE_PROJECT_REPONAME"],
        build: &["CIRCLE_BUILD_URL"],
        checkout: &["CIRCLE_WORKING_DIRECTORY"],
        ..NONE
    },
    Generic {
        name: "buildkite",
        detect: &[("BUILDKITE", None)],
        sha: &["BUILDKITE_COMMIT"],
        branch: &["BUILDKITE_BRANCH"],
        tag: &["BUILDKITE_TAG"],
        change: &["BUILDKITE_PULL_REQUEST"],
        base: &["BUILDKITE_PULL_REQUEST_BASE_BRANCH"],
        fork: Fork::Address("BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO"),
        default_branch: &["BUILDKITE_PIPELINE_DEFAULT_BRANCH"],
        url: &["BUILDKITE_REPO"],
        title: &["BUILDKITE_PIPELINE_SLUG"],
        build: &["BUILDKITE_BUILD_URL"],
        checkout: &["BUILDKITE_BUILD_CHECKOUT_PATH"],
        schedule: Some(("BUILDKITE_SOURCE", "schedule")),
        style: LogStyle::Buildkite,
        ..NONE
    },
    Generic {
        name: "azure",
        detect: &[("TF_BUILD", None)],
        sha: &["BUILD_SOURCEVERSION"],
        branch: &["BUILD_SOURCEBRANCH"],
        change: &[
            "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER",
            "SYSTEM_PULLREQUEST_PULLREQUESTID",
        ],
        base: &["SYSTEM_PULLREQUEST_TARGETBRANCHNAME"],
        fork: Fork::Switch("SYSTEM_PULLREQUEST_ISFORK", "True"),
        url: &["BUILD_REPOSITORY_URI"],
        title: &["BUILD_REPOSITORY_NAME"],
        checkout: &["BUILD_SOURCESDIRECTORY"],
        schedule: Some(("BUILD_REASON", "Schedule")),
        style: LogStyle::Azure,
        ..NONE
    },
    Generic {
        name: "bitbucket",
        detect: &[("BITBUCKET_BUILD_NUMBER", None)],
        sha: &["BITBUCKET_COMMIT"],
        branch: &["BITBUCKET_BRANCH"],
        tag: &["BITBUCKET_TAG"],
        change: &["BITBUCKET_PR_ID"],
        base: &["BITBUCKET_PR_DESTINATION_BRANCH"],
        url: &["BITBUCKET_GIT_HTTP_ORIGIN"],
        title: &["BITBUCKET_REPO_SLUG"],
        checkout: &["BITBUCKET_CLONE_DIR"],
        ..NONE
    },
    Generic {
        name: "codebuild",
        detect: &[("CODEBUILD_BUILD_ID", None)],
        sha: &["CODEBUILD_RESOLVED_SOURCE_VERSION"],
        branch: &["CODEBUILD_WEBHOOK_HEAD_REF"],
        base: &["CODEBUILD_WEBHOOK_BASE_REF"],
        url: &["CODEBUILD_SOURCE_REPO_URL"],
        build: &["CODEBUILD_BUILD_URL"],
        checkout: &["CODEBUILD_SRC_DIR"],
        ..NONE
    },
    Generic {
        name: "drone",
        detect: &[("DRONE", Some("true"))],
        sha: &["DRONE_COMMIT_SHA"],
        branch: &["DRONE_COMMIT_BRANCH", "DRONE_BRANCH"],
        tag: &["DRONE_TAG"],
        change: &["DRONE_PULL_REQUEST"],
        base: &["DRONE_TARGET_BRANCH"],
        default_branch: &["DRONE_REPO_BRANCH"],
        url: &["DRONE_REPO_LINK"],
        title: &["DRONE_REPO_NAME"],
        build: &["DRONE_BUILD_LINK"],
        checkout: &["DRONE_WORKSPACE"],
        schedule: Some(("DRONE_BUILD_EVENT", "cron")),
        outputs: Some("DRONE_OUTPUT"),
        ..NONE
    },
    Generic {
        name: "woodpecker",
        detect: &[("CI", Some("woodpecker"))],
        sha: &["CI_COMMIT_SHA"],
        branch: &["CI_COMMIT_BRANCH"],
        tag: &["CI_COMMIT_TAG"],
        change: &["CI_COMMIT_PULL_REQUEST"],
        base: &["CI_COMMIT_TARGET_BRANCH"],
        default_branch: &["CI_REPO_DEFAULT_BRANCH"],
        url: &["CI_REPO_URL"],
        title: &["CI_REPO_NAME"],
        build: &["CI_PIPELINE_URL"],
        checkout: &["CI_WORKSPACE"],
        schedule: Some(("CI_PIPELINE_EVENT", "cron")),
        ..NONE
    },
    Generic {
        name: "cloudbuild",
        // Cloud Build's substitutions are variables only where the step maps them.
        detect: &[("BUILD_ID", None), ("PROJECT_ID", None)],
        sha: &["COMMIT_SHA"],
        branch: &["BRANCH_NAME"],
        tag: &["TAG_NAME"],
        change: &["_PR_NUMBER"],
        title: &["REPO_NAME"],
        ..NONE
    },
    Generic {
        name: "argo",
        detect: &[("ARGO_NODE_ID", None)],
        ..NONE
    },
    Generic {
        name: "generic",
        detect: &[("CI", Some("true"))],
        ..NONE
    },
];

/// The row that the environment fits.
pub(super) fn detect(env: &Env) -> Option<&'static dyn Ci> {
    let fits = |row: &&Generic| {
        row.detect.iter().all(|(name, value)| match value {
            Some(value) => env.is(name, value),
            None => env.get(name).is_some(),
        })
    };
    SYSTEMS.iter().find(fits).map(|row| row as &dyn Ci)
}

/// The row of a name.
pub(super) fn by_name(name: &str) -> Option<&'static dyn Ci> {
    SYSTEMS
        .iter()
        .find(|row| row.name == name)
        .map(|row| row as &dyn Ci)
}

/// The names of all rows.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SYSTEMS.iter().map(|row| row.name)
}

impl Ci for Generic {
    fn name(&self) -> &'static str {
        self.name
    }

    fn facts(&self, around: &Around) -> Facts {
        let env = &around.env;
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| Some(Found::new(env.get(name)?, *name)))
        };
        let change = first(self.change).and_then(|found| {
            // CircleCI gives an address, Buildkite `false` where there is none.
            let number = found
                .value
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(Found {
                value: number,
                ..found
            })
        });
        let reference = match (first(self.tag), &change) {
            (Some(tag), _) => Some(Found {
                value: format!("refs/tags/{}", tag.value),
                ..tag
            }),
            (None, Some(change)) => Some(Found {
                value: format!("refs/pull/{}/merge", change.value),
                source: change.source.clone(),
            }),
            (None, None) => first(self.branch).map(|branch| {
                let value = if branch.value.starts_with("refs/") {
                    branch.value
                } else {
                    format!("refs/heads/{}", branch.value)
                };
                Found {
                    value,
                    source: branch.source,
                }
            }),
        };
        let is_scheduled = self
            .schedule
            .is_some_and(|(name, value)| env.is(name, value));
        let event = match (is_scheduled, &change) {
            (true, _) => Some((
                "schedule",
                self.schedule.map_or("", |(name, _)| name).to_owned(),
            )),
            (false, Some(change)) => Some(("pull_request", change.source.clone())),
            (false, None) => reference
                .as_ref()
                .map(|reference| ("push", reference.source.clone())),
        };
        let reported = Facts {
            event: event.map(|(value, source)| Found::new(value, source)),
            reference,
            sha: first(self.sha),
            base_ref: first(self.base),
            default_branch: first(self.default_branch),
            url: first(self.url)
                .map(|found| Found {
                    value: web(&found.value),
                    ..found
                })
                .filter(|found| !found.value.is_empty()),
            title: first(self.title),
            build_url: first(self.build),
            fork: self.fork.find(env),
            ..Facts::default()
        };
        reported.or(stated(around))
    }

    fn defaults(&self, around: &Around) -> Defaults {
        let env = &around.env;
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| Some(Found::new(env.get(name)?, *name)))
        };
        Defaults {
            context: first(self.checkout),
            identity_variables: vec![
                "OCI_ID_TOKEN",
                "CIRCLE_OIDC_TOKEN_V2",
                "BITBUCKET_STEP_OIDC_TOKEN",
            ],
            ..Defaults::default()
        }
    }

    fn style(&self) -> LogStyle {
        self.style
    }

    fn places(&self, around: &Around) -> Vec<Found> {
        let place = |name: &'static str| Some(Found::new(around.env.get(name)?, name));
        self.outputs.and_then(place).into_iter().collect()
    }

    fn publish(&self, around: &Around, report: &Report) -> Result<Vec<Written>, CiError> {
        let path = self.outputs.and_then(|name| around.env.get(name));
        match path.filter(|_| report.failure.is_none()) {
            Some(path) => Ok(vec![outputs::write(
                outputs::Format::Dotenv,
                path.as_ref(),
                report,
                around,
            )?]),
            None => Ok(Vec::new()),
        }
    }
}
