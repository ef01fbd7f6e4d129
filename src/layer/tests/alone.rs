//! Layers that are unpacked by themselves, and which cannot be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::layer::{Alone, ApplyOptions, Error, Limits, Owners, apply_alone};
use crate::oci::Digest;
use crate::rootfs::{Protected, Rootfs};

use super::builder::Archive;

fn alone(archive: Archive, to: &Path, expected: Option<&Digest>) -> Result<Option<Alone>, Error> {
    let bytes = archive.end();
    let none = Protected::none();
    let options = ApplyOptions {
        protected: &none,
        limits: Limits::default(),
        owners: Owners::Set,
        has_root_attributes: true,
    };
    apply_alone(&bytes[..], &Rootfs::open(to).unwrap(), &options, expected)
}

#[test]
fn what_depends_on_others_is_left_to_them() {
    let new = Archive::new;
    for (case, archive) in [
        ("a deletion", new().d("a").f("a/.wh.x", "")),
        ("all of a directory", new().d("a").f("a/.wh..wh..opq", "")),
        (
            "what aufs kept",
            new().d(".wh..wh.plnk").f(".wh..wh.plnk/1", ""),
        ),
        ("a directory of another", new().d("a").f("b/x", "")),
        ("a directory that comes late", new().f("a/x", "").d("a")),
        (
            "a way through a link",
            new().d("a").s("b", "a").f("b/x", ""),
        ),
        ("the root", new().d("./").f("x", "")),
        ("another's file", new().h("x", "y")),
        ("a file of another's directory", new().h("x", "a/y")),
        (
            "a file through a link",
            new().d("a").f("a/y", "").s("b", "a").h("x", "b/y"),
        ),
        ("a file that comes late", new().h("x", "y").f("y", "")),
        ("a file twice", new().f("x", "1").f("x", "2")),
        ("a file after a directory", new().d("x").f("x", "")),
        ("a directory after a file", new().f("x", "").d("x")),
        ("a link after a directory", new().d("x").s("x", "y")),
    ] {
        let to = tempfile::tempdir().unwrap();
        let answer = alone(archive, to.path(), None);
        assert!(matches!(answer, Ok(None)), "{case}: {answer:?}");
    }
}

#[test]
fn what_is_whole_by_itself_is_unpacked() {
    let archive = Archive::new()
        .d("a")
        .f("a/x", "1")
        .d("a")
        .h("a/y", "a/x")
        .s("b", "nowhere");
    let bytes = archive.clone().end();
    let to = tempfile::tempdir().unwrap();
    let wrong = alone(archive.clone(), to.path(), Some(&Digest::of(b"other")));
    assert!(matches!(wrong, Err(Error::DiffId { .. })), "{wrong:?}");
    let to = tempfile::tempdir().unwrap();
    let made = alone(archive, to.path(), Some(&Digest::of(&bytes)))
        .unwrap()
        .unwrap();
    assert_eq!(fs::read(to.path().join("a/y")).unwrap(), b"1");
    assert_eq!(
        fs::read_link(to.path().join("b")).unwrap(),
        Path::new("nowhere")
    );

    let below = tempfile::tempdir().unwrap();
    fs::create_dir(below.path().join("a")).unwrap();
    let below = Rootfs::open(below.path()).unwrap();
    let applied = made.onto(&below).expect("nothing in the way");
    assert_eq!(
        (applied.entries, applied.uncompressed),
        (5, bytes.len() as u64)
    );
}

#[test]
fn a_directory_keeps_the_attributes_that_it_has_below() {
    let below = tempfile::tempdir().unwrap();
    fs::create_dir(below.path().join("a")).unwrap();
    let rootfs = Rootfs::open(below.path()).unwrap();
    let path = crate::rootfs::RelPath::parse("a").unwrap();
    if rootfs.set_xattr(&path, b"user.kept", b"1").is_err() {
        eprintln!("SKIPPED: this file system has no attributes");
        return;
    }
    for (archive, is_unpacked) in [
        (Archive::new().d("a"), false),
        // In its place, or somewhere else, there is nothing to keep.
        (Archive::new().f("a", ""), true),
        (Archive::new().d("b"), true),
    ] {
        let to = tempfile::tempdir().unwrap();
        let made = alone(archive, to.path(), None).unwrap().unwrap();
        assert_eq!(made.onto(&rootfs).is_some(), is_unpacked);
    }
}

#[test]
fn what_cannot_be_looked_at_is_written_onto_the_others() {
    for (target, is_unpacked) in [("x", false), ("nowhere", true)] {
        let (below, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(target, below.path().join("x")).unwrap();
        let made = alone(Archive::new().d("x").d("x/y"), to.path(), None);
        let made = made.unwrap().unwrap();
        let below = Rootfs::open(below.path()).unwrap();
        assert_eq!(made.onto(&below).is_some(), is_unpacked, "{target}");
    }
}
