//! A `.git` directory that stays: enough for `git log`, `git describe` and `git status`, and no credential.

use std::io;
use std::path::Path;

use git2::{Index, IndexEntry, IndexTime, Oid};

use crate::rootfs::RelPath;

use super::fetch::Repository;
use super::objects::{EntryKind, TreeEntry};
use super::source::GitSource;

/// Writes it as a new directory.
pub(super) fn write(
    repository: &Repository,
    source: &GitSource,
    staged: &[(RelPath, TreeEntry)],
    git: &Path,
) -> io::Result<()> {
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        std::fs::create_dir_all(git.join(directory))?;
    }
    move_packs(
        &repository.objects.directory().join("pack"),
        &git.join("objects/pack"),
    )?;
    let commit = &repository.commit.id;
    let head = match &repository.reference {
        Some((name, object)) if is_kept(name) => {
            let file = git.join(name);
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(file, format!("{object}\n"))?;
            if name.starts_with("refs/heads/") {
                format!("ref: {name}\n")
            } else {
                format!("{commit}\n")
            }
        }
        Some(_) | None => format!("{commit}\n"),
    };
    std::fs::write(git.join("HEAD"), head)?;
    if !repository.shallow.is_empty() {
        let mut lines = repository.shallow.clone();
        lines.sort();
        std::fs::write(git.join("shallow"), lines.join("\n") + "\n")?;
    }
    std::fs::write(git.join("config"), config(&source.remote.to_string()))?;
    write_index(staged, &git.join("index")).map_err(|error| io::Error::other(error.to_string()))
}

/// Whether a reference gets a file of its own. Its parts have been checked where it was parsed; what a server calls its
/// default branch has not.
fn is_kept(name: &str) -> bool {
    (name.starts_with("refs/heads/") || name.starts_with("refs/tags/"))
        && super::source::reference_name(name).is_ok()
}

fn config(url: &str) -> String {
    let quoted = url.replace('\\', r"\\").replace('"', "\\\"");
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
         [remote \"origin\"]\n\turl = \"{quoted}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
}

fn move_packs(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if std::fs::rename(entry.path(), &target).is_err() {
            // On another file system.
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Writes an index that says of no file when it was changed, so that git looks for itself.
fn write_index(staged: &[(RelPath, TreeEntry)], file: &Path) -> Result<(), git2::Error> {
    let mut index = Index::open(file)?;
    for (path, entry) in staged {
        let mode = match entry.kind {
            EntryKind::File {
                is_executable: true,
            } => 0o100_755,
            EntryKind::File {
                is_executable: false,
            } => 0o100_644,
            EntryKind::Link => 0o120_000,
            EntryKind::Submodule => 0o160_000,
            EntryKind::Tree => continue,
        };
        index.add(&IndexEntry {
            ctime: IndexTime::new(0, 0),
            mtime: IndexTime::new(0, 0),
            dev: 0,
            ino: 0,
            mode,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: Oid::from_str(&entry.id)?,
            flags: 0,
            flags_extended: 0,
            path: path.as_bytes().to_vec(),
        })?;
    }
    index.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_cannot_add_settings() {
        let text = config("https://h/\"x\\");
        assert!(text.contains(r#"url = "https://h/\"x\\""#), "{text}");
    }

    #[test]
    fn references_of_a_server_stay_below_refs() {
        assert!(is_kept("refs/heads/a/b"));
        assert!(!is_kept("refs/heads/../../config"));
        assert!(!is_kept("refs/pull/1/head"));
    }
}
