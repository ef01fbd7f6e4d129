//! Build arguments that BuildKit's frontend takes as settings.
//!
//! Those that mean something here are read where they mean it: `BUILDKIT_DOCKERFILE_CHECK` by the checks,
//! `BUILDKIT_CONTEXT_KEEP_GIT_DIR` by contexts of git, `BUILDKIT_CACHE_MOUNT_NS` by cache mounts, `BUILDKIT_SANDBOX_HOSTNAME` by
//! commands. None of the others is passed over in silence.

use super::environment::build_args;
use super::{Options, PlanWarning};

/// Stands before the ids of cache mounts.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";
/// Asks for an index even of one platform, which no build of one image can make.
pub const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";
/// The host name that commands see.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// Names the frontend.
const SYNTAX: &str = "BUILDKIT_SYNTAX";

/// Settings that have a meaning here.
const MEANT: [&str; 5] = [
    CACHE_NAMESPACE,
    HOSTNAME,
    MULTI_PLATFORM,
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
];

/// Settings that have none, and what to do instead.
const WITHOUT_EFFECT: [(&str, &str); 4] = [
    (
        "BUILDKIT_INLINE_CACHE",
        "layers are remembered with --cache and --cache-repo",
    ),
    (
        "BUILDKIT_BUILD_NAME",
        "there is no history of builds that would show it",
    ),
    (
        "BUILDKIT_SBOM_SCAN_CONTEXT",
        "no bill of materials is made here: scan the image when it is pushed",
    ),
    (
        "BUILDKIT_SBOM_SCAN_STAGE",
        "no bill of materials is made here: scan the image when it is pushed",
    ),
];

/// Whether BuildKit knows a build argument without an ARG that names it.
pub(super) fn is_known(name: &str) -> bool {
    name == SYNTAX
        || MEANT.contains(&name)
        || WITHOUT_EFFECT.iter().any(|(known, _)| *known == name)
}

/// The settings that were given and do nothing.
pub(super) fn without_effect(options: &Options) -> Vec<PlanWarning> {
    let given = build_args(options);
    let is_off = |value: &str| ["", "0", "f", "F", "false", "FALSE", "False"].contains(&value);
    let mut found: Vec<PlanWarning> = WITHOUT_EFFECT
        .iter()
        .filter(|(name, _)| given.get(name).is_some_and(|value| !is_off(value)))
        .map(|(name, instead)| PlanWarning::WithoutEffect { name, instead })
        .collect();
    if given.get(SYNTAX).is_some_and(|value| is_foreign(value)) {
        found.push(PlanWarning::WithoutEffect {
            name: SYNTAX,
            instead: "longshore reads the Dockerfile itself, as docker/dockerfile would",
        });
    }
    found
}

/// Whether a frontend is another one than Docker's own.
fn is_foreign(frontend: &str) -> bool {
    let image = frontend.split(' ').next().unwrap_or_default();
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let name = name.split(['@', ':']).next().unwrap_or(name);
    !matches!(
        name,
        "" | "dockerfile.v0" | "docker/dockerfile" | "docker/dockerfile-upstream"
    )
}

/// The id of a cache mount.
pub(super) fn cache_id(options: &Options, id: String) -> String {
    match build_args(options).get(CACHE_NAMESPACE) {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{id}"),
        Some(_) | None => id,
    }
}

/// The host name that commands see, if one was given.
pub(super) fn hostname(options: &Options) -> Option<String> {
    let given = build_args(options).get(HOSTNAME).copied();
    given.filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends_of_docker_are_ours() {
        for (frontend, expect) in [
            ("dockerfile.v0", false),
            ("docker/dockerfile:1", false),
            ("docker.io/docker/dockerfile:1.7@sha256:x", false),
            ("docker/dockerfile-upstream:master", false),
            ("", false),
            ("example.com/frontend", true),
            ("docker/other:1", true),
        ] {
            assert_eq!(is_foreign(frontend), expect, "{frontend}");
        }
    }
}
