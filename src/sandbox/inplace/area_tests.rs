//! Kills at every step, on a directory in the place of `/`.

use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Every path with what it is, except our own directory.
fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut picture = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = match () {
            () if found.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            () if found.is_file() => fs::read_to_string(&path).unwrap(),
            () => {
                pending.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path())
                        .filter(|path| !path.ends_with(DIRECTORY)),
                );
                format!("directory of {}.{:09}", found.mtime(), found.mtime_nsec())
            }
        };
        let name = path.strip_prefix(root).unwrap().to_owned();
        picture.insert(
            name,
            format!(
                "{:o} {}:{} {content}",
                found.mode(),
                found.uid(),
                found.gid()
            ),
        );
    }
    picture
}

fn container(root: &Path) {
    for (path, mode) in [
        ("etc", 0o755),
        ("etc/ssl", 0o750),
        ("var/run/secrets/token", 0o711),
        ("proc", 0o555),
        ("longshore", 0o755),
        ("srv/context", 0o700),
        ("tmp", 0o1777),
    ] {
        fs::create_dir_all(root.join(path)).unwrap();
        fs::set_permissions(root.join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    for path in [
        "etc/hosts",
        "etc/passwd",
        "etc/ssl/ca.pem",
        "var/run/secrets/token/t",
        "var/run/x",
        "longshore/longshore",
        "proc/1",
        "srv/context/Dockerfile",
        "srv/other",
    ] {
        fs::write(root.join(path), path).unwrap();
    }
    symlink("busybox/sh", root.join("sh")).unwrap();
    for (age, path) in [
        "etc/ssl",
        "etc",
        "var/run/secrets",
        "var/run",
        "var",
        "tmp",
        "srv",
        ".",
    ]
    .iter()
    .enumerate()
    {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000 + age as u64, 123);
        fs::File::open(root.join(path))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
}

fn open(root: &Path, hook: Arc<Hook>) -> Result<Area, SandboxError> {
    open_keeping(root, &["srv/context"], hook)
}

fn open_keeping(root: &Path, keep: &[&str], hook: Arc<Hook>) -> Result<Area, SandboxError> {
    let fd = OwnedFd::from(fs::File::open(root).unwrap());
    let fixed = [
        DIRECTORY,
        "proc",
        "etc/hosts",
        "var/run/secrets/token",
        "longshore",
    ]
    .map(PathBuf::from);
    let keep: Vec<_> = keep.iter().map(PathBuf::from).collect();
    Area::open(fd, root, &fixed, &keep, hook)
}

fn harmless() -> Arc<Hook> {
    Arc::new(|_, _| Ok(()))
}

/// A build of two stages, the second on a copy of nothing; what the first one leaves is looked at.
fn build(area: &Area) -> Result<(), SandboxError> {
    let first = area.make_tree()?;
    let tree = area.tree_path(first);
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("etc/hosts"), "the stage's own").unwrap();
    fs::write(tree.join("etc/os-release"), "stage").unwrap();
    fs::set_permissions(tree.join("etc"), PermissionsExt::from_mode(0o700)).unwrap();
    // `/var/run` is a link in the stage, and pinned by a mount at the root.
    fs::create_dir(tree.join("var")).unwrap();
    symlink("/run", tree.join("var/run")).unwrap();
    let before = picture(&tree);
    area.install(first)?;
    let root = area.root_path();
    assert!(root.join("srv/context/Dockerfile").exists() && !root.join("srv/other").exists());
    assert_eq!(
        fs::read_to_string(root.join("etc/hosts")).unwrap(),
        "etc/hosts",
        "mounts stay"
    );
    assert_eq!(
        fs::read_to_string(root.join("etc/os-release")).unwrap(),
        "stage"
    );
    assert_eq!(
        fs::metadata(root.join("etc")).unwrap().mode() & 0o777,
        0o700
    );
    assert!(
        !root.join("etc/passwd").exists()
            && !root.join("sh").is_symlink()
            && !root.join("var/run/x").exists()
    );
    fs::write(root.join("made"), "by a command").unwrap();
    fs::write(root.join("var/run/behind"), "a mount").unwrap();
    let second = area.make_tree()?;
    area.install(second)?;
    assert!(
        !root.join("made").exists()
            && !root.join("var/run/behind").exists()
            && !root.join("usr").exists()
    );
    let mut after = picture(&tree);
    assert!(after.remove(Path::new("made")).is_some());
    let (root_before, root_after) = (
        before.get(Path::new("")),
        after.insert(PathBuf::new(), before[Path::new("")].clone()),
    );
    assert_ne!(
        root_before,
        root_after.as_ref(),
        "a new entry changes its directory"
    );
    assert_eq!(after, before);
    fs::create_dir(root.join("etc/made")).unwrap();
    area.uninstall(second)?;
    assert!(area.tree_path(second).join("etc/made").is_dir());
    area.install(second)
}

#[test]
fn everything_is_put_back() {
    let root = tempfile::tempdir().unwrap();
    container(root.path());
    let before = picture(root.path());
    let area = open(root.path(), harmless()).unwrap();
    build(&area).unwrap();
    area.close().unwrap();
    drop(area);
    let mut after = picture(root.path());
    // Our own directory came and went.
    after.insert(PathBuf::new(), before[Path::new("")].clone());
    assert_eq!(after, before);
    assert!(!root.path().join(DIRECTORY).exists());
}

/// Fails at the `nth` change, and at every later one, as a killed process would make none.
fn killed_at(nth: usize) -> Arc<Hook> {
    let count = AtomicUsize::new(0);
    Arc::new(move |_, _| {
        if count.fetch_add(1, Ordering::Relaxed) < nth {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    })
}

#[test]
fn a_kill_at_any_step_loses_nothing() {
    for nth in 0.. {
        let root = tempfile::tempdir().unwrap();
        container(root.path());
        let before = picture(root.path());
        let area = open(root.path(), killed_at(nth)).unwrap();
        let finished = build(&area).and_then(|()| area.close()).is_ok();
        drop(area);
        if finished {
            assert!(nth > 30, "only {nth} steps were cut");
            return;
        }
        // The recovery is killed as well, at each of its own steps.
        for again in 0.. {
            match open_keeping(root.path(), &[], killed_at(again)).and_then(|area| area.close()) {
                Ok(()) => break,
                // Enough for every step that a recovery has.
                Err(error) => assert!(
                    again < 100,
                    "killed at step {nth}, and never put right: {error}"
                ),
            }
        }
        let mut after = picture(root.path());
        after.insert(PathBuf::new(), before[Path::new("")].clone());
        assert_eq!(after, before, "killed at step {nth}");
        assert!(!root.path().join(DIRECTORY).exists());
    }
}

#[test]
fn one_build_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let _first = open(root.path(), harmless()).unwrap();
    assert!(matches!(
        open(root.path(), harmless()),
        Err(SandboxError::Refused { .. })
    ));
}

#[test]
fn a_journal_that_makes_no_sense_stops_us() {
    for text in ["", "{}", r#"{"version":2,"occupant":"Original"}"#] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(DIRECTORY)).unwrap();
        fs::write(root.path().join(DIRECTORY).join("journal"), text).unwrap();
        assert!(
            matches!(
                open(root.path(), harmless()),
                Err(SandboxError::Journal { .. })
            ),
            "{text}"
        );
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(DIRECTORY).join("original/etc")).unwrap();
    assert!(matches!(
        open(root.path(), harmless()),
        Err(SandboxError::Journal { .. })
    ));
}

#[test]
fn a_build_that_was_killed_before_its_first_command_leaves_room() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    container(root);
    let below = |root: &Path| picture(root).split_off(Path::new("e"));
    let before = below(root);
    for _ in 0..2 {
        let area = open(root, harmless()).unwrap();
        let number = area.make_tree().unwrap();
        fs::write(area.tree_path(number).join("copied"), "copied").unwrap();
        assert_eq!(below(root), before);
    }
    open(root, harmless()).unwrap().close().unwrap();
    assert!(!root.join(DIRECTORY).exists());
    assert_eq!(below(root), before);
}

#[test]
fn what_a_build_puts_behind_a_mount_is_found_and_what_a_base_has_there_is_not() {
    use super::super::hidden::Hidden;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    container(root);
    let area = open(root, harmless()).unwrap();
    let number = area.make_tree().unwrap();
    let tree = area.tree_path(number);
    let behind = tree.join("var/run/secrets/token");
    fs::create_dir_all(tree.join("proc/7")).unwrap();
    fs::create_dir_all(&behind).unwrap();
    let nothing = Hidden::of(&tree, &area).unwrap();
    nothing.check(&tree, &area).unwrap();
    fs::write(behind.join("base"), "1").unwrap();
    assert!(nothing.check(&tree, &area).is_err());
    let base = Hidden::of(&tree, &area).unwrap();
    area.install(number).unwrap();
    base.check(&tree, &area).unwrap();
    area.uninstall(number).unwrap();
    base.check(&tree, &area).unwrap();
    for (path, is_directory) in [("own", false), ("deep/empty", true)] {
        if is_directory {
            fs::create_dir_all(behind.join(path)).unwrap();
        } else {
            fs::write(behind.join(path), "2").unwrap();
        }
        let error = base.check(&tree, &area).unwrap_err().to_string();
        assert!(
            error.contains(&format!("/var/run/secrets/token/{path}, which"))
                && error.contains(": /var/run/secrets/token is a mount"),
            "{error}"
        );
        fs::remove_dir_all(behind.join("deep")).unwrap_or_default();
        fs::remove_file(behind.join("own")).unwrap_or_default();
    }
    base.check(&tree, &area).unwrap();
    // What a link leads to is not the stage's.
    let second = area.tree_path(area.make_tree().unwrap());
    fs::create_dir_all(second.join("var")).unwrap();
    symlink(tree.join("var/run"), second.join("var/run")).unwrap();
    Hidden::default().check(&second, &area).unwrap();
    fs::write(behind.join("base"), "changed").unwrap();
    assert!(base.check(&tree, &area).is_err());
    area.close().unwrap();
}
