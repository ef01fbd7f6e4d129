//! The same commit and event in the words of four CI systems, against the same rules: they must agree.

use serde_json::json;

use super::metadata::{flavor, rules, tags};
use super::*;

const SHA: &str = "90dd6032fac8bda1b6c4436a2e65de27961ed071";
/// Sunday, 7 January 2024, 05:08:09 UTC.
const NOW: i64 = 1_704_604_089;

/// What happened.
#[derive(Clone, Copy, Debug)]
enum Happened {
    Push(&'static str),
    Tag(&'static str),
    Change(u32),
    /// A scheduled run on a branch.
    Schedule(&'static str),
}

const HAPPENED: [Happened; 12] = [
    Happened::Push("main"),
    Happened::Push("feature/Login_Page"),
    Happened::Push("release/v2"),
    Happened::Tag("v1.2.3"),
    Happened::Tag("v2.0.0-rc.1"),
    Happened::Tag("1.2.3+build.5"),
    Happened::Tag("v0.4.7"),
    Happened::Tag("2024.01.post2"),
    Happened::Tag("app/v3.1.4"),
    Happened::Tag("nightly build"),
    Happened::Change(42),
    Happened::Schedule("main"),
];

/// Rules, their flavor, and the tags by the order of [`HAPPENED`], separated by blanks; `-` is none.
const RULES: &[(&str, &str, [&str; 12])] = &[
    (
        "type=schedule\ntype=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr",
        "",
        [
            "main",
            "feature-Login_Page",
            "release-v2",
            "v1.2.3 latest",
            "v2.0.0-rc.1 latest",
            "1.2.3-build.5 latest",
            "v0.4.7 latest",
            "2024.01.post2 latest",
            "app-v3.1.4 latest",
            "nightly-build latest",
            "pr-42",
            "nightly main",
        ],
    ),
    (
        "type=semver,pattern={{version}}\ntype=semver,pattern={{major}}.{{minor}}\ntype=semver,pattern={{major}}",
        "",
        [
            "-",
            "-",
            "-",
            "1.2.3 1.2 1 latest",
            "2.0.0-rc.1",
            "1.2.3 1.2 1 latest",
            "0.4.7 0.4 0 latest",
            "-",
            "-",
            "-",
            "-",
            "-",
        ],
    ),
    (
        "type=semver,pattern={{raw}}\ntype=sha",
        "latest=false",
        [
            "sha-90dd603",
            "sha-90dd603",
            "sha-90dd603",
            "v1.2.3 sha-90dd603",
            "v2.0.0-rc.1 sha-90dd603",
            "1.2.3-build.5 sha-90dd603",
            "v0.4.7 sha-90dd603",
            "sha-90dd603",
            "sha-90dd603",
            "sha-90dd603",
            "sha-90dd603",
            "sha-90dd603",
        ],
    ),
    (
        r"type=semver,pattern={{version}},match=^app/v(.+)$",
        "",
        [
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "-",
            "3.1.4 latest",
            "-",
            "-",
            "-",
        ],
    ),
    (
        "type=pep440,pattern={{version}}\ntype=pep440,pattern={{major}}.{{minor}}",
        "",
        [
            "-",
            "-",
            "-",
            "1.2.3 1.2 latest",
            "2.0.0rc1",
            "1.2.3-build.5 1.2 latest",
            "0.4.7 0.4 latest",
            "2024.1.post2",
            "-",
            "-",
            "-",
            "-",
        ],
    ),
    (
        r"type=match,pattern=v(\d+\.\d+),group=1",
        "",
        [
            "-",
            "-",
            "-",
            "1.2 latest",
            "2.0 latest",
            "-",
            "0.4 latest",
            "-",
            "3.1 latest",
            "-",
            "-",
            "-",
        ],
    ),
    (
        r"type=match,pattern=/V\d/i",
        "latest=false",
        [
            "-", "-", "-", "v1", "v2", "-", "v0", "-", "v3", "-", "-", "-",
        ],
    ),
    (
        "type=edge\ntype=edge,branch=release/v2",
        "",
        [
            "edge", "-", "edge", "-", "-", "-", "-", "-", "-", "-", "-", "edge",
        ],
    ),
    (
        "type=raw,value=latest,enable={{is_default_branch}}\ntype=raw,value=dev,enable={{is_not_default_branch}}",
        "",
        [
            "latest", "dev", "dev", "dev", "dev", "dev", "dev", "dev", "dev", "dev", "dev",
            "latest",
        ],
    ),
    (
        "type=raw,value={{branch}}-{{sha}}-{{date 'YYYYMMDD'}}",
        "latest=false",
        [
            "main-90dd603-20240107",
            "feature-Login_Page-90dd603-20240107",
            "release-v2-90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "90dd603-20240107",
            "main-90dd603-20240107",
        ],
    ),
    (
        "type=schedule,pattern={{date 'YYYY-MM-DD HH[h]' tz='Asia/Tokyo'}}\ntype=raw,value=x{{tag}}",
        "latest=true",
        [
            "x latest",
            "x latest",
            "x latest",
            "xv1.2.3 latest",
            "xv2.0.0-rc.1 latest",
            "x1.2.3-build.5 latest",
            "xv0.4.7 latest",
            "x2024.01.post2 latest",
            "xapp-v3.1.4 latest",
            "xnightly-build latest",
            "x latest",
            "2024-01-07-14h x latest",
        ],
    ),
    (
        "type=ref,event=branch,prefix=,suffix=-b\ntype=ref,event=pr,prefix=mr\ntype=ref,event=tag",
        "prefix=pre-,onlatest=true\nsuffix=-alpine",
        [
            "main-b",
            "feature-Login_Page-b",
            "release-v2-b",
            "pre-v1.2.3-alpine pre-latest",
            "pre-v2.0.0-rc.1-alpine pre-latest",
            "pre-1.2.3-build.5-alpine pre-latest",
            "pre-v0.4.7-alpine pre-latest",
            "pre-2024.01.post2-alpine pre-latest",
            "pre-app-v3.1.4-alpine pre-latest",
            "pre-nightly-build-alpine pre-latest",
            "mr42-alpine",
            "main-b",
        ],
    ),
    (
        "type=sha,format=long,prefix=\ntype=raw,value=top,priority=2000",
        "latest=auto",
        [
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
            "top 90dd6032fac8bda1b6c4436a2e65de27961ed071",
        ],
    ),
    (
        "type=raw,value=to-{{base_ref}},enable=true",
        "",
        [
            "to-", "to-", "to-", "to-", "to-", "to-", "to-", "to-", "to-", "to-", "to-dev", "to-",
        ],
    ),
];

/// The name of a CI system and what is around a build in it.
fn around(system: &str, happened: Happened) -> Around {
    let mut env: Vec<(&str, String)> = Vec::new();
    let mut event = json!({"repository": {"default_branch": "main", "name": "app"}});
    let (branch, tag, change) = match happened {
        Happened::Push(branch) | Happened::Schedule(branch) => (Some(branch), None, None),
        Happened::Tag(tag) => (None, Some(tag), None),
        Happened::Change(number) => (None, None, Some(number)),
    };
    let is_scheduled = matches!(happened, Happened::Schedule(_));
    match system {
        "github" => {
            env.push(("GITHUB_ACTIONS", "true".into()));
            env.push(("GITHUB_SHA", SHA.into()));
            env.push(("GITHUB_REPOSITORY", "Acme/App".into()));
            let name = if is_scheduled {
                "schedule"
            } else if change.is_some() {
                "pull_request"
            } else {
                "push"
            };
            env.push(("GITHUB_EVENT_NAME", name.into()));
            env.extend(branch.map(|name| ("GITHUB_REF", format!("refs/heads/{name}"))));
            env.extend(tag.map(|name| ("GITHUB_REF", format!("refs/tags/{name}"))));
            if let Some(number) = change {
                env.push(("GITHUB_REF", format!("refs/pull/{number}/merge")));
                env.push(("GITHUB_BASE_REF", "dev".into()));
                event["number"] = number.into();
            }
        }
        "gitlab" => {
            env.push(("GITLAB_CI", "true".into()));
            env.push(("CI_COMMIT_SHA", SHA.into()));
            env.push(("CI_DEFAULT_BRANCH", "main".into()));
            let source = if is_scheduled {
                "schedule"
            } else if change.is_some() {
                "merge_request_event"
            } else {
                "push"
            };
            env.push(("CI_PIPELINE_SOURCE", source.into()));
            env.extend(branch.map(|name| ("CI_COMMIT_BRANCH", name.into())));
            env.extend(tag.map(|name| ("CI_COMMIT_TAG", name.into())));
            if let Some(number) = change {
                env.push(("CI_MERGE_REQUEST_IID", number.to_string()));
                env.push(("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "dev".into()));
            }
        }
        "jenkins" => {
            env.push(("JENKINS_URL", "https://jenkins.test/".into()));
            env.push(("BUILD_TAG", "jenkins-app-1".into()));
            env.push(("GIT_COMMIT", SHA.into()));
            env.extend(branch.map(|name| ("BRANCH_NAME", name.into())));
            env.extend(tag.map(|name| ("TAG_NAME", name.into())));
            env.extend((branch == Some("main")).then(|| ("BRANCH_IS_PRIMARY", "true".into())));
            // Jenkins does not tell its timer from a push.
            env.extend(is_scheduled.then(|| ("LONGSHORE_CI_EVENT", "schedule".into())));
            if let Some(number) = change {
                env.push(("BRANCH_NAME", format!("PR-{number}")));
                env.push(("CHANGE_ID", number.to_string()));
                env.push(("CHANGE_TARGET", "dev".into()));
            }
        }
        _ => {
            env.push(("LONGSHORE_CI_SHA", SHA.into()));
            env.push(("LONGSHORE_CI_DEFAULT_BRANCH", "main".into()));
            env.extend(branch.map(|name| ("LONGSHORE_CI_REF", name.into())));
            env.extend(tag.map(|name| ("LONGSHORE_CI_REF", format!("refs/tags/{name}"))));
            env.extend(is_scheduled.then(|| ("LONGSHORE_CI_EVENT", "schedule".into())));
            if let Some(number) = change {
                env.push(("LONGSHORE_CI_REF", format!("refs/pull/{number}/merge")));
                env.push(("LONGSHORE_CI_EVENT", "pull_request".into()));
                env.push(("LONGSHORE_CI_BASE_REF", "dev".into()));
            }
        }
    }
    Around {
        env: env.into_iter().collect(),
        event: if system == "github" {
            event
        } else {
            serde_json::Value::Null
        },
        has_tekton: system == "tekton",
        now: NOW,
        random: "0".repeat(32),
        ..Around::default()
    }
}

#[test]
fn the_same_rules_give_the_same_tags_in_four_systems() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for system in ["github", "gitlab", "jenkins", "tekton"] {
        for (text, flavor_text, expect) in RULES {
            for (happened, expect) in HAPPENED.into_iter().zip(expect) {
                let around = around(system, happened);
                let ci = detect(&around).unwrap();
                assert_eq!(ci.name(), system);
                let facts = facts(ci, &around).for_metadata(NOW);
                let found = tags(&rules(text).unwrap(), &flavor(flavor_text).unwrap(), &facts)
                    .unwrap()
                    .tags
                    .join(" ");
                let expect = if *expect == "-" { "" } else { expect };
                if found != expect {
                    wrong.push(format!(
                        "{system} {happened:?} {text:?}: {found:?}, not {expect:?}"
                    ));
                }
                rows += 1;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {rows} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(rows >= 4 * 150, "{rows} rows");
}

#[test]
fn the_same_caches_are_used_in_four_systems() {
    for system in ["github", "gitlab", "jenkins", "tekton"] {
        for (happened, expect) in [
            (Happened::Push("main"), "refs/heads/main"),
            (Happened::Schedule("main"), "refs/heads/main"),
            (Happened::Push("a/b"), "refs/heads/a/b refs/heads/main"),
            (Happened::Tag("v1"), "refs/tags/v1 refs/heads/main"),
            (
                Happened::Change(42),
                "refs/pull/42/merge refs/heads/dev refs/heads/main",
            ),
        ] {
            let around = around(system, happened);
            let facts = facts(detect(&around).unwrap(), &around);
            let scopes = facts.cache_scopes();
            let found: Vec<&str> = scopes.iter().map(|scope| &*scope.value).collect();
            // Jenkins names the default branch only in a build of it.
            let is_known = system != "jenkins" || expect == "refs/heads/main";
            let expect = if is_known {
                expect
            } else {
                expect.trim_end_matches(" refs/heads/main")
            };
            assert_eq!(found.join(" "), expect, "{system} {happened:?}");
        }
    }
    assert_eq!(Facts::default().cache_scopes(), []);
}
