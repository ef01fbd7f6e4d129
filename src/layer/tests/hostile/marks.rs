//! Hard links, whiteouts, types and attributes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::super::builder::{Archive, Raw, is_root};
use super::*;

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
            assert_eq!(fs::metadata(root.join("f")).unwrap().mtime(), -1);
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
            );
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
