//! Which CI system is found, what the table says of the smaller ones, and who is a fork.

use serde_json::json;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Around {
    Around {
        env: pairs.iter().copied().collect(),
        ..Around::default()
    }
}

#[test]
fn systems_are_told_apart() {
    for (pairs, expect) in [
        (&[][..], None),
        (&[("CI", "true")], Some("generic")),
        (
            &[("GITHUB_ACTIONS", "true"), ("CI", "true")],
            Some("github"),
        ),
        (&[("GITEA_ACTIONS", "true")], Some("github")),
        (&[("GITLAB_CI", "true")], Some("gitlab")),
        (
            &[
                ("GITLAB_CI", "false"),
                ("CI_JOB_ID", "1"),
                ("CI_PROJECT_PATH", "a/b"),
            ],
            Some("gitlab"),
        ),
        (&[("JENKINS_URL", "x"), ("BUILD_TAG", "y")], Some("jenkins")),
        (&[("JENKINS_URL", "x")], None),
        (&[("CIRCLECI", "true"), ("CI", "true")], Some("circleci")),
        (&[("BUILDKITE", "true")], Some("buildkite")),
        (&[("TF_BUILD", "True")], Some("azure")),
        (&[("BITBUCKET_BUILD_NUMBER", "1")], Some("bitbucket")),
        (&[("CODEBUILD_BUILD_ID", "a:b")], Some("codebuild")),
        (&[("DRONE", "true"), ("CI", "true")], Some("drone")),
        (&[("CI", "woodpecker")], Some("woodpecker")),
        (
            &[("BUILD_ID", "1"), ("PROJECT_ID", "p")],
            Some("cloudbuild"),
        ),
        (&[("ARGO_NODE_ID", "n")], Some("argo")),
    ] {
        assert_eq!(detect(&env(pairs)).map(Ci::name), expect, "{pairs:?}");
    }
    for name in names() {
        assert_eq!(by_name(name).map(Ci::name), Some(name));
    }
    assert!(by_name("none").is_none());
}

#[test]
fn other_systems_by_their_table() {
    for (pairs, reference, event) in [
        (
            &[("CIRCLECI", "true"), ("CIRCLE_BRANCH", "dev")][..],
            "refs/heads/dev",
            "push",
        ),
        (
            &[
                ("CIRCLECI", "true"),
                ("CIRCLE_BRANCH", "dev"),
                ("CIRCLE_PULL_REQUEST", "https://github.com/a/b/pull/9"),
            ],
            "refs/pull/9/merge",
            "pull_request",
        ),
        (
            &[
                ("BUILDKITE", "true"),
                ("BUILDKITE_BRANCH", "x"),
                ("BUILDKITE_PULL_REQUEST", "false"),
            ],
            "refs/heads/x",
            "push",
        ),
        (
            &[
                ("BUILDKITE", "true"),
                ("BUILDKITE_TAG", "v1"),
                ("BUILDKITE_BRANCH", "x"),
            ],
            "refs/tags/v1",
            "push",
        ),
        (
            &[("TF_BUILD", "True"), ("BUILD_SOURCEBRANCH", "refs/tags/v1")],
            "refs/tags/v1",
            "push",
        ),
        (
            &[
                ("TF_BUILD", "True"),
                ("BUILD_SOURCEBRANCH", "refs/heads/x"),
                ("BUILD_REASON", "Schedule"),
            ],
            "refs/heads/x",
            "schedule",
        ),
        (
            &[("BITBUCKET_BUILD_NUMBER", "1"), ("BITBUCKET_PR_ID", "3")],
            "refs/pull/3/merge",
            "pull_request",
        ),
        (
            &[("DRONE", "true"), ("DRONE_TAG", "v2")],
            "refs/tags/v2",
            "push",
        ),
        (
            &[
                ("CI", "woodpecker"),
                ("CI_COMMIT_BRANCH", "m"),
                ("CI_PIPELINE_EVENT", "cron"),
            ],
            "refs/heads/m",
            "schedule",
        ),
        (
            &[
                ("CI", "true"),
                ("LONGSHORE_CI_REF", "m"),
                ("LONGSHORE_CI_EVENT", "push"),
            ],
            "refs/heads/m",
            "push",
        ),
    ] {
        let around = env(pairs);
        let facts = facts(detect(&around).unwrap(), &around);
        let text = |found: Option<Found>| found.map(|found| found.value).unwrap_or_default();
        assert_eq!(
            (text(facts.reference), text(facts.event)),
            (reference.to_owned(), event.to_owned()),
            "{pairs:?}"
        );
    }
}

#[test]
fn a_fork_is_known() {
    let github = |head: serde_json::Value| Around {
        env: [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "acme/app"),
        ]
        .into_iter()
        .collect(),
        event: json!({"pull_request": {"head": head, "base": {"repo": {"full_name": "acme/app"}}}}),
        ..Around::default()
    };
    for (around, expect) in [
        (github(json!({"repo": {"full_name": "acme/app"}})), None),
        (
            github(json!({"repo": {"full_name": "eve/app"}})),
            Some("eve/app"),
        ),
        (github(json!({"repo": null})), Some("a deleted repository")),
        (
            env(&[
                ("GITLAB_CI", "true"),
                ("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "a/b"),
                ("CI_PROJECT_PATH", "a/b"),
            ]),
            None,
        ),
        (
            env(&[
                ("GITLAB_CI", "true"),
                ("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "e/b"),
                ("CI_PROJECT_PATH", "a/b"),
            ]),
            Some("e/b"),
        ),
        (
            env(&[
                ("JENKINS_URL", "u"),
                ("BUILD_TAG", "t"),
                ("CHANGE_FORK", "eve"),
            ]),
            Some("eve"),
        ),
        (
            env(&[("CIRCLECI", "true"), ("CIRCLE_PR_USERNAME", "eve")]),
            Some("eve"),
        ),
        (
            env(&[("TF_BUILD", "True"), ("SYSTEM_PULLREQUEST_ISFORK", "False")]),
            None,
        ),
        (
            env(&[("TF_BUILD", "True"), ("SYSTEM_PULLREQUEST_ISFORK", "True")]),
            Some("another repository"),
        ),
        (
            env(&[
                ("BUILDKITE", "true"),
                ("BUILDKITE_REPO", "git@github.com:acme/app.git"),
                (
                    "BUILDKITE_PULL_REQUEST_REPO",
                    "git://github.com/acme/app.git",
                ),
            ]),
            None,
        ),
        (
            env(&[
                ("BUILDKITE", "true"),
                ("BUILDKITE_REPO", "git@github.com:acme/app.git"),
                (
                    "BUILDKITE_PULL_REQUEST_REPO",
                    "git://github.com/eve/app.git",
                ),
            ]),
            Some("https://github.com/eve/app"),
        ),
    ] {
        let facts = facts(detect(&around).unwrap(), &around);
        assert_eq!(facts.fork.map(|found| found.value).as_deref(), expect);
    }
}
