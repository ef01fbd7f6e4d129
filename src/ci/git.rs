//! What a checkout says of itself: `HEAD` and the references, out of git's files. No git is run and nothing else is read.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of references are read up to this size, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Where a checkout stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The full reference, unless the checkout is detached and nothing names its commit.
    pub reference: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// What the remote calls its default branch.
    pub default_branch: Option<String>,
    /// The remote's address, without anything secret in it.
    pub url: Option<String>,
}

/// Reads the checkout that `directory` is in.
pub fn head(directory: &Path) -> Option<Head> {
    let git = git_directory(directory)?;
    let text = read(&git.join("HEAD"))?;
    let packed = packed(&git);
    let mut head = Head {
        default_branch: read(&git.join("refs/remotes/origin/HEAD")).and_then(|text| {
            text.strip_prefix("ref: refs/remotes/origin/")
                .map(str::to_owned)
        }),
        url: read(&git.join("config")).and_then(|text| origin(&text)),
        ..Head::default()
    };
    match text.strip_prefix("ref: ") {
        Some(reference) => {
            let reference = reference.trim().to_owned();
            let loose = is_plain(&reference)
                .then(|| read(&git.join(&reference)))
                .flatten();
            head.sha = loose
                .or_else(|| {
                    Some(
                        packed
                            .iter()
                            .find(|(_, name)| *name == reference)?
                            .0
                            .clone(),
                    )
                })
                .filter(|sha| is_sha(sha));
            head.reference = Some(reference);
        }
        None if is_sha(&text) => {
            head.reference = naming(&git, &packed, &text);
            head.sha = Some(text);
        }
        None => {}
    }
    Some(head)
}

/// What names a commit: a tag, then a remote's branch.
fn naming(git: &Path, packed: &[(String, String)], sha: &str) -> Option<String> {
    let mut all: Vec<(String, String)> = packed.to_vec();
    for below in ["refs/tags", "refs/remotes/origin"] {
        for entry in fs::read_dir(git.join(below))
            .ok()
            .into_iter()
            .flatten()
            .flatten()
        {
            if let (Some(found), Some(name)) = (read(&entry.path()), entry.file_name().to_str()) {
                all.push((found, format!("{below}/{name}")));
            }
        }
    }
    all.sort_by(|a, b| a.1.cmp(&b.1));
    let named = |prefix: &str| {
        let fits = |(found, name): &&(String, String)| {
            found == sha && name.starts_with(prefix) && !name.ends_with("/HEAD")
        };
        all.iter().find(fits).map(|(_, name)| name.clone())
    };
    named("refs/tags/").or_else(|| {
        let name = named("refs/remotes/origin/")?;
        Some(name.replace("refs/remotes/origin/", "refs/heads/"))
    })
}

fn git_directory(directory: &Path) -> Option<PathBuf> {
    let found = directory
        .ancestors()
        .map(|above| above.join(".git"))
        .find(|path| path.exists())?;
    if found.is_dir() {
        return Some(found);
    }
    // A worktree or submodule: a file that names the directory.
    let text = read(&found)?;
    Some(found.parent()?.join(text.strip_prefix("gitdir: ")?))
}

fn packed(git: &Path) -> Vec<(String, String)> {
    let text = read(&git.join("packed-refs")).unwrap_or_default();
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix('^'), line.split_once(' ')) {
            // The commit that an annotated tag stands for.
            (Some(peeled), _) => {
                if let Some(last) = found.last_mut() {
                    peeled.clone_into(&mut last.0);
                }
            }
            (None, Some((sha, name))) if is_sha(sha) => {
                found.push((sha.to_owned(), name.to_owned()));
            }
            (None, _) => {}
        }
    }
    found
}

/// The address of `origin`, user and password taken out.
fn origin(config: &str) -> Option<String> {
    let mut is_origin = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            is_origin = line == "[remote \"origin\"]";
        } else if let Some(("url", value)) = line
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            && is_origin
        {
            return Some(web(value));
        }
    }
    None
}

/// A clone's address as a page's: no user, no password, no `.git`.
pub fn web(url: &str) -> String {
    let url = url.strip_suffix(".git").unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest
                .split_once('/')
                .map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let scheme = if scheme == "http" { "http" } else { "https" };
            let path = path.map(|path| format!("/{path}")).unwrap_or_default();
            let host = if matches!(scheme, "https") && url.starts_with("ssh") {
                host.split(':').next().unwrap_or(host)
            } else {
                host
            };
            format!("{scheme}://{host}{path}")
        }
        // git@host:path
        None => match url.split_once(':') {
            Some((host, path)) if !url.starts_with('/') => {
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                format!("https://{host}/{path}")
            }
            _ => String::new(),
        },
    }
}

fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return None;
    }
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

/// Whether a reference's name stays below git's directory.
fn is_plain(reference: &str) -> bool {
    reference.starts_with("refs/") && !reference.split('/').any(|part| part == "..")
}

fn is_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(".git").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn a_branch_a_tag_and_a_detached_commit() {
        let branch = checkout(&[
            ("HEAD", "ref: refs/heads/topic/a\n"),
            ("refs/heads/topic/a", ONE),
            (
                "refs/remotes/origin/HEAD",
                "ref: refs/remotes/origin/main\n",
            ),
            (
                "config",
                "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://u:secret@git.test/a/b.git\n",
            ),
        ]);
        let found = head(branch.path()).unwrap();
        assert_eq!(found.reference.as_deref(), Some("refs/heads/topic/a"));
        assert_eq!(found.sha.as_deref(), Some(ONE));
        assert_eq!(found.default_branch.as_deref(), Some("main"));
        assert_eq!(found.url.as_deref(), Some("https://git.test/a/b"));
        let packed =
            format!("# pack-refs\n{TWO} refs/tags/v1\n^{ONE}\n{ONE} refs/remotes/origin/main\n");
        let tag = checkout(&[("HEAD", ONE), ("packed-refs", &packed)]);
        assert_eq!(
            head(tag.path()).unwrap().reference.as_deref(),
            Some("refs/tags/v1")
        );
        let loose = checkout(&[("HEAD", ONE), ("refs/remotes/origin/dev", ONE)]);
        assert_eq!(
            head(loose.path()).unwrap().reference.as_deref(),
            Some("refs/heads/dev")
        );
        let alone = checkout(&[("HEAD", ONE)]);
        let expect = Head {
            sha: Some(ONE.to_owned()),
            ..Head::default()
        };
        assert_eq!(head(alone.path()).unwrap(), expect);
    }

    #[test]
    fn odd_files_are_not_followed() {
        let outside = checkout(&[("HEAD", "ref: refs/../../secret"), ("config", "x")]);
        fs::write(outside.path().join("secret"), ONE).unwrap();
        assert_eq!(head(outside.path()).unwrap().sha, None);
        assert_eq!(
            head(checkout(&[("HEAD", "nonsense")]).path()).unwrap(),
            Head::default()
        );
    }

    #[test]
    fn addresses_lose_what_is_secret() {
        for (url, expect) in [
            (
                "https://gitlab-ci-token:abc@git.test/a/b.git",
                "https://git.test/a/b",
            ),
            ("git@github.com:acme/app.git", "https://github.com/acme/app"),
            ("ssh://git@git.test:2222/a/b.git", "https://git.test/a/b"),
            ("http://git.test:8080/a", "http://git.test:8080/a"),
            ("/srv/git/a.git", ""),
        ] {
            assert_eq!(web(url), expect, "{url}");
        }
    }
}
