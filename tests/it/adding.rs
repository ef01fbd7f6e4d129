//! ADD: what it does beyond COPY.

use std::io::Write as _;

use crate::image::{gzip, tar_of};
use crate::program::Scene;

fn archive() -> Vec<u8> {
    tar_of(&[
        ("dir", 'd', "", 0o750),
        ("dir/file", 'f', "content\n", 0o640),
        ("dir/link", 'l', "file", 0o777),
        ("dir/hard", 'h', "dir/file", 0o640),
        ("setuid", 'f', "x", 0o4755),
    ])
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(bytes).expect("bzip2");
    encoder.finish().expect("bzip2")
}

#[test]
fn archives_are_extracted_whatever_they_are_called() {
    let Some(scene) = Scene::new() else { return };
    let plain = archive();
    let kinds = [
        ("plain", plain.clone()),
        ("gz.bin", gzip(&plain)),
        ("bz2", bzip2(&plain)),
        ("zst", zstd::encode_all(&plain[..], 3).unwrap()),
    ];
    for (name, bytes) in kinds {
        scene.file(name, bytes);
        let image = scene.image(&format!("FROM scratch\nADD {name} /to/\n"));
        let expect = [
            "to/",
            "to/dir/",
            "to/dir/file",
            "to/dir/hard",
            "to/dir/link",
            "to/setuid",
        ];
        assert_eq!(image.paths(), expect, "{name}");
        let file = image.file("to/dir/file");
        assert_eq!(
            (file.text(), file.mode, file.mtime),
            ("content\n", 0o640, 1_000_000_000)
        );
        assert_eq!(image.file("to/dir").mode, 0o750);
        assert_eq!(image.file("to/dir/link").link, b"file");
        let hard = image.file("to/dir/hard");
        assert_eq!((hard.kind, &hard.link[..]), ('h', &b"to/dir/file"[..]));
        assert_eq!(image.file("to/setuid").mode, 0o4755);
    }
}

#[test]
fn an_xz_archive_is_extracted() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a.tar.xz", include_bytes!("../fixtures/hello.tar.xz"));
    let image = scene.image("FROM scratch\nADD a.tar.xz /\n");
    assert_eq!(image.paths(), ["hello/", "hello/world.txt"]);
    assert_eq!(image.file("hello/world.txt").text(), "hello from xz\n");
}

#[test]
fn what_is_no_archive_is_copied() {
    let Some(scene) = Scene::new() else { return };
    let compressed = gzip(b"just text\n");
    scene
        .file("text.tar", "no tar\n")
        .file("text.gz", &compressed)
        .file("d/x", "1");
    let image = scene
        .image("FROM scratch\nADD text.tar text.gz /f/\nADD d /d\nADD <<here /h\ninline\nhere\n");
    assert_eq!(image.file("f/text.tar").text(), "no tar\n");
    assert_eq!(image.file("f/text.gz").content, compressed);
    assert_eq!(image.file("d/x").text(), "1");
    assert_eq!(image.file("h").text(), "inline\n");
}

#[test]
fn copy_leaves_an_archive_alone() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a.tar", archive());
    let image = scene.image("FROM scratch\nCOPY a.tar /a.tar\n");
    assert_eq!(image.file("a.tar").content, archive());
}

#[test]
fn owners_of_what_is_extracted() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a.tar", archive());
    let image = scene.image("FROM scratch\nADD --chown=11:12 a.tar /to/\n");
    for path in ["to/dir", "to/dir/file", "to/setuid"] {
        let file = image.file(path);
        assert_eq!((file.uid, file.gid), (11, 12), "{path}");
    }
}

#[test]
fn an_archive_does_not_get_out_of_its_place() {
    let Some(scene) = Scene::new() else { return };
    let mut hostile = tar_of(&[("link", 'l', "/", 0o777), ("xx/yy", 'f', "owned", 0o644)]);
    // The name of the second entry, which the writer would not take.
    let at = hostile
        .windows(5)
        .position(|bytes| bytes == b"xx/yy")
        .unwrap();
    hostile[at..at + 5].copy_from_slice(b"../yy");
    let block = at / 512 * 512;
    hostile[block + 148..block + 156].fill(b' ');
    let sum: u32 = hostile[block..block + 512]
        .iter()
        .map(|b| u32::from(*b))
        .sum();
    hostile[block + 148..block + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    scene.file("a.tar", hostile);
    let finished = scene
        .dockerfile("FROM scratch\nADD a.tar /in/here/\n")
        .build()
        .arg("--oci-layout-path")
        .arg(scene.out("o"))
        .run();
    if finished.status.success() {
        let image = crate::image::Image::of_layout(&scene.out("o"));
        for path in image.tree().keys().filter(|path| path.ends_with("yy")) {
            assert!(path.starts_with("in/"), "{path}");
        }
    } else {
        finished.says("a.tar");
    }
    assert!(!scene.out("yy").exists() && !std::path::Path::new("/yy").exists());
}

#[test]
fn a_damaged_archive_is_told() {
    let Some(scene) = Scene::new() else { return };
    let compressed = gzip(&tar_of(&[
        ("a", 'f', &"x".repeat(100_000), 0o644),
        ("b", 'f', "y", 0o644),
    ]));
    scene.file("cut.tar.gz", &compressed[..compressed.len() / 2]);
    let failed = scene.mistake("FROM scratch\nADD cut.tar.gz /\n");
    failed.says("cut.tar.gz").says("2 | ADD cut.tar.gz /");
}

#[test]
fn unpacking_can_be_asked_for_and_forbidden() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a.tar", archive());
    let image =
        scene.image("FROM scratch\nADD --unpack=false a.tar /kept\nADD --unpack=true a.tar /to\n");
    assert_eq!(image.file("kept").content, archive());
    assert_eq!(image.file("to/dir/file").text(), "content\n");
}

#[test]
fn addresses_of_repositories_that_are_none_show_the_line() {
    let Some(scene) = Scene::new() else { return };
    for (line, reason) in [
        ("ADD https://h.test/a.git?mode=x /", "\"mode\" is not known"),
        (
            "ADD https://h.test/a.git#--upload-pack=x /",
            "is not a name",
        ),
        (
            "ADD --checksum=sha256:x https://h.test/a.git /",
            "is not a commit",
        ),
    ] {
        let failed = scene.mistake(&format!("FROM scratch\n{line}\n"));
        failed.says(reason).says(line);
    }
}
