//! How a registry may be written in a configuration file.

use crate::oci::DOCKER_HUB;

/// The key under which Docker keeps the credential of Docker Hub, and the name it tells helpers.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Other names of Docker Hub.
const DOCKER_HUB_NAMES: [&str; 3] = [
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];

/// Gives the names of a registry beside its own.
pub(super) fn aliases(registry: &str) -> impl Iterator<Item = &'static str> {
    let is_hub = registry == DOCKER_HUB;
    DOCKER_HUB_NAMES.into_iter().filter(move |_| is_hub)
}

/// Gives the server name to ask a helper about.
pub(super) fn helper_server(registry: &str) -> &str {
    if registry == DOCKER_HUB {
        DOCKER_HUB_KEY
    } else {
        registry
    }
}

/// Reduces a key of a configuration file to `host[:port][/path]`: scheme, `/v1/`, `/v2/` and final slashes go, and
/// Docker Hub gets its one name.
pub fn normalize(key: &str) -> String {
    let key = key.trim();
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let rest = rest.trim_end_matches('/');
    let rest = rest
        .strip_suffix("/v1")
        .or_else(|| rest.strip_suffix("/v2"))
        .unwrap_or(rest);
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, ""), |(host, path)| (host, path));
    let host = host.to_ascii_lowercase();
    let host = if DOCKER_HUB_NAMES.contains(&host.as_str()) {
        DOCKER_HUB.to_owned()
    } else {
        host
    };
    if path.is_empty() {
        host
    } else {
        format!("{host}/{path}")
    }
}

/// Gives the keys that cover a repository, the most exact first: `h/a/b`, `h/a`, `h`.
pub(super) fn scopes(registry: &str, repository: &str) -> Vec<String> {
    let mut scope = format!("{}/{repository}", registry.to_ascii_lowercase());
    let mut found = vec![scope.clone()];
    while let Some(cut) = scope.rfind('/') {
        scope.truncate(cut);
        found.push(scope.clone());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_normalized() {
        let check = |key: &str, expect: &str| assert_eq!(normalize(key), expect, "{key}");
        check("https://index.docker.io/v1/", "docker.io");
        check("index.docker.io", "docker.io");
        check("registry-1.docker.io", "docker.io");
        check("https://GHCR.io", "ghcr.io");
        check("ghcr.io/Org/Repo/", "ghcr.io/Org/Repo");
        check("http://localhost:5000/v2/", "localhost:5000");
        check("reg.io.evil.com", "reg.io.evil.com");
    }

    #[test]
    fn scopes_go_from_exact_to_host() {
        assert_eq!(scopes("h:1", "a/b"), ["h:1/a/b", "h:1/a", "h:1"]);
    }
}
