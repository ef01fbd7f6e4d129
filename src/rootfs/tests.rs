use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

struct Fixture {
    outer: tempfile::TempDir,
    rootfs: Rootfs,
}

/// A root with a canary beside it: `OUT/secret`, reached by `..` and by its absolute path.
fn fixture(resolver: Resolver) -> Fixture {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir(outer.path().join("root")).unwrap();
    fs::create_dir(outer.path().join("OUT")).unwrap();
    fs::write(outer.path().join("OUT/secret"), "secret").unwrap();
    let rootfs = Rootfs::open(&outer.path().join("root")).unwrap();
    let rootfs = match resolver {
        Resolver::Kernel => rootfs,
        Resolver::Walk => rootfs.without_openat2(),
    };
    Fixture { outer, rootfs }
}

fn path(raw: &str) -> RelPath {
    RelPath::parse(raw).unwrap()
}

fn both(test: impl Fn(&Fixture)) {
    for resolver in [Resolver::Kernel, Resolver::Walk] {
        let fixture = fixture(resolver);
        test(&fixture);
        let secret = fixture.outer.path().join("OUT/secret");
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(fixture.outer.path()).unwrap().count(), 2);
        assert_eq!(
            fs::read_dir(fixture.outer.path().join("OUT"))
                .unwrap()
                .count(),
            1
        );
    }
}

#[test]
fn links_stay_inside() {
    both(|f| {
        let out = f.outer.path().join("OUT");
        let root = f.outer.path().join("root");
        symlink(&out, root.join("abs")).unwrap();
        symlink("../../../../OUT", root.join("rel")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        for link in ["abs", "rel", "magic"] {
            let inside = path(link).child(b"secret");
            assert!(f.rootfs.open_file(&inside, Leaf::Follow).is_err(), "{link}");
            assert!(f.rootfs.create_file(&inside, 0o644).is_err(), "{link}");
            assert!(f.rootfs.stat(&inside).unwrap().is_none(), "{link}");
            assert_eq!(
                f.rootfs.lstat(&path(link)).unwrap().unwrap().file_type,
                FileType::Symlink
            );
        }
        // The same name, made inside, is what the link leads to.
        f.rootfs.create_dir(&path("OUT"), 0o755).unwrap();
        f.rootfs
            .create_file(&path("rel/secret"), 0o600)
            .unwrap()
            .write_all(b"mine")
            .unwrap();
        assert_eq!(fs::read(root.join("OUT/secret")).unwrap(), b"mine");
        assert_eq!(
            f.rootfs.resolve(&path("rel/x/../y"), Leaf::Follow).unwrap(),
            path("OUT/y")
        );
    });
}

#[test]
fn loops_and_long_chains_are_errors() {
    both(|f| {
        let root = f.outer.path().join("root");
        symlink("loop", root.join("loop")).unwrap();
        for i in 0..300 {
            symlink(format!("l{}", i + 1), root.join(format!("l{i}"))).unwrap();
        }
        fs::create_dir(root.join("l300")).unwrap();
        assert!(f.rootfs.create_file(&path("loop/x"), 0o644).is_err());
        assert!(f.rootfs.create_file(&path("l0/x"), 0o644).is_err());
        assert!(f.rootfs.resolve(&path("loop"), Leaf::Follow).is_err());
        assert_eq!(
            f.rootfs.resolve(&path("loop"), Leaf::Keep).unwrap(),
            path("loop")
        );
    });
}

#[test]
fn resolves_destinations_that_do_not_exist() {
    both(|f| {
        let root = f.outer.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/new/place", root.join("dangling")).unwrap();
        for (raw, expect) in [
            ("lib/x/y", "usr/lib/x/y"),
            ("lib", "usr/lib"),
            ("dangling", "new/place"),
            ("dangling/deep", "new/place/deep"),
            ("", ""),
        ] {
            assert_eq!(
                f.rootfs.resolve(&path(raw), Leaf::Follow).unwrap(),
                path(expect),
                "{raw}"
            );
        }
        let owner = f.rootfs.lstat(&path("")).unwrap().unwrap().owner;
        let created = f
            .rootfs
            .create_dir_all(&path("dangling/deep"), 0o700, Some(owner))
            .unwrap();
        assert_eq!(created, ["new", "new/place", "new/place/deep"].map(path));
        assert_eq!(
            fs::metadata(root.join("new/place")).unwrap().mode() & 0o7777,
            0o700
        );
        assert!(
            f.rootfs
                .create_dir_all(&path("lib"), 0o755, None)
                .unwrap()
                .is_empty()
        );
        fs::write(root.join("file"), "").unwrap();
        assert!(
            f.rootfs
                .create_dir_all(&path("file/x"), 0o755, None)
                .is_err()
        );
    });
}

#[test]
fn a_pipe_is_refused_without_waiting() {
    both(|f| {
        f.rootfs
            .create_node(&path("passwd"), Node::Fifo, 0o644)
            .unwrap();
        let error = f
            .rootfs
            .open_file(&path("passwd"), Leaf::Follow)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "/passwd is a named pipe, not a regular file"
        );
        let null = Node::Char(Device::default());
        assert!(matches!(
            f.rootfs.create_node(&path("x"), null, 0o644),
            Err(Error::WhiteoutDevice { .. })
        ));
    });
}

#[test]
fn what_is_at_a_name_is_replaced_not_followed() {
    both(|f| {
        let root = f.outer.path().join("root");
        symlink(f.outer.path().join("OUT/secret"), root.join("f")).unwrap();
        f.rootfs.set_mode(&path("f"), 0o777).unwrap();
        f.rootfs
            .set_mtime(&path("f"), Timestamp { secs: 1, nanos: 2 })
            .unwrap();
        assert_eq!(
            f.rootfs.lstat(&path("f")).unwrap().unwrap().mtime,
            Timestamp { secs: 1, nanos: 2 }
        );
        f.rootfs.hard_link(&path("h"), &path("f")).unwrap();
        f.rootfs
            .create_file(&path("h"), 0o4755)
            .unwrap()
            .write_all(b"new")
            .unwrap();
        f.rootfs.set_mode(&path("h"), 0o4755).unwrap();
        assert_eq!(
            fs::metadata(root.join("h")).unwrap().mode() & 0o7777,
            0o4755
        );
        assert!(f.rootfs.hard_link(&path("h"), &path("h")).is_err());
        assert!(f.rootfs.hard_link(&path("h"), &path("nothing")).is_err());
        assert!(root.join("h").exists());
        assert_eq!(
            f.rootfs.read_link(&path("f")).unwrap(),
            f.outer.path().join("OUT/secret").as_os_str().as_bytes()
        );
    });
}

#[test]
fn attributes_go_to_the_inode_itself() {
    both(|f| {
        f.rootfs.create_file(&path("f"), 0o644).unwrap();
        match f.rootfs.set_xattr(&path("f"), b"user.a", &[7; 3000]) {
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(95) => {
                eprintln!("skipped: this file system keeps no user attributes");
                return;
            }
            answer => answer.unwrap(),
        }
        f.rootfs.set_xattr(&path(""), b"user.root", b"r").unwrap();
        assert_eq!(
            f.rootfs.xattrs(&path("f")).unwrap(),
            [(b"user.a".to_vec(), vec![7; 3000])]
        );
        assert_eq!(
            f.rootfs.xattrs(&path("")).unwrap(),
            [(b"user.root".to_vec(), b"r".to_vec())]
        );
        f.rootfs.remove_xattr(&path("f"), b"user.a").unwrap();
        assert!(f.rootfs.xattrs(&path("f")).unwrap().is_empty());
    });
}

#[test]
fn removes_trees_of_any_depth_but_not_what_is_kept() {
    both(|f| {
        let mut dir = f.rootfs.dir(&path("")).unwrap();
        for _ in 0..6000 {
            dir.create_dir(b"d", 0o755).unwrap();
            dir = dir.open_dir(b"d").unwrap();
        }
        dir.create_file(b"deep", 0o600).unwrap();
        assert_eq!(
            f.rootfs.remove_all(&path("d"), &Protected::none()).unwrap(),
            Removed::All
        );
        assert!(f.rootfs.lstat(&path("d")).unwrap().is_none());

        let root = f.outer.path().join("root");
        fs::create_dir_all(root.join("a/b/keep")).unwrap();
        fs::create_dir_all(root.join("a/c/d")).unwrap();
        fs::write(root.join("a/b/keep/x"), "").unwrap();
        fs::write(root.join("a/b/y"), "").unwrap();
        fs::write(root.join("a/c/z"), "").unwrap();
        symlink(f.outer.path().join("OUT"), root.join("a/c/out")).unwrap();
        fs::set_permissions(root.join("a/c"), fs::Permissions::from_mode(0o555)).unwrap();
        let kept: Protected = [path("a/b/keep")].into_iter().collect();
        assert_eq!(
            f.rootfs.remove_all(&path("a"), &kept).unwrap(),
            Removed::KeptMounts
        );
        assert!(root.join("a/b/keep/x").exists());
        assert!(!root.join("a/b/y").exists() && !root.join("a/c").exists());
        assert_eq!(
            f.rootfs.remove_all(&path(""), &Protected::none()).unwrap(),
            Removed::All
        );
        assert!(f.rootfs.read_dir(&path("")).unwrap().is_empty());
    });
}

#[test]
fn copies_contents_and_keeps_holes() {
    both(|f| {
        let mut from = f.rootfs.create_file(&path("from"), 0o600).unwrap();
        from.write_all(b"head").unwrap();
        rustix::fs::ftruncate(&from, 64 << 20).unwrap();
        rustix::fs::seek(&from, rustix::fs::SeekFrom::Start(32 << 20)).unwrap();
        from.write_all(&vec![9; 100_000]).unwrap();
        let to = f.rootfs.create_file(&path("to"), 0o600).unwrap();
        let from = f.rootfs.open_file(&path("from"), Leaf::Keep).unwrap();
        copy_contents(&from, &to, 64 << 20).unwrap();
        let root = f.outer.path().join("root");
        assert!(fs::read(root.join("from")).unwrap() == fs::read(root.join("to")).unwrap());
        assert!(
            fs::metadata(root.join("to")).unwrap().blocks() * 512 < 2 << 20,
            "holes are kept"
        );
        let mut nothing = String::new();
        f.rootfs
            .create_file(&path("empty"), 0o600)
            .unwrap()
            .read_to_string(&mut nothing)
            .unwrap();
    });
}

#[test]
fn copies_as_much_as_was_promised() {
    both(|f| {
        let root = f.outer.path().join("root");
        // Small files and large ones go different ways; each may shrink or grow while it is copied.
        for length in [0, 1, 1000, 200_000] {
            let bytes: Vec<u8> = (0..length).map(|n: usize| n.to_le_bytes()[0]).collect();
            fs::write(root.join("from"), &bytes).unwrap();
            for promised in [length, length / 2, length + 5000] {
                let from = f.rootfs.open_file(&path("from"), Leaf::Keep).unwrap();
                let to = f.rootfs.create_file(&path("to"), 0o600).unwrap();
                copy_contents(&from, &to, promised as u64).unwrap();
                let mut expect = bytes.clone();
                expect.resize(promised, 0);
                assert!(
                    fs::read(root.join("to")).unwrap() == expect,
                    "{promised} of {length}"
                );
            }
        }
    });
}

#[test]
fn paths_longer_than_the_kernel_takes() {
    both(|f| {
        let long = vec!["x".repeat(250); 20].join("/");
        f.rootfs.create_dir_all(&path(&long), 0o755, None).unwrap();
        let file = path(&long).child(b"file");
        f.rootfs.create_file(&file, 0o644).unwrap();
        assert!(f.rootfs.lstat(&file).unwrap().unwrap().is_file());
        f.rootfs
            .remove_all(&path(&"x".repeat(250)), &Protected::none())
            .unwrap();
    });
}

#[test]
fn a_chroots_view_is_the_same_without_the_kernels_help() {
    let fixture = fixture(Resolver::Kernel);
    let root = fixture.outer.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), "inside").unwrap();
    symlink("/a/b", root.join("absolute")).unwrap();
    symlink("../../../a/file", root.join("a/b/up")).unwrap();
    symlink("../OUT/secret", root.join("out")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let root = fixture.rootfs.as_fd();
    for path in [
        "",
        "/",
        ".",
        "..",
        "a",
        "/a/b",
        "a/b/..",
        "a/file",
        "/a/./file",
        "absolute",
        "absolute/..",
        "absolute/up",
        "a/b/up",
        "../../a/file",
        "out",
        "loop",
        "none",
        "a/none",
        "a/file/x",
        "/OUT/secret",
    ] {
        let found = |opened: Result<OwnedFd, Errno>| {
            let fd = opened?;
            let stat = rustix::fs::fstat(&fd)?;
            Ok::<_, Errno>((stat.st_dev, stat.st_ino))
        };
        let kernel = found(open_chrooted(root, path.as_bytes(), OFlags::PATH));
        let walked = found(resolve::open_walking(root, path.as_bytes(), OFlags::PATH));
        assert_eq!(walked, kernel, "{path}");
    }
}

/// Renames anywhere on the machine make the kernel give up on a `..` with EAGAIN, which is no answer to anyone.
#[test]
fn a_rename_elsewhere_disturbs_no_dots() {
    let fixture = fixture(Resolver::Kernel);
    let root = fixture.outer.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let names = ["one", "two"].map(|name| elsewhere.path().join(name));
    fs::create_dir(&names[0]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&names[0], &names[1]).unwrap();
                fs::rename(&names[1], &names[0]).unwrap();
            }
        });
        let opened = (0..20_000).try_for_each(|_| {
            open_chrooted(fixture.rootfs.as_fd(), b"a/../a/../a/b/../b", OFlags::PATH).map(drop)
        });
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(opened, Ok(()));
    });
}
