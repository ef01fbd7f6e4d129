//! Archives that want out, or want two readers to disagree.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::layer::{ArchiveOptions, Error, Limits, Owners, extract_archive};
use crate::rootfs::{Protected, RelPath};

use super::builder::{Archive, Raw, Scene, is_root};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Refused.
    E,
    /// Applied.
    C,
    /// Applied with a warning.
    S,
    /// Either: only the containment counts.
    Any,
}
use Verdict::{Any, C, E, S};

type Layers = Box<dyn Fn(&str) -> Vec<Vec<u8>>>;
type Check = Box<dyn Fn(&Path)>;

struct Case(&'static str, Layers, Verdict, Check);

fn one(
    name: &'static str,
    layer: impl Fn(Archive, &str) -> Archive + 'static,
    verdict: Verdict,
    check: impl Fn(&Path) + 'static,
) -> Case {
    let layers = move |out: &str| vec![layer(Archive::new(), out).end()];
    Case(name, Box::new(layers), verdict, Box::new(check))
}

fn two(
    name: &'static str,
    lower: impl Fn(Archive) -> Archive + 'static,
    upper: impl Fn(Archive) -> Archive + 'static,
    verdict: Verdict,
    check: impl Fn(&Path) + 'static,
) -> Case {
    let layers = move |_: &str| vec![lower(Archive::new()).end(), upper(Archive::new()).end()];
    Case(name, Box::new(layers), verdict, Box::new(check))
}

fn bytes(
    name: &'static str,
    layer: impl Fn() -> Vec<u8> + 'static,
    verdict: Verdict,
    check: impl Fn(&Path) + 'static,
) -> Case {
    Case(
        name,
        Box::new(move |_: &str| vec![layer()]),
        verdict,
        Box::new(check),
    )
}

fn anything(_: &Path) {}

fn has(path: &'static str, body: &'static str) -> impl Fn(&Path) {
    move |root| assert_eq!(fs::read_to_string(root.join(path)).unwrap(), body, "{path}")
}

fn absent(path: &'static str) -> impl Fn(&Path) {
    move |root| {
        assert!(
            fs::symlink_metadata(root.join(path)).is_err(),
            "{path} is there"
        )
    }
}

fn all(checks: Vec<Box<dyn Fn(&Path)>>) -> impl Fn(&Path) {
    move |root| checks.iter().for_each(|check| check(root))
}

fn is_link(path: &'static str) -> impl Fn(&Path) {
    move |root| {
        assert!(
            fs::symlink_metadata(root.join(path)).unwrap().is_symlink(),
            "{path}"
        )
    }
}

fn is_real_dir(path: &'static str) -> impl Fn(&Path) {
    move |root| {
        assert!(
            fs::symlink_metadata(root.join(path)).unwrap().is_dir(),
            "{path}"
        )
    }
}

fn mode(path: &'static str, expect: u32) -> impl Fn(&Path) {
    move |root| {
        assert_eq!(
            fs::symlink_metadata(root.join(path)).unwrap().mode() & 0o7777,
            expect,
            "{path}"
        )
    }
}

fn run(cases: Vec<Case>) {
    for Case(name, layers, verdict, check) in cases {
        let scene = Scene::new();
        let layers = layers(&scene.out());
        let (last, lower) = layers.split_last().unwrap();
        for layer in lower {
            scene.apply(layer, &Protected::none()).unwrap();
        }
        let outcome = scene.apply(last, &Protected::none());
        scene.assert_contained(name);
        match (verdict, &outcome) {
            (E, Err(error)) => {
                let shown = error.to_string();
                assert!(!shown.chars().any(char::is_control), "{name}: {shown:?}");
            }
            (C, Ok(applied)) => assert!(
                applied.warnings.is_empty(),
                "{name}: {:?}",
                applied.warnings
            ),
            (S, Ok(applied)) => assert!(!applied.warnings.is_empty(), "{name}: no warning"),
            (Any, _) => {}
            (expected, got) => panic!("{name}: expected {expected:?}, got {got:?}"),
        }
        if outcome.is_ok() || verdict == E {
            check(&scene.root());
        }
        for marker in walk(&scene.root()) {
            assert!(!marker.contains("/.wh."), "{name}: {marker} stayed on disk");
        }
    }
}

fn walk(at: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(at) else {
        return found;
    };
    for entry in entries.flatten() {
        found.push(entry.path().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

#[test]
fn names() {
    let deep = |n: usize| vec!["a"; n].join("/");
    run(vec![
        one("1", |a, _| a.f("../evil", "x"), E, anything),
        one("2", |a, _| a.f("a/../../evil", "x"), E, anything),
        one("3", |a, _| a.f("/etc/abs", "x"), C, has("etc/abs", "x")),
        one(
            "4",
            |a, _| a.f("//etc//abs2", "x").f("./a/./b", "y"),
            C,
            all(vec![
                Box::new(has("etc/abs2", "x")),
                Box::new(has("a/b", "y")),
            ]),
        ),
        one(
            "5",
            |a, _| a.f("a/../b", "x"),
            C,
            all(vec![Box::new(has("b", "x")), Box::new(absent("a"))]),
        ),
        one("6 dir", |a, _| a.d(".."), E, anything),
        one("6 link", |a, _| a.s("..", "/etc"), E, anything),
        one("6 hard link", |a, _| a.h("..", "x"), E, anything),
        one(
            "7",
            |a, _| a.raw(Raw::new(b'5', b"./").mode(0o700), b""),
            C,
            mode("", 0o700),
        ),
        one(
            "8",
            |a, out| a.s(".", out).f("evil", "x"),
            E,
            absent("evil"),
        ),
        one("9 empty", |a, _| a.f("", "x"), E, anything),
        one("9 root", |a, _| a.f("/", "x"), E, anything),
        one(
            "10",
            |a, _| a.x(&[("path", "a\0b")]).f("c", ""),
            E,
            anything,
        ),
        one(
            "11",
            |a, _| a.f("n\r\n::set-output name=x::y\x1b[2J", "x"),
            C,
            has("n\r\n::set-output name=x::y\x1b[2J", "x"),
        ),
        one(
            "11 in an error",
            |a, _| a.h("n\n::set-output\x1b[2J", "missing"),
            E,
            anything,
        ),
        one(
            "12",
            |a, _| a.f(b"\xff\xfe\x80", "x"),
            C,
            |root: &Path| {
                let name = fs::read_dir(root)
                    .unwrap()
                    .next()
                    .unwrap()
                    .unwrap()
                    .file_name();
                assert_eq!(name.as_bytes(), b"\xff\xfe\x80");
            },
        ),
        one(
            "13 fits",
            |a, _| a.ext(b'L', "n".repeat(255)).f("", "x"),
            C,
            |root: &Path| {
                assert!(root.join("n".repeat(255)).is_file());
            },
        ),
        one(
            "13 too long",
            |a, _| a.ext(b'L', "n".repeat(256)).f("", "x"),
            E,
            anything,
        ),
        one(
            "14",
            |a, _| a.ext(b'L', vec!["n".repeat(250); 20].join("/")).f("", "x"),
            C,
            anything,
        ),
        one(
            "15 at the cap",
            move |a, _| a.ext(b'L', deep(1024)).f("", "x"),
            C,
            anything,
        ),
        one(
            "15",
            move |a, _| a.ext(b'L', deep(5000)).f("", "x"),
            E,
            anything,
        ),
        one(
            "16",
            |a, _| a.raw(Raw::new(b'0', b"d/"), b""),
            C,
            is_real_dir("d"),
        ),
        one(
            "17",
            |a, _| a.f("a\\..\\..\\b", "x").f("C:\\x", "y"),
            C,
            all(vec![
                Box::new(has("a\\..\\..\\b", "x")),
                Box::new(has("C:\\x", "y")),
            ]),
        ),
        one(
            "18",
            |a, _| a.f("Foo", "1").f("foo", "2"),
            C,
            all(vec![Box::new(has("Foo", "1")), Box::new(has("foo", "2"))]),
        ),
        one(
            "19",
            |a, _| {
                a.ext(b'K', "t".repeat(4000))
                    .ext(b'L', "n".repeat(101))
                    .s("", "")
            },
            C,
            |root: &Path| {
                assert_eq!(
                    fs::read_link(root.join("n".repeat(101)))
                        .unwrap()
                        .as_os_str()
                        .len(),
                    4000
                );
            },
        ),
    ]);
}

#[test]
fn symbolic_links() {
    let toggled = |a: Archive| {
        a.d("foo")
            .f("foo/tmp/f", "1")
            .s("foo", "/")
            .f("foo/tmp/f", "2")
            .d("foo")
            .f("foo/tmp/f", "3")
    };
    run(vec![
        one("20", |a, out| a.s("e", out).f("e/evil", "x"), Any, anything),
        one(
            "21",
            |a, _| a.s("a/e", "../../../../../OUT").f("a/e/evil", "x"),
            C,
            has("OUT/evil", "x"),
        ),
        one(
            "22",
            |a, _| a.s("l1", "l2").s("l2", "/").f("l1/tmp/x", "x"),
            C,
            has("tmp/x", "x"),
        ),
        one(
            "23",
            |a, _| a.s("loop", "loop").f("loop/x", "x"),
            E,
            anything,
        ),
        one(
            "23 chain",
            |a, _| {
                (0..300)
                    .fold(a, |a, i| a.s(format!("l{i}"), format!("l{}", i + 1)))
                    .f("l0/x", "x")
            },
            E,
            anything,
        ),
        one(
            "24",
            |a, out| a.s("f", format!("{out}/secret")).f("f", "new"),
            C,
            has("f", "new"),
        ),
        one(
            "25",
            |a, out| {
                a.s("d", format!("{out}/dir"))
                    .raw(Raw::new(b'5', b"d").mode(0o777), b"")
            },
            C,
            all(vec![Box::new(is_real_dir("d")), Box::new(mode("d", 0o777))]),
        ),
        two(
            "26",
            |a| a.d("usr/lib").f("usr/lib/old", "").s("lib", "usr/lib"),
            |a| a.d("lib").f("lib/x", "x"),
            C,
            all(vec![
                Box::new(is_real_dir("lib")),
                Box::new(has("lib/x", "x")),
                Box::new(absent("usr/lib/x")),
            ]),
        ),
        two(
            "27",
            |a| a.s("lib", "usr/lib").d("usr/lib"),
            |a| a.f("lib/x", "x"),
            C,
            all(vec![
                Box::new(is_link("lib")),
                Box::new(has("usr/lib/x", "x")),
            ]),
        ),
        one(
            "28",
            |a, _| a.d("foo").f("foo/x", "").s("foo", "/").f("foo/tmp/y", "y"),
            C,
            all(vec![Box::new(is_link("foo")), Box::new(has("tmp/y", "y"))]),
        ),
        one(
            "29",
            move |a, _| toggled(a),
            C,
            all(vec![
                Box::new(is_real_dir("foo")),
                Box::new(has("foo/tmp/f", "3")),
                Box::new(has("tmp/f", "2")),
            ]),
        ),
        one(
            "30",
            |a, _| a.s("l", "/etc/passwd").s("m", "../../../../x"),
            C,
            |root: &Path| {
                assert_eq!(
                    fs::read_link(root.join("l")).unwrap().to_str(),
                    Some("/etc/passwd")
                );
                assert_eq!(
                    fs::read_link(root.join("m")).unwrap().to_str(),
                    Some("../../../../x")
                );
            },
        ),
        one("31 empty", |a, _| a.s("l", ""), E, anything),
        one(
            "31 long",
            |a, _| a.ext(b'K', "t".repeat(4096)).s("l", ""),
            E,
            anything,
        ),
        one(
            "31 NUL",
            |a, _| a.x(&[("linkpath", "a\0b")]).s("l", "x"),
            E,
            anything,
        ),
        one(
            "32",
            |a, out| {
                a.raw(
                    Raw::new(b'2', b"l")
                        .link(format!("{out}/secret").as_bytes())
                        .mode(0o777)
                        .octal(136, 12, 1),
                    b"",
                )
            },
            C,
            is_link("l"),
        ),
        one(
            "33",
            |a, out| {
                a.raw(Raw::new(b'5', b"d").octal(136, 12, 1), b"")
                    .s("d", out)
            },
            C,
            is_link("d"),
        ),
        one(
            "34",
            |a, _| a.raw(Raw::new(b'5', b"d").mode(0o555), b"").f("d/x", "x"),
            C,
            all(vec![Box::new(has("d/x", "x")), Box::new(mode("d", 0o555))]),
        ),
        one(
            "34 times",
            |a, _| a.d("d").f("d/x", "x"),
            C,
            |root: &Path| {
                assert_eq!(fs::metadata(root.join("d")).unwrap().mtime(), 1_000_000_000);
            },
        ),
        one(
            "36",
            |a, _| a.s("p", "/proc/self/root").f("p/evil", "x"),
            Any,
            anything,
        ),
        one(
            "36 cwd",
            |a, _| a.s("p", "/proc/1/cwd").f("p/evil", "x"),
            Any,
            anything,
        ),
        one(
            "a parent that leads to itself is replaced",
            |a, _| {
                a.d("d")
                    .s("d/self", ".")
                    .f("d/self/self", "x")
                    .f("d/self/other", "y")
            },
            E,
            has("d/self", "x"),
        ),
    ]);
}

#[test]
fn hard_links() {
    let smuggler = || {
        let body = Raw::new(b'0', b"smuggled").summed();
        Archive::new()
            .f("a", "x")
            .raw(Raw::new(b'1', b"b").link(b"a").size(512), &body)
            .end()
    };
    run(vec![
        one(
            "37",
            |a, out| a.h("h", format!("{out}/secret")),
            E,
            absent("h"),
        ),
        one("38", |a, _| a.h("h", "../OUT/secret"), E, absent("h")),
        one(
            "39",
            |a, out| a.s("d", out).h("h", "d/secret"),
            E,
            absent("h"),
        ),
        one(
            "40",
            |a, out| {
                a.s("s", format!("{out}/secret"))
                    .h("h", "s")
                    .raw(Raw::new(b'0', b"h").size(3).mode(0o4777), b"new")
            },
            C,
            all(vec![Box::new(has("h", "new")), Box::new(is_link("s"))]),
        ),
        two(
            "41 missing",
            |a| a.f("h", "kept"),
            |a| a.h("h", "missing"),
            E,
            has("h", "kept"),
        ),
        two(
            "41 directory",
            |a| a.f("h", "kept").d("dir"),
            |a| a.h("h", "dir"),
            E,
            has("h", "kept"),
        ),
        two(
            "41 itself",
            |a| a.f("h", "kept"),
            |a| a.h("h", "h"),
            E,
            has("h", "kept"),
        ),
        two(
            "41 below itself",
            |a| a.f("h/x", "kept"),
            |a| a.h("h", "h/x"),
            E,
            has("h/x", "kept"),
        ),
        one("42", |a, _| a.h("b", "a").f("a", ""), E, anything),
        one("43", |a, _| a.h("h", "Cargo.toml"), E, absent("h")),
        two(
            "44",
            |a| a.f("a", "old").h("b", "a"),
            |a| a.f("b", "new"),
            C,
            all(vec![Box::new(has("a", "old")), Box::new(has("b", "new"))]),
        ),
        two(
            "45",
            |a| a.f("a", "x"),
            |a| a.h("b", "a"),
            C,
            |root: &Path| {
                assert_eq!(
                    fs::metadata(root.join("a")).unwrap().ino(),
                    fs::metadata(root.join("b")).unwrap().ino()
                );
            },
        ),
        bytes("46", smuggler, E, absent("smuggled")),
        bytes(
            "46 directory",
            || {
                Archive::new()
                    .raw(Raw::new(b'5', b"d").size(512), &[1; 512])
                    .end()
            },
            E,
            anything,
        ),
        bytes(
            "46 symbolic link",
            || {
                Archive::new()
                    .raw(Raw::new(b'2', b"d").link(b"x").size(512), &[1; 512])
                    .end()
            },
            E,
            anything,
        ),
        bytes(
            "46 pipe",
            || {
                Archive::new()
                    .raw(Raw::new(b'6', b"d").size(512), &[1; 512])
                    .end()
            },
            E,
            anything,
        ),
        bytes(
            "46 directory by its slash",
            || {
                Archive::new()
                    .raw(Raw::new(b'0', b"d/").size(512), &[1; 512])
                    .end()
            },
            E,
            anything,
        ),
    ]);
}

#[test]
fn whiteouts() {
    let lower = |a: Archive| a.f("a/x", "").f("a/y/z", "").d("keep");
    let only_new = || {
        all(vec![
            Box::new(absent("a/x")),
            Box::new(absent("a/y/z")),
            Box::new(has("a/y/new", "n")),
        ])
    };
    let d_is_new = || {
        all(vec![
            Box::new(absent("a/d/old")),
            Box::new(has("a/d/new", "n")),
        ])
    };
    let old = |a: Archive| a.f("a/d/old", "");
    run(vec![
        two(
            "49",
            lower,
            |a| a.f("a/.wh.x", ""),
            C,
            all(vec![Box::new(absent("a/x")), Box::new(is_real_dir("a/y"))]),
        ),
        one("50", |a, _| a.f("a/.wh.", ""), E, anything),
        one("51", |a, _| a.f(".wh..", ""), E, anything),
        one("51 below", |a, _| a.f("a/.wh..", ""), E, anything),
        two(
            "52",
            lower,
            |a| a.f("a/y/.wh...", ""),
            E,
            is_real_dir("a/y"),
        ),
        two(
            "53",
            lower,
            |a| a.f("a/.wh..wh..opq", "").f("a/y/new", "n"),
            C,
            only_new(),
        ),
        two(
            "54",
            lower,
            |a| a.f("a/y/new", "n").f("a/.wh..wh..opq", ""),
            C,
            only_new(),
        ),
        two(
            "55 before",
            old,
            |a| a.f("a/.wh.d", "").d("a/d").f("a/d/new", "n"),
            C,
            d_is_new(),
        ),
        two(
            "55 after",
            old,
            |a| a.d("a/d").f("a/d/new", "n").f("a/.wh.d", ""),
            C,
            d_is_new(),
        ),
        two(
            "55 through a link",
            |a| a.f("a/d/old", "").s("l", "a"),
            |a| a.f("l/d/new", "n").f("l/.wh.d", ""),
            C,
            d_is_new(),
        ),
        one(
            "56",
            |a, _| a.f("x", "mine").f(".wh.x", ""),
            C,
            has("x", "mine"),
        ),
        one(
            "57",
            |a, _| a.f(".wh.nope", "").f("no/such/.wh.dir", ""),
            C,
            absent("no"),
        ),
        Case(
            "58",
            Box::new(|out| {
                vec![
                    Archive::new().s("dir/s", out).end(),
                    Archive::new().f(".wh.dir", "").end(),
                ]
            }),
            C,
            Box::new(absent("dir")),
        ),
        Case(
            "59",
            Box::new(|out| {
                vec![
                    Archive::new().s("d", out).end(),
                    Archive::new()
                        .f("d/.wh.secret", "")
                        .f("d/.wh..wh..opq", "")
                        .end(),
                ]
            }),
            Any,
            Box::new(anything),
        ),
        two(
            "60",
            |a| a.f("a", "x"),
            |a| a.f("a/.wh.x", ""),
            C,
            has("a", "x"),
        ),
        two(
            "61 file",
            lower,
            |a| a.f("a/.wh.x", "0123456789").f("next", "n"),
            C,
            all(vec![Box::new(absent("a/x")), Box::new(has("next", "n"))]),
        ),
        two("61 directory", lower, |a| a.d("a/.wh.x"), C, absent("a/x")),
        two("61 link", lower, |a| a.s("a/.wh.x", "y"), C, absent("a/x")),
        one(
            "62",
            |a, _| {
                a.f(".wh..wh.plnk/1", "")
                    .f(".wh..wh.aufs", "")
                    .f(".wh..wh.orph", "")
            },
            S,
            absent(".wh..wh.plnk"),
        ),
        two(
            "63",
            |a| a.f("etc/x", ""),
            |a| a.f(".wh.etc/somefile", ""),
            E,
            is_real_dir("etc"),
        ),
        one(
            "64",
            |a, _| a.raw(Raw::new(b'3', b"x"), b""),
            S,
            absent("x"),
        ),
        two(
            "64 marks",
            |a| a.f("d/old", "o"),
            |a| {
                a.x(&[
                    ("SCHILY.xattr.trusted.overlay.opaque", "y"),
                    ("SCHILY.xattr.user.overlay.opaque", "y"),
                ])
                .d("d")
            },
            C,
            has("d/old", "o"),
        ),
        two(
            "65",
            |a| a.f("etc/x", ""),
            |a| a.f("dne/../.wh.etc", ""),
            C,
            absent("etc"),
        ),
    ]);
}

#[test]
fn types_and_attributes() {
    let bits = |mode: u64| move |a: Archive, _: &str| a.raw(Raw::new(b'0', b"f").mode(mode), b"");
    let field = |at: usize, value: &'static [u8]| {
        move |a: Archive, _: &str| a.raw(Raw::new(b'0', b"f").bytes(at, value), b"")
    };
    let pax = |key: &'static str, value: &'static str| {
        move |a: Archive, _: &str| a.x(&[(key, value)]).f("f", "")
    };
    let long_value = "v".repeat((64 << 10) + 1);
    let many: Vec<(String, &str)> = (0..5000)
        .map(|i| (format!("SCHILY.xattr.user.{i}"), "v"))
        .collect();
    let mut cases = vec![
        one(
            "68",
            |a, _| a.raw(Raw::new(b'6', b"p"), b""),
            C,
            |root: &Path| {
                assert!(
                    fs::symlink_metadata(root.join("p"))
                        .unwrap()
                        .file_type()
                        .is_fifo()
                );
            },
        ),
        one(
            "69 7",
            |a, _| a.raw(Raw::new(b'7', b"f").size(1), b"x"),
            C,
            has("f", "x"),
        ),
        one(
            "69 NUL",
            |a, _| a.raw(Raw::new(0, b"f").size(1), b"x"),
            C,
            has("f", "x"),
        ),
        one(
            "70",
            |a, _| {
                a.ext(b'g', "20 path=/etc/passwd\n9 size=9\n9 uid=12\n")
                    .f("f", "x")
            },
            C,
            anything,
        ),
        one(
            "70 without an id",
            |a, _| a.ext(b'g', "20 path=/etc/passwd\n10 size=9\n").f("f", "x"),
            C,
            all(vec![Box::new(has("f", "x")), Box::new(absent("etc"))]),
        ),
        one("71 setuid", bits(0o4755), C, mode("f", 0o4755)),
        one("71 setgid", bits(0o2755), C, mode("f", 0o2755)),
        one("71 sticky", bits(0o1777), C, mode("f", 0o1777)),
        one("71 none", bits(0), C, mode("f", 0)),
        one("72", field(100, b"7777777\0"), C, mode("f", 0o7777)),
        one("72 negative", field(100, &[0xff; 8]), E, anything),
        one(
            "74 -1",
            field(108, b"\x80\0\0\0\xff\xff\xff\xff"),
            E,
            anything,
        ),
        one("74 negative", field(108, &[0xff; 8]), E, anything),
        one("74 large", field(108, b"\x80\0\x01\0\0\0\0\0"), E, anything),
        one("75 negative", field(136, &[0xff; 12]), C, |root: &Path| {
            assert_eq!(fs::metadata(root.join("f")).unwrap().mtime(), -1)
        }),
        one(
            "75 large",
            field(136, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            C,
            anything,
        ),
        one("76", pax("mtime", "1.5"), C, |root: &Path| {
            assert_eq!(
                fs::metadata(root.join("f")).unwrap().mtime_nsec(),
                500_000_000
            )
        }),
        one(
            "78",
            |a, _| {
                a.x(&[
                    ("SCHILY.xattr.security.selinux", "s"),
                    ("SCHILY.xattr.security.ima", "s"),
                    ("SCHILY.xattr.trusted.x", "t"),
                    ("SCHILY.xattr.user.overlay.x", "u"),
                ])
                .f("f", "")
            },
            C,
            anything,
        ),
        one(
            "79 on a link",
            |a, _| a.x(&[("SCHILY.xattr.user.a", "v")]).s("l", "x"),
            S,
            is_link("l"),
        ),
        one(
            "79 value",
            move |a, _| a.x(&[("SCHILY.xattr.user.a", &long_value)]).f("f", ""),
            E,
            anything,
        ),
        one(
            "79 many",
            move |a, _| {
                a.x(&many
                    .iter()
                    .map(|(k, v)| (k.as_str(), *v))
                    .collect::<Vec<_>>())
                    .f("f", "")
            },
            E,
            anything,
        ),
        one(
            "80",
            |a, _| a.raw(Raw::new(b'0', b"f").bytes(265, &[0xff; 64]), b""),
            C,
            anything,
        ),
    ];
    for flag in [b'Z', b'V', b'M', b'N', b'D', b'X', b'8'] {
        cases.push(one(
            "69",
            move |a, _| a.raw(Raw::new(flag, b"f"), b""),
            E,
            anything,
        ));
    }
    for value in ["nan", "1e9", "0x1", ""] {
        cases.push(one("76 malformed", pax("mtime", value), E, anything));
    }
    run(cases);
}

#[test]
fn devices_need_a_privilege() {
    let verdict = if is_root() { Any } else { S };
    run(vec![one(
        "67",
        |a, _| {
            a.raw(
                Raw::new(b'3', b"dev/null")
                    .octal(329, 8, 1)
                    .octal(337, 8, 3),
                b"",
            )
        },
        verdict,
        anything,
    )]);
}

#[test]
fn format_and_desync() {
    let inner = || Raw::new(b'0', b"smuggled").summed();
    let pax = |body: &'static [u8]| move |a: Archive, _: &str| a.ext(b'x', body).f("f", "");
    let big = || Raw::new(b'L', b"ext").size(1 << 30);
    let whole = || Archive::new().f("f", "x").end();
    let signed = || {
        let mut raw = Raw::new(b'0', b"\xff\xfe").bytes(148, b"        ");
        let sum: i64 = raw.0.iter().map(|&b| i64::from(b.cast_signed())).sum();
        raw = raw.bytes(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = raw.0.to_vec();
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    };
    let bad_sum = || {
        let mut bytes = Archive::new().f("f", "").end();
        bytes[0] ^= 1;
        bytes
    };
    let mut cases = vec![
        bytes(
            "81",
            move || {
                Archive::new()
                    .x(&[("size", "1024")])
                    .raw(
                        Raw::new(b'0', b"f"),
                        &[inner().as_slice(), &[0; 512]].concat(),
                    )
                    .end()
            },
            C,
            absent("smuggled"),
        ),
        bytes(
            "82",
            move || {
                Archive::new()
                    .x(&[("size", "1024")])
                    .raw(
                        Raw::new(b'0', b"f").size(512),
                        &[inner().as_slice(), &[7; 512]].concat(),
                    )
                    .end()
            },
            C,
            |root: &Path| {
                assert_eq!(fs::metadata(root.join("f")).unwrap().len(), 1024);
            },
        ),
        bytes(
            "83",
            || {
                Archive::new()
                    .x(&[("size", "3")])
                    .ext(b'L', "long")
                    .raw(Raw::new(b'0', b"f"), b"abc")
                    .end()
            },
            C,
            has("long", "abc"),
        ),
        one(
            "84 two",
            |a, _| a.x(&[("path", "a")]).x(&[("path", "b")]).f("f", ""),
            E,
            anything,
        ),
        one(
            "84 global",
            |a, _| a.x(&[("path", "a")]).ext(b'g', "10 path=b\n").f("f", ""),
            E,
            anything,
        ),
        one("84 at the end", |a, _| a.x(&[("path", "a")]), E, anything),
        one(
            "86",
            |a, _| a.x(&[("path", "a"), ("path", "b")]).f("f", "x"),
            C,
            has("b", "x"),
        ),
        one(
            "86 both",
            |a, _| a.x(&[("path", "a")]).ext(b'L', "b").f("f", "x"),
            E,
            anything,
        ),
        bytes(
            "87",
            move || Archive::new().raw(big(), b"short").end(),
            E,
            anything,
        ),
        bytes("88", bad_sum, E, anything),
        bytes("88 signed", signed, C, anything),
        bytes(
            "88 GNU magic",
            || {
                Archive::new()
                    .raw(Raw::new(b'0', b"f").bytes(257, b"ustar  \0").size(1), b"x")
                    .end()
            },
            C,
            has("f", "x"),
        ),
        bytes(
            "88 no magic",
            || {
                Archive::new()
                    .raw(Raw::new(b'0', b"f").bytes(257, &[0; 8]).size(1), b"x")
                    .end()
            },
            C,
            has("f", "x"),
        ),
        bytes(
            "89 digits",
            || {
                Archive::new()
                    .raw(
                        Raw::new(b'0', b"f").bytes(124, b"77x\0\0\0\0\0\0\0\0\0"),
                        b"",
                    )
                    .end()
            },
            E,
            anything,
        ),
        bytes(
            "89 negative",
            || {
                Archive::new()
                    .raw(Raw::new(b'0', b"f").bytes(124, &[0xff; 12]), b"")
                    .end()
            },
            E,
            anything,
        ),
        bytes(
            "89 huge",
            || {
                Archive::new()
                    .raw(
                        Raw::new(b'0', b"f")
                            .bytes(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
                        b"",
                    )
                    .end()
            },
            E,
            anything,
        ),
        bytes(
            "90 in a header",
            || Archive::new().f("a", "").0[..300].to_vec(),
            E,
            anything,
        ),
        bytes(
            "90 in a second header",
            || {
                let a = Archive::new().f("a", "").f("b", "").0;
                a[..700].to_vec()
            },
            E,
            anything,
        ),
        bytes(
            "90 in a body",
            || Archive::new().f("a", &"x".repeat(1000)).0[..900].to_vec(),
            E,
            anything,
        ),
        bytes(
            "90 no end",
            || Archive::new().f("f", "x").0,
            C,
            has("f", "x"),
        ),
        bytes(
            "90 half an end",
            || [Archive::new().f("f", "x").0, vec![0; 512]].concat(),
            C,
            has("f", "x"),
        ),
        bytes(
            "90 a lone zero block",
            || [vec![0; 512], Archive::new().f("f", "x").end()].concat(),
            E,
            anything,
        ),
        bytes(
            "91",
            move || {
                [
                    whole(),
                    Archive::new().f("second", "x").end(),
                    vec![5; 1 << 20],
                ]
                .concat()
            },
            C,
            absent("second"),
        ),
        one("93", |a, _| a.f("a", "1").f("a", "2"), C, has("a", "2")),
        one(
            "93 kinds",
            |a, _| a.d("a").f("a/x", "").f("a", "f").d("a"),
            C,
            all(vec![Box::new(is_real_dir("a")), Box::new(absent("a/x"))]),
        ),
        bytes("an empty stream", Vec::new, E, anything),
        bytes("only the end", || vec![0; 1024], C, anything),
    ];
    for body in [
        &b"99 path=abc\n"[..],
        b"12 pathabcd\n\n",
        b"12 path=abcd",
        b"0 path=abc\n",
        b"12345678901234567890 path=a\n",
        b"x path=a\n",
    ] {
        cases.push(one("85", pax(body), E, anything));
    }
    run(cases);
}

#[test]
fn sparse_files() {
    let gnu = |pairs: &[(u64, u64)], real: u64, stored: u64| {
        let mut raw = Raw::new(b'S', b"f").bytes(257, b"ustar  \0").size(stored);
        for (i, (offset, length)) in pairs.iter().enumerate() {
            raw = raw
                .octal(386 + i * 24, 12, *offset)
                .octal(398 + i * 24, 12, *length);
        }
        raw.octal(483, 12, real)
    };
    let with = move |raw: Raw, body: &'static [u8]| {
        move || Archive::new().raw(raw.clone(), body).f("next", "n").end()
    };
    let expect = |body: &'static [u8]| {
        move |root: &Path| {
            assert_eq!(fs::read(root.join("f")).unwrap(), body);
            assert_eq!(fs::read(root.join("next")).unwrap(), b"n");
        }
    };
    let map = |records: &'static [(&'static str, &'static str)], body: &'static [u8]| {
        move |a: Archive, _: &str| {
            a.x(records)
                .raw(
                    Raw::new(b'0', b"GNUSparseFile.0/f").size(body.len() as u64),
                    body,
                )
                .f("next", "n")
        }
    };
    let mut v1 = b"1\n4\n2\n".to_vec();
    v1.resize(512, 0);
    v1.extend_from_slice(b"ab");
    let v1: &'static [u8] = v1.leak();
    run(vec![
        bytes(
            "92",
            with(gnu(&[(2, 3)], 8, 3), b"abc"),
            C,
            expect(b"\0\0abc\0\0\0"),
        ),
        bytes(
            "92 huge",
            with(gnu(&[(1 << 30, 1)], (1 << 30) + 1, 1), b"x"),
            C,
            |root: &Path| {
                let stat = fs::metadata(root.join("f")).unwrap();
                assert!(stat.len() == (1 << 30) + 1 && stat.blocks() < 100);
            },
        ),
        bytes(
            "92 overlap",
            with(gnu(&[(2, 3), (3, 1)], 8, 4), b"abcd"),
            E,
            anything,
        ),
        bytes(
            "92 unordered",
            with(gnu(&[(6, 1), (2, 1)], 8, 2), b"ab"),
            E,
            anything,
        ),
        bytes(
            "92 behind the end",
            with(gnu(&[(7, 3)], 8, 3), b"abc"),
            E,
            anything,
        ),
        bytes("92 short", with(gnu(&[(0, 3)], 8, 2), b"ab"), E, anything),
        one(
            "92 0.0",
            map(
                &[
                    ("GNU.sparse.size", "5"),
                    ("GNU.sparse.numblocks", "1"),
                    ("GNU.sparse.offset", "2"),
                    ("GNU.sparse.numbytes", "2"),
                    ("path", "f"),
                ],
                b"ab",
            ),
            C,
            expect(b"\0\0ab\0"),
        ),
        one(
            "92 0.1",
            map(
                &[
                    ("GNU.sparse.size", "5"),
                    ("GNU.sparse.map", "2,2"),
                    ("GNU.sparse.name", "f"),
                ],
                b"ab",
            ),
            C,
            expect(b"\0\0ab\0"),
        ),
        one(
            "92 1.0",
            map(
                &[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "f"),
                    ("GNU.sparse.realsize", "7"),
                ],
                v1,
            ),
            C,
            expect(b"\0\0\0\0ab\0"),
        ),
        one(
            "92 1.0 cut",
            map(
                &[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.name", "f"),
                    ("GNU.sparse.realsize", "7"),
                ],
                b"99",
            ),
            E,
            anything,
        ),
        one(
            "92 0.1 malformed",
            map(
                &[("GNU.sparse.size", "5"), ("GNU.sparse.map", "2,x")],
                b"ab",
            ),
            E,
            anything,
        ),
    ]);
}

#[test]
fn compression() {
    let tar = || Archive::new().f("f", "x").end();
    let gzip = move |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let flip = |mut bytes: Vec<u8>, from_end: usize| {
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        bytes
    };
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    let skippable = || vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let wide = || {
        let mut out = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        out.set_parameter(zstd::zstd_safe::CParameter::WindowLog(28))
            .unwrap();
        out.write_all(&vec![0; 1 << 20]).unwrap();
        out.finish().unwrap()
    };
    let bomb = move || {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&Raw::new(b'0', b"f").size(1 << 30).summed())
            .unwrap();
        for _ in 0..100 {
            out.write_all(&vec![0; 1 << 20]).unwrap();
        }
        out.finish().unwrap()
    };
    run(vec![
        bytes("gzip", move || gzip(&tar()), C, has("f", "x")),
        bytes("95 CRC", move || flip(gzip(&tar()), 8), E, anything),
        bytes("95 ISIZE", move || flip(gzip(&tar()), 4), E, anything),
        bytes(
            "95 cut",
            move || {
                let all = gzip(&tar());
                all[..all.len() - 12].to_vec()
            },
            E,
            anything,
        ),
        bytes(
            "95 members",
            move || {
                let t = tar();
                [gzip(&t[..100]), gzip(&t[100..600]), gzip(&t[600..])].concat()
            },
            C,
            has("f", "x"),
        ),
        bytes("96", bomb, E, anything),
        bytes("97 window", wide, E, anything),
        bytes(
            "97 skippable",
            move || [skippable(), zstd(&tar()), skippable()].concat(),
            C,
            has("f", "x"),
        ),
        bytes(
            "zstd cut",
            move || {
                let all = zstd(&tar());
                all[..all.len() - 5].to_vec()
            },
            E,
            anything,
        ),
        bytes("98 xz", || b"\xfd7zXZ\0\0\0\0\0".to_vec(), E, anything),
        bytes(
            "98 noise",
            || b"this is not an archive".to_vec(),
            E,
            anything,
        ),
    ]);
}

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
    let extracted = extract_archive(tar.as_slice(), &rootfs, &dest, &options).unwrap();
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
        assert!(extract_archive(bad.end().as_slice(), &rootfs, &dest, &options).is_err());
        scene.assert_contained("ADD");
    }
    absent("srv/evil")(&scene.root());
}
