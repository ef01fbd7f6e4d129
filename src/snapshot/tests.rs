use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType as NodeType, Mode, XattrFlags};

use super::*;
use crate::rootfs::{Protected, RelPath, Rootfs};

fn options(contents: Contents, previous: Option<&Index>) -> ScanOptions<'_> {
    ScanOptions {
        threads: NonZeroUsize::new(2).unwrap(),
        contents,
        previous,
    }
}

fn scan(root: &Path, contents: Contents, previous: Option<&Index>) -> Index {
    let rootfs = Rootfs::open(root).unwrap();
    Index::scan(&rootfs, &Protected::none(), options(contents, previous)).unwrap()
}

/// Shows changes as `A path`, parents left out.
fn shown(changes: &Changes) -> Vec<String> {
    let letter = |kind| match kind {
        ChangeKind::Added => Some('A'),
        ChangeKind::Modified => Some('M'),
        ChangeKind::Deleted => Some('D'),
        ChangeKind::Parent => None,
    };
    changes
        .iter()
        .filter_map(|c| Some(format!("{} {}", letter(c.kind)?, c.path)))
        .collect()
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("etc/conf.d")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("etc/passwd"), "root").unwrap();
    fs::write(root.join("etc/conf.d/a"), "a").unwrap();
    fs::write(root.join("usr/bin/tool"), "tool").unwrap();
    fs::write(root.join("usr/bin/other"), "other").unwrap();
    symlink("tool", root.join("usr/bin/link")).unwrap();
    for file in [
        "etc/passwd",
        "etc/conf.d/a",
        "usr/bin/tool",
        "usr/bin/other",
    ] {
        set_mtime(&root.join(file), 1_000_000);
    }
}

fn set_mtime(path: &Path, secs: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

type Act = fn(&Path);

#[test]
fn an_index_tells_every_change() {
    let cases: Vec<(&str, Act, &[&str])> = vec![
        ("nothing", |_| {}, &[]),
        (
            "add",
            |r| fs::write(r.join("etc/new"), "").unwrap(),
            &["A /etc/new"],
        ),
        (
            "add and remove",
            |r| {
                fs::write(r.join("etc/new"), "").unwrap();
                fs::remove_file(r.join("etc/new")).unwrap();
            },
            &[],
        ),
        (
            "add a tree",
            |r| {
                fs::create_dir_all(r.join("opt/x")).unwrap();
                fs::write(r.join("opt/x/y"), "").unwrap();
            },
            &["A /opt", "A /opt/x", "A /opt/x/y"],
        ),
        (
            "delete a tree",
            |r| fs::remove_dir_all(r.join("etc")).unwrap(),
            &["D /etc"],
        ),
        (
            "write",
            |r| fs::write(r.join("etc/passwd"), "r00t").unwrap(),
            &["M /etc/passwd"],
        ),
        (
            "write and give the time back",
            |r| {
                fs::write(r.join("etc/passwd"), "r00t").unwrap();
                set_mtime(&r.join("etc/passwd"), 1_000_000);
            },
            &["M /etc/passwd"],
        ),
        (
            "touch",
            |r| set_mtime(&r.join("etc/passwd"), 2_000_000),
            &["M /etc/passwd"],
        ),
        (
            "chmod",
            |r| {
                fs::set_permissions(r.join("etc/passwd"), fs::Permissions::from_mode(0o600))
                    .unwrap();
            },
            &["M /etc/passwd"],
        ),
        (
            "chmod a directory",
            |r| fs::set_permissions(r.join("etc"), fs::Permissions::from_mode(0o700)).unwrap(),
            &["M /etc"],
        ),
        (
            "chmod to the same",
            |r| {
                let mode = fs::metadata(r.join("etc/passwd")).unwrap().permissions();
                fs::set_permissions(r.join("etc/passwd"), mode).unwrap();
            },
            &[],
        ),
        (
            "chown to the same",
            |r| {
                for name in ["etc", "etc/passwd", "usr/bin/link"] {
                    let stat = fs::symlink_metadata(r.join(name)).unwrap();
                    std::os::unix::fs::lchown(r.join(name), Some(stat.uid()), Some(stat.gid()))
                        .unwrap();
                }
            },
            &[],
        ),
        (
            "open for writing",
            |r| {
                drop(
                    fs::File::options()
                        .write(true)
                        .open(r.join("etc/passwd"))
                        .unwrap(),
                );
            },
            &[],
        ),
        (
            "rename and back",
            |r| {
                fs::rename(r.join("etc"), r.join("x")).unwrap();
                fs::rename(r.join("x"), r.join("etc")).unwrap();
                fs::rename(r.join("usr/bin/tool"), r.join("x")).unwrap();
                fs::rename(r.join("x"), r.join("usr/bin/tool")).unwrap();
            },
            &[],
        ),
        (
            "rename",
            |r| fs::rename(r.join("etc/conf.d"), r.join("conf")).unwrap(),
            &["A /conf", "A /conf/a", "D /etc/conf.d"],
        ),
        (
            "link",
            |r| fs::hard_link(r.join("etc/passwd"), r.join("etc/p2")).unwrap(),
            &["A /etc/p2"],
        ),
        (
            "replace with the same",
            |r| {
                fs::remove_file(r.join("etc/passwd")).unwrap();
                fs::write(r.join("etc/passwd"), "root").unwrap();
                set_mtime(&r.join("etc/passwd"), 1_000_000);
            },
            &[],
        ),
        (
            "turn a link",
            |r| {
                fs::remove_file(r.join("usr/bin/link")).unwrap();
                symlink("loot", r.join("usr/bin/link")).unwrap();
            },
            &["M /usr/bin/link"],
        ),
        (
            "file to directory",
            |r| {
                fs::remove_file(r.join("etc/passwd")).unwrap();
                fs::create_dir(r.join("etc/passwd")).unwrap();
                fs::write(r.join("etc/passwd/x"), "").unwrap();
            },
            &["M /etc/passwd", "A /etc/passwd/x"],
        ),
        (
            "directory to file",
            |r| {
                fs::remove_dir_all(r.join("etc")).unwrap();
                fs::write(r.join("etc"), "").unwrap();
            },
            &["M /etc"],
        ),
    ];
    for (name, act, expect) in cases {
        let root = tempfile::tempdir().unwrap();
        tree(root.path());
        let before = scan(root.path(), Contents::All, None);
        act(root.path());
        let after = scan(root.path(), Contents::All, Some(&before));
        assert_eq!(shown(&after.changes_since(&before)), expect, "{name}");
        let again = scan(root.path(), Contents::All, Some(&after));
        assert!(
            again.changes_since(&after).is_empty(),
            "{name}: a tree differs from itself"
        );
    }
}

#[test]
fn without_hashes_doubt_is_a_change() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    let before = scan(root.path(), Contents::WhereCtimeLies, None);
    let mode = fs::metadata(root.path().join("etc/passwd"))
        .unwrap()
        .permissions();
    fs::set_permissions(root.path().join("etc/passwd"), mode).unwrap();
    let after = scan(root.path(), Contents::WhereCtimeLies, Some(&before));
    let changes = shown(&after.changes_since(&before));
    // Where ctime lies (tmpfs) contents are hashed, so there is no doubt.
    assert!(
        changes == ["M /etc/passwd"] || changes.is_empty(),
        "{changes:?}"
    );
}

#[test]
fn rapid_writes_are_all_seen() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("f");
    fs::write(&file, "0").unwrap();
    let mut before = scan(root.path(), Contents::WhereCtimeLies, None);
    for round in 0..50 {
        fs::write(&file, (round % 10).to_string()).unwrap();
        set_mtime(&file, 5);
        let after = scan(root.path(), Contents::WhereCtimeLies, Some(&before));
        let changes = after.changes_since(&before);
        assert!(
            !changes.is_empty() || round == 0,
            "round {round} was not seen"
        );
        before = after;
    }
}

#[test]
fn attributes_are_changes() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    let before = scan(root.path(), Contents::All, None);
    let set = |name: &str| {
        rustix::fs::setxattr(root.path().join(name), "user.k", b"v", XattrFlags::empty())
    };
    if let Err(error) = set("etc/passwd") {
        eprintln!("skipped: this file system keeps no user attributes: {error}");
        return;
    }
    set("usr").unwrap();
    let after = scan(root.path(), Contents::All, Some(&before));
    assert_eq!(
        shown(&after.changes_since(&before)),
        ["M /etc/passwd", "M /usr"]
    );
    rustix::fs::removexattr(root.path().join("usr"), "user.k").unwrap();
    let last = scan(root.path(), Contents::All, Some(&after));
    assert_eq!(shown(&last.changes_since(&after)), ["M /usr"]);
}

#[test]
fn what_is_protected_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    tree(root.path());
    let rootfs = Rootfs::open(root.path()).unwrap();
    let protected: Protected = ["etc/conf.d", "usr/bin/tool"]
        .map(|p| RelPath::parse(p).unwrap())
        .into_iter()
        .collect();
    let before = Index::scan(&rootfs, &protected, options(Contents::All, None)).unwrap();
    fs::write(root.path().join("etc/conf.d/new"), "").unwrap();
    fs::remove_file(root.path().join("usr/bin/tool")).unwrap();
    let after = Index::scan(&rootfs, &protected, options(Contents::All, Some(&before))).unwrap();
    assert!(after.changes_since(&before).is_empty());
}

/// Writes what overlayfs would write for a deletion.
fn whiteout(at: &Path) -> bool {
    match rustix::fs::mknodat(CWD, at, NodeType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: whiteouts cannot be made here: {error}");
            false
        }
    }
}

#[test]
fn an_upper_directory_is_read_as_overlayfs_means_it() {
    let (base, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (b, u) = (base.path(), upper.path());
    tree(b);
    fs::create_dir_all(b.join("srv/data/deep")).unwrap();
    fs::write(b.join("srv/data/old"), "").unwrap();
    fs::write(b.join("srv/data/same"), "s").unwrap();
    fs::create_dir_all(b.join("mounted")).unwrap();
    // A directory that is only a parent, a copied-up file that is what it was, a changed one, a new one.
    fs::create_dir_all(u.join("etc/conf.d")).unwrap();
    fs::write(u.join("etc/passwd"), "root").unwrap();
    set_mtime(&u.join("etc/passwd"), 1_000_000);
    fs::write(u.join("etc/conf.d/a"), "b").unwrap();
    set_mtime(&u.join("etc/conf.d/a"), 1_000_000);
    fs::write(u.join("etc/new"), "").unwrap();
    fs::create_dir_all(u.join("mounted")).unwrap();
    fs::write(u.join("mounted/x"), "").unwrap();
    fs::create_dir_all(u.join("usr/bin")).unwrap();
    if !whiteout(&u.join("usr/bin/tool")) || !whiteout(&u.join("usr/bin/never")) {
        return;
    }
    // An opaque directory with one of the base's files made anew.
    fs::create_dir_all(u.join("srv/data")).unwrap();
    fs::write(u.join("srv/data/same"), "S").unwrap();
    let mut expect = vec![
        "M /etc/conf.d/a",
        "A /etc/new",
        "M /srv/data/same",
        "D /usr/bin/tool",
    ];
    match rustix::fs::setxattr(
        u.join("srv/data"),
        "user.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    ) {
        Ok(()) => expect.splice(2..2, ["D /srv/data/deep"]).for_each(drop),
        Err(error) => eprintln!("skipped the opaque mark: {error}"),
    }
    if expect.len() == 5 {
        expect.insert(3, "D /srv/data/old");
    }
    let protected: Protected = [RelPath::parse("mounted").unwrap()].into_iter().collect();
    let (upper, base) = (Rootfs::open(u).unwrap(), Rootfs::open(b).unwrap());
    let changes = from_upper(&upper, &base, &protected).unwrap();
    assert_eq!(shown(&changes), expect);
    let parents: Vec<_> = changes
        .iter()
        .filter(|c| c.kind == ChangeKind::Parent)
        .map(|c| c.path.to_string())
        .collect();
    assert_eq!(
        parents,
        [
            "/etc",
            "/etc/conf.d",
            "/srv",
            "/srv/data",
            "/usr",
            "/usr/bin"
        ]
    );
}
