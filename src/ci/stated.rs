//! What variables of our own say of the commit and the event, which wins over what a CI system says; and what the checkout says, which comes last.

use super::Around;
use super::facts::{Facts, Found};
use super::git::web;

/// What variables of our own say, else the checkout.
pub fn stated(around: &Around) -> Facts {
    let of_git = |value: Option<&String>| Some(Found::new(value?.as_str(), ".git"));
    let git = around.git.as_ref();
    let checkout = Facts {
        reference: git.and_then(|git| of_git(git.reference.as_ref())),
        sha: git.and_then(|git| of_git(git.sha.as_ref())),
        default_branch: git.and_then(|git| of_git(git.default_branch.as_ref())),
        url: git
            .and_then(|git| of_git(git.url.as_ref()))
            .filter(|found| !found.value.is_empty()),
        ..Facts::default()
    };
    own(around).or(checkout)
}

/// What variables of our own say, in every system.
pub(super) fn own(around: &Around) -> Facts {
    let env = &around.env;
    let variable = |name: &str| Some(Found::new(env.get(name)?, name));
    Facts {
        event: variable("LONGSHORE_CI_EVENT"),
        reference: variable("LONGSHORE_CI_REF").map(|found| Found {
            value: full(&found.value),
            ..found
        }),
        sha: variable("LONGSHORE_CI_SHA"),
        default_branch: variable("LONGSHORE_CI_DEFAULT_BRANCH"),
        base_ref: variable("LONGSHORE_CI_BASE_REF"),
        commit_time: variable("LONGSHORE_CI_COMMIT_TIME"),
        url: variable("LONGSHORE_CI_URL")
            .map(|found| Found {
                value: web(&found.value),
                ..found
            })
            .filter(|found| !found.value.is_empty()),
        title: variable("LONGSHORE_CI_TITLE"),
        build_url: variable("LONGSHORE_CI_BUILD_URL"),
        ..Facts::default()
    }
}

/// A branch's bare name as a full reference.
pub(super) fn full(reference: &str) -> String {
    if reference.starts_with("refs/") {
        reference.to_owned()
    } else {
        format!("refs/heads/{reference}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Env, by_name, defaults, facts, names};
    use super::*;

    #[test]
    fn what_is_stated_wins_in_every_system() {
        let stated = [
            ("LONGSHORE_CI_EVENT", "schedule"),
            ("LONGSHORE_CI_REF", "refs/heads/mine"),
            ("LONGSHORE_CI_SHA", "1234567"),
            ("LONGSHORE_CI_DEFAULT_BRANCH", "trunk"),
            ("LONGSHORE_CI_BASE_REF", "next"),
            ("LONGSHORE_CI_COMMIT_TIME", "7"),
            ("LONGSHORE_CI_URL", "https://git.test/mine"),
            ("LONGSHORE_CI_TITLE", "Mine"),
            ("LONGSHORE_CI_BUILD_URL", "https://ci.test/1"),
        ];
        // What each of the four says of its own; the other systems' tables are of the same kind.
        let told = "GITHUB_EVENT_NAME GITHUB_REF GITHUB_SHA CI_COMMIT_SHA CI_COMMIT_BRANCH CI_DEFAULT_BRANCH CI_PIPELINE_SOURCE \
            CI_PROJECT_URL CI_PROJECT_TITLE CI_JOB_URL BRANCH_NAME GIT_COMMIT GIT_URL JOB_NAME BUILD_URL CI_REGISTRY_IMAGE \
            CIRCLE_SHA1 CIRCLE_BRANCH BUILDKITE_COMMIT BUILDKITE_BRANCH DRONE_COMMIT_SHA DRONE_BRANCH BUILD_SOURCEVERSION";
        for name in names() {
            let ci = by_name(name).unwrap();
            let around = Around {
                env: told
                    .split_whitespace()
                    .map(|name| (name, "told"))
                    .chain(stated)
                    .chain([("LONGSHORE_CI_IMAGE", "r.test/mine")])
                    .collect::<Env>(),
                ..Around::default()
            };
            let found = facts(ci, &around);
            let table = found.table();
            for (variable, value) in stated {
                let is_there = |(_, found): &(&str, &Found)| found.source == variable;
                let fact = table.iter().copied().find(is_there);
                assert_eq!(fact.map(|(_, found)| &*found.value), Some(value), "{name}");
            }
            let image = defaults(ci, &around).image;
            assert_eq!(image, Some(Found::new("r.test/mine", "LONGSHORE_CI_IMAGE")));
        }
    }
}
