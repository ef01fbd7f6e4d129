//! Values at the ends of their ranges, and more of something than a file system takes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::builder::{Archive, Scene};
use super::*;

/// VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE permitted and effective: what `setcap` writes.
const CAPABILITY: &str = "\u{1}\0\0\u{2}\0\u{4}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn owners_at_the_end_of_the_range_are_kept_or_refused() {
    for (uid, gid) in [
        (1 << 31, (1 << 31) + 1),
        (u32::MAX - 1, u32::MAX - 1),
        (u32::MAX - 1, 0),
    ] {
        let scene = Scene::new();
        let (user, group) = (uid.to_string(), gid.to_string());
        let layer = Archive::new().x(&[("uid", &user), ("gid", &group)]);
        let outcome = scene.apply(&layer.f("f", "x").end(), &Protected::none());
        scene.assert_contained("owners");
        // An ordinary user, or one whose namespace lacks the id, may not give the file away.
        match outcome {
            Ok(_) => {
                let found = fs::symlink_metadata(scene.root().join("f")).unwrap();
                assert_eq!((found.uid(), found.gid()), (uid, gid));
            }
            Err(error) => assert!(error.to_string().contains("`f`"), "{error}"),
        }
    }
    // 2³² - 1 means "leave it" to the kernel.
    for key in ["uid", "gid"] {
        let scene = Scene::new();
        let layer = Archive::new().x(&[(key, "4294967295")]).f("f", "x").end();
        let outcome = scene.apply(&layer, &Protected::none());
        assert!(outcome.is_err(), "{key}: {outcome:?}");
    }
}

#[test]
fn capabilities_are_kept_and_garbage_is_not() {
    let key = "SCHILY.xattr.security.capability";
    let apply = |value: &str| {
        let scene = Scene::new();
        let layer = Archive::new().x(&[(key, value)]).f("f", "x").end();
        let outcome = scene.apply(&layer, &Protected::none());
        scene.assert_contained("capabilities");
        let path = scene.root().join("f");
        let mut buffer = [0; 64];
        let kept = rustix::fs::getxattr(&path, "security.capability", &mut buffer);
        let kept = kept.ok().map(|length| buffer[..length].to_vec());
        (outcome, kept)
    };
    let (outcome, kept) = apply(CAPABILITY);
    match outcome {
        Ok(applied) if applied.warnings.is_empty() => {
            // A user namespace stores its root's id behind it.
            let kept = kept.expect("the attribute, or a warning");
            assert_eq!(&kept[4..20], &CAPABILITY.as_bytes()[4..20]);
        }
        Ok(_) | Err(_) => assert_eq!(kept, None),
    }
    let (outcome, kept) = apply("abc");
    assert_eq!(kept, None);
    assert!(
        outcome.is_err() || outcome.is_ok_and(|applied| !applied.warnings.is_empty()),
        "garbage is told"
    );
}

#[test]
fn more_links_than_an_inode_takes_are_links_or_an_error() {
    let scene = Scene::new();
    let count = 70_000;
    let layer = (0..count).fold(Archive::new().f("f", "x"), |archive, number| {
        archive.h(format!("l{number}"), "f")
    });
    let outcome = scene.apply(&layer.end(), &Protected::none());
    scene.assert_contained("links");
    match outcome {
        Ok(_) => {
            let found = fs::symlink_metadata(scene.root().join("f")).unwrap();
            assert_eq!(found.nlink(), count + 1);
        }
        Err(error) => assert!(error.to_string().contains("entry `l"), "{error}"),
    }
}

#[test]
fn links_into_kernel_file_systems_get_nothing_of_the_machine() {
    let hostname = |a: Archive| a.f("proc/sys/kernel/hostname", "longshore-was-here");
    run(vec![
        one(
            "35 proc",
            move |a, out| hostname(a.s("proc", out)),
            Any,
            |root: &Path| {
                let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
                assert!(!host.contains("longshore-was-here"));
                assert!(!root.join("../out/sys").exists());
            },
        ),
        one(
            "35 dev",
            |a, out| a.s("dev", out).f("dev/null", "text"),
            Any,
            |root: &Path| assert!(!root.join("../out/null").exists()),
        ),
    ]);
}

/// A frame that says that it needs dictionary 7, around a tar that is stored as it is.
#[test]
fn a_frame_that_needs_a_dictionary_is_refused() {
    let frame = || {
        let tar = Archive::new().f("f", "x").end();
        let length = u16::try_from(tar.len()).unwrap();
        // Single segment, content size in two bytes less 256, dictionary id in one byte (RFC 8878 section 3.1.1.1).
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x61, 7];
        frame.extend((length - 256).to_le_bytes());
        let block = u32::from(length) << 3 | 1;
        frame.extend(&block.to_le_bytes()[..3]);
        frame.extend(tar);
        frame
    };
    let without = move || {
        let mut frame = frame();
        frame[4] = 0x60;
        frame.remove(5);
        frame
    };
    run(vec![
        bytes("97 a dictionary", frame, E, absent("f")),
        bytes("97 none", without, C, has("f", "x")),
    ]);
}
