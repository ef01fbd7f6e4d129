//! Names and symbolic links.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::builder::{Archive, Raw};
use super::*;

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
