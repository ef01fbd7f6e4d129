//! Mounts, limits, and archives for ADD.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::layer::{ArchiveOptions, Error, Limits, Owners, extract_archive};
use crate::rootfs::{Protected, RelPath};

use super::super::builder::{Archive, Raw, Scene, is_root};
use super::*;

#[test]
fn mounts_and_the_builders_own_files_stay() {
    let scene = Scene::new();
    let lower = Archive::new()
        .f("etc/hosts", "host")
        .f("proc/x", "p")
        .f("state/key", "k")
        .f("other/x", "")
        .end();
    scene.apply(&lower, &Protected::none()).unwrap();
    let path = |p: &str| RelPath::parse(p).unwrap();
    let protected: Protected = ["etc/hosts", "proc", "state"]
        .map(path)
        .into_iter()
        .collect();
    let before = fs::metadata(scene.root().join("etc/hosts"))
        .unwrap()
        .ctime_nsec();
    for layer in [
        Archive::new().f("etc/hosts", "mine"),
        Archive::new().f("proc/x", "mine").f("proc/new/y", ""),
        Archive::new().s("proc", "/state"),
        Archive::new().f("etc/.wh.hosts", ""),
        Archive::new().f(".wh.etc", ""),
        Archive::new().f(".wh..wh..opq", ""),
        Archive::new().s("l", "state").f("l/key", "mine"),
        Archive::new().h("h", "etc/hosts"),
        Archive::new().f("etc", "mine"),
    ] {
        let applied = scene.apply(&layer.end(), &protected).unwrap();
        assert!(!applied.warnings.is_empty());
        has("etc/hosts", "host")(&scene.root());
        has("proc/x", "p")(&scene.root());
        has("state/key", "k")(&scene.root());
        absent("h")(&scene.root());
        absent("proc/new")(&scene.root());
    }
    let directory = Archive::new()
        .raw(Raw::new(b'5', b"proc").mode(0o700), b"")
        .end();
    scene.apply(&directory, &protected).unwrap();
    mode("proc", 0o755)(&scene.root());
    absent("other")(&scene.root());
    assert_eq!(
        fs::metadata(scene.root().join("etc/hosts"))
            .unwrap()
            .ctime_nsec(),
        before
    );
    scene.assert_contained("mounts");
}

#[test]
fn limits_are_errors() {
    let scene = Scene::new();
    let many = (0..100_001).fold(Archive::new(), |a, _| a.d("d")).end();
    assert!(matches!(
        scene.apply(&many, &Protected::none()),
        Err(Error::Limit {
            what: "entries",
            ..
        })
    ));
    let long = [Archive::new().f("f", "x").end(), vec![0; 65 << 20]].concat();
    assert!(matches!(
        scene.apply(&long, &Protected::none()),
        Err(Error::Limit { .. })
    ));
}

#[test]
fn an_archive_for_add_means_what_it_says() {
    let scene = Scene::new();
    let options = ArchiveOptions {
        protected: &Protected::none(),
        limits: Limits::default(),
        owners: if is_root() {
            Owners::Set
        } else {
            Owners::Record
        },
        owner: None,
    };
    let rootfs = scene.rootfs();
    let dest = RelPath::parse("srv/app").unwrap();
    rootfs.create_dir_all(&dest, 0o750, None).unwrap();
    let tar = Archive::new()
        .raw(Raw::new(b'5', b"./").mode(0o777), b"")
        .f(".wh.x", "literal")
        .f("a/b", "body")
        .h("c", "a/b")
        .s("up", "/srv/app/a")
        .f("up/d", "through")
        .end();
    let extracted = extract_archive(tar.as_slice(), &rootfs, &dest, &options, None).unwrap();
    mode("srv/app", 0o750)(&scene.root());
    has("srv/app/.wh.x", "literal")(&scene.root());
    has("srv/app/c", "body")(&scene.root());
    has("srv/app/a/d", "through")(&scene.root());
    let paths: Vec<_> = extracted.paths.iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            "/srv/app/.wh.x",
            "/srv/app/a",
            "/srv/app/a/b",
            "/srv/app/c",
            "/srv/app/up",
            "/srv/app/a/d"
        ]
    );
    for bad in [
        Archive::new().f("../evil", ""),
        Archive::new().h("h", "../../OUT/secret"),
        Archive::new().h("h", format!("{}/secret", scene.out())),
        Archive::new().s("e", scene.out()).h("h", "e/secret"),
    ] {
        assert!(extract_archive(bad.end().as_slice(), &rootfs, &dest, &options, None).is_err());
        scene.assert_contained("ADD");
    }
    absent("srv/evil")(&scene.root());
}

#[test]
fn damaged_archives_neither_panic_nor_escape() {
    const ROUNDS: u64 = 3000;
    let scene = Scene::new();
    let seed = Archive::new()
        .x(&[
            ("path", "dir/long"),
            ("mtime", "1.5"),
            ("SCHILY.xattr.user.a", "v"),
        ])
        .f("f", "body")
        .ext(b'L', "n".repeat(120))
        .s("", "../../../../OUT")
        .d("dir")
        .h("dir/h", "dir/long")
        .s("out", scene.out())
        .f("out/secret", "mine")
        .f("dir/.wh.x", "")
        .end();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let (mut refused, mut applied) = (0, 0);
    for round in 0..ROUNDS {
        let mut damaged = seed.clone();
        for _ in 0..=random(3) {
            let at = random(damaged.len());
            damaged[at] = [0, b'/', b'.', b'0', b'7', 0xff, b'\n', b' '][random(8)];
        }
        // A third of the headers is given a right checksum again, so that the damage is seen behind it.
        if round % 3 == 0 {
            let header = random(damaged.len() / 512) * 512;
            let block = damaged[header..header + 512].try_into().unwrap();
            damaged[header..header + 512].copy_from_slice(&Raw(block).summed());
        }
        damaged.truncate(damaged.len() - random(2) * random(1500));
        match scene.apply(&damaged, &Protected::none()) {
            Ok(_) => applied += 1,
            Err(_) => refused += 1,
        }
    }
    scene.assert_contained("damaged");
    assert!(
        refused > 100 && applied > 100,
        "{refused} refused, {applied} applied"
    );
}
