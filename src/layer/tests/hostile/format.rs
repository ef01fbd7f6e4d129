//! Two readers that could disagree, sparse maps, damaged compression.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::builder::{Archive, Raw};
use super::*;

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
