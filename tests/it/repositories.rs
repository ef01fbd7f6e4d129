//! Git contexts against a small server: what is asked for, who learns our credentials, and packs and trees that no git makes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use sha1::{Digest as _, Sha1};

use crate::mock::{Arrived, Mock, Reply};
use crate::program::{Call, Scene};

/// Seconds since 1970.
const COMMITTED: u64 = 1_500_000_000;
const BLOB: u8 = 3;

/// What a repository sends.
#[derive(Clone)]
struct Repository {
    commit: String,
    pack: Vec<u8>,
}

/// An object: its kind as a pack has it, and its bytes.
type Object = (u8, Vec<u8>);

fn name(object: &Object) -> String {
    let kind = ["", "commit", "tree", "blob", "tag"][usize::from(object.0)];
    let mut hasher = Sha1::new();
    hasher.update(format!("{kind} {}\0", object.1.len()));
    hasher.update(&object.1);
    hex::encode(hasher.finalize())
}

fn blob(text: &str) -> Object {
    (BLOB, text.as_bytes().to_vec())
}

/// A tree of modes, names and ids.
fn tree(entries: &[(&str, &str, &str)]) -> Object {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} {name}\0").bytes());
        bytes.extend(hex::decode(id).expect("an id"));
    }
    (2, bytes)
}

fn commit(tree: &str) -> Object {
    let text = format!(
        "tree {tree}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> {COMMITTED} +0100\n\nwords\n"
    );
    (1, text.into_bytes())
}

fn head(kind: u8, mut size: u64) -> Vec<u8> {
    let mut head = vec![kind << 4 | u8::try_from(size & 0x0f).expect("four bits")];
    size >>= 4;
    while size > 0 {
        *head.last_mut().expect("a byte") |= 0x80;
        head.push(u8::try_from(size & 0x7f).expect("seven bits"));
        size >>= 7;
    }
    head
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A pack of entries as they are, under a true checksum.
fn pack_of(count: u32, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend(count.to_be_bytes());
    pack.extend(entries.concat());
    let checksum = Sha1::digest(&pack);
    pack.extend(checksum);
    pack
}

fn entry((kind, bytes): &Object) -> Vec<u8> {
    [head(*kind, bytes.len() as u64), zlib(bytes)].concat()
}

/// A repository with one commit of a tree, the objects of which come along.
fn repository(top: &Object, objects: &[Object]) -> Repository {
    let commit = commit(&name(top));
    let all: Vec<Vec<u8>> = [&commit, top]
        .into_iter()
        .chain(objects)
        .map(entry)
        .collect();
    let count = u32::try_from(all.len()).expect("a few");
    Repository {
        commit: name(&commit),
        pack: pack_of(count, &all),
    }
}

/// The usual one: a Dockerfile, a program, a link and a directory.
fn usual() -> Repository {
    let dockerfile = blob("FROM scratch\nCOPY . /\n");
    let (program, target) = (blob("#!/bin/sh\n"), blob("/etc/passwd"));
    let inner = tree(&[("100644", "file", &name(&program))]);
    let top = tree(&[
        ("100644", "Dockerfile", &name(&dockerfile)),
        ("40000", "dir", &name(&inner)),
        ("120000", "link", &name(&target)),
        ("100755", "run", &name(&program)),
    ]);
    repository(&top, &[dockerfile, program, target, inner])
}

fn line(text: &str) -> String {
    format!("{:04x}{text}\n", text.len() + 5)
}

/// What git's server would answer to a request for `/NAME.git`.
fn answer(repository: &Repository, request: &Arrived) -> Reply {
    let commit = &repository.commit;
    let kind = |what: &str| {
        vec![(
            "content-type",
            format!("application/x-git-upload-pack-{what}"),
        )]
    };
    let asks = |command: &str| {
        let body = String::from_utf8_lossy(&request.body);
        body.contains(&format!("command={command}\n"))
    };
    if request
        .target
        .ends_with(".git/info/refs?service=git-upload-pack")
    {
        let text = [
            &line("# service=git-upload-pack"),
            "0000",
            &line("version 2"),
            &line("ls-refs"),
            &line("fetch=shallow"),
            "0000",
        ];
        return Reply::Full(200, kind("advertisement"), text.concat().into_bytes());
    }
    if asks("ls-refs") {
        let mut text = line(&format!("{commit} HEAD symref-target:refs/heads/main"));
        text += &line(&format!("{commit} refs/heads/main"));
        return Reply::Full(200, kind("result"), (text + "0000").into_bytes());
    }
    if asks("fetch") {
        let mut bytes = line("packfile").into_bytes();
        for part in repository.pack.chunks(60_000) {
            let mut length = String::new();
            write!(length, "{:04x}", part.len() + 5).expect("memory");
            bytes.extend(length.bytes());
            bytes.push(1);
            bytes.extend(part);
        }
        bytes.extend(b"0000");
        return Reply::Full(200, kind("result"), bytes);
    }
    Reply::Answer(404, String::new())
}

fn serve(repository: Repository) -> Mock {
    Mock::start(move |request| answer(&repository, request))
}

fn build(scene: &Scene, mock: &Mock, rest: &str) -> Call {
    let context = format!("{}/r.git{rest}", mock.url());
    scene.longshore(&["build", "-c", &context])
}

#[test]
fn a_commit_becomes_an_image() {
    let Some(scene) = Scene::new() else { return };
    let usual = usual();
    let mock = serve(usual.clone());
    let image = build(&scene, &mock, "#main").image();
    assert_eq!(
        image.paths(),
        ["Dockerfile", "dir/", "dir/file", "link", "run"]
    );
    let file = image.file("run");
    assert_eq!((file.text(), file.mode), ("#!/bin/sh\n", 0o755));
    assert_eq!(image.file("dir/file").mode, 0o644);
    assert_eq!(image.file("dir/file").mtime, COMMITTED);
    let revision = &image.config()["Labels"]["org.opencontainers.image.revision"];
    assert_eq!(revision, &usual.commit);
    let arrived = mock.arrived();
    assert_eq!(arrived.len(), 3, "{arrived:?}");
    for request in &arrived {
        assert_eq!(request.header("git-protocol"), Some("version=2"));
        assert_eq!(request.header("authorization"), None);
    }
    let fetch = String::from_utf8_lossy(&arrived[2].body).into_owned();
    assert!(fetch.contains("deepen 1\n"), "{fetch}");
    let want = format!("want {}\n", usual.commit);
    assert_eq!(fetch.matches("want ").count(), 1, "{fetch}");
    assert!(fetch.contains(&want), "{fetch}");
    // What is named by its commit needs no list of references.
    build(&scene, &mock, &format!("#{}", usual.commit)).image();
    assert_eq!(mock.arrived().len(), 3 + 2);
}

#[test]
fn a_reproducible_image_is_of_the_commits_time() {
    let Some(scene) = Scene::new() else { return };
    let mock = serve(usual());
    let dated = |epoch: &str| {
        let call = build(&scene, &mock, "#main").env("SOURCE_DATE_EPOCH", epoch);
        call.arg("--reproducible").image()
    };
    let image = dated("");
    assert_eq!(image.document["created"], "2017-07-14T02:40:00Z");
    assert_eq!(image.file("dir").mtime, COMMITTED);
    // What is said wins over what is found.
    let image = dated("1000");
    assert_eq!(image.document["created"], "1970-01-01T00:16:40Z");
    assert_eq!(image.file("dir").mtime, 1000);
}

#[test]
fn a_fetch_that_takes_long_is_told() {
    let Some(scene) = Scene::new() else { return };
    let mut state = 1_u32;
    let noise = (0..3_000_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let (dockerfile, noise) = (
        blob("FROM scratch\nCOPY noise /\n"),
        (BLOB, noise.collect()),
    );
    let top = tree(&[
        ("100644", "Dockerfile", &name(&dockerfile)),
        ("100644", "noise", &name(&noise)),
    ]);
    let large = repository(&top, &[dockerfile, noise]);
    let mock = Mock::start(move |request| match answer(&large, request) {
        Reply::Full(200, headers, bytes) if bytes.len() > 2_000_000 => {
            let (first, rest) = bytes.split_at(1_500_000);
            let pause = std::time::Duration::from_millis(5500);
            Reply::Paused(headers, first.to_vec(), pause, rest.to_vec())
        }
        other => other,
    });
    let finished = build(&scene, &mock, "#main").arg("--no-push").success();
    let told = |line: &&str| line.starts_with("context: ") && line.ends_with(" MB so far");
    let told: Vec<&str> = finished.stderr.lines().filter(told).collect();
    assert_eq!(told.len(), 1, "{finished}");
}

#[test]
fn a_credential_stays_with_its_host() {
    let Some(scene) = Scene::new() else { return };
    let usual = Arc::new(usual());
    let there = {
        let usual = Arc::clone(&usual);
        Mock::start(move |request| answer(&usual, request))
    };
    let target = there.url();
    let here = Mock::start(move |request| {
        if request.header("authorization").is_none() {
            let asks = vec![("www-authenticate", "Basic".to_owned())];
            return Reply::Full(401, asks, vec![]);
        }
        let location = format!("{target}{}", request.target);
        Reply::Full(302, vec![("location", location)], vec![])
    });
    let finished = build(&scene, &here, "#main")
        .env("GIT_TOKEN", "canary-token")
        .args(["--no-push", "--verbosity=trace"])
        .success();
    finished.keeps("canary-token");
    let at = |mock: &Mock| -> Vec<bool> {
        let arrived = mock.arrived();
        let all = arrived.iter();
        all.map(|request| request.header("authorization").is_some())
            .collect()
    };
    assert_eq!(at(&here), [true]);
    assert_eq!(at(&there), [false; 3]);
}

#[test]
fn add_takes_a_commit() {
    let Some(scene) = Scene::new() else { return };
    let usual = usual();
    let mock = serve(usual.clone());
    let url = format!("{}/r.git", mock.url());
    let image = scene.image(&format!("FROM scratch\nADD --chown=5:6 {url}#main /to\n"));
    assert_eq!(
        image.paths(),
        [
            "to/",
            "to/Dockerfile",
            "to/dir/",
            "to/dir/file",
            "to/link",
            "to/run"
        ]
    );
    let file = image.file("to/run");
    assert_eq!((file.mode, file.uid, file.gid), (0o755, 5, 6));
    let part = scene.image(&format!("FROM scratch\nADD {url}#main:dir /to\n"));
    assert_eq!(part.paths(), ["to/", "to/file"]);
    let checked = &usual.commit[..10];
    scene.image(&format!("FROM scratch\nADD --checksum={checked} {url} /\n"));
    for (line, words, hint) in [
        (
            format!("ADD --checksum=0123456789 {url} /"),
            "not 0123456789",
            "if the reference was moved on purpose",
        ),
        (
            format!("ADD {url}#nope /"),
            "its branches are main",
            "a branch, a tag or a whole commit stands behind a #",
        ),
        (
            format!("ADD {url}#main:nope /"),
            "has no directory nope",
            "#REFERENCE:DIRECTORY",
        ),
        (
            "ADD http://127.0.0.1:9/r.git /".to_owned(),
            "Connection refused",
            "check the name and the port",
        ),
    ] {
        let failed = scene.mistake(&format!("FROM scratch\n{line}\n"));
        failed
            .says(words)
            .says(&line)
            .says("\n  = help: ")
            .says(hint);
    }
    let none = Mock::start(|_| Reply::Full(404, vec![], vec![]));
    build(&scene, &none, "")
        .mistake()
        .says("there is no repository")
        .says("\n  hint: check the URL: it is the one that `git clone` takes");
    // A reference that does not change is not fetched again.
    let cached = || {
        let cache = format!("oci:{}", scene.out("cache").display());
        scene
            .dockerfile(&format!("FROM scratch\nADD {url}#main /to\n"))
            .build()
            .args(["--cache", "--cache-copy-layers", "--cache-repo", &cache])
            .image()
    };
    cached();
    let before = mock.arrived().len();
    assert_eq!(cached().paths().len(), 6);
    assert_eq!(mock.arrived().len(), before + 2);
}

#[test]
fn packs_that_no_git_makes_are_refused() {
    let Some(scene) = Scene::new() else { return };
    let usual = usual();
    let far = [0x80, 0x80, 0x80, 0x80, 0x40];
    let delta = |kind: u8, base: &[u8], bytes: &[u8]| {
        [head(kind, bytes.len() as u64), base.to_vec(), zlib(bytes)].concat()
    };
    let small = entry(&blob("small"));
    let back = u8::try_from(small.len()).expect("small");
    let copies = [b"\x05".as_slice(), &far, b"\x90\x05"].concat();
    let cycle = delta(7, &[7; 20], b"\x05\x05\x90\x05");
    let mut damaged = usual.pack.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for (what, pack, words) in [
        (
            "a count",
            pack_of(u32::MAX, &[]),
            "more than 5000000 objects",
        ),
        (
            "a claim",
            pack_of(1, &[[head(BLOB, 1 << 40), zlib(b"")].concat()]),
            "bytes in one object",
        ),
        (
            "a bomb",
            pack_of(1, &[[head(BLOB, 10), zlib(&vec![0; 50_000_000])].concat()]),
            "larger than the pack says",
        ),
        (
            "a delta",
            pack_of(2, &[small, delta(6, &[back], &copies)]),
            "bytes in one object",
        ),
        ("a delta of nothing", pack_of(1, &[cycle]), "cannot be used"),
        ("half of one", usual.pack[..40].to_vec(), "ends early"),
        ("a wrong checksum", damaged, "cannot be used"),
        ("none", b"no pack at all".to_vec(), "is no pack"),
        ("an empty one", pack_of(0, &[]), "cannot be used"),
    ] {
        let mock = serve(Repository {
            commit: usual.commit.clone(),
            pack,
        });
        let failed = build(&scene, &mock, "").mistake();
        assert_eq!(failed.code(), 1, "{what}: {failed}");
        failed.says(words);
    }
}

#[test]
fn trees_that_no_git_makes_are_refused() {
    let Some(scene) = Scene::new() else { return };
    let outside = scene.out("outside");
    let target = outside.to_str().expect("a path");
    let (dockerfile, link) = (blob("FROM scratch\nCOPY . /\n"), blob(target));
    let inner = tree(&[("100644", "evil", &name(&dockerfile))]);
    let (file, directory, link_id) = (name(&dockerfile), name(&inner), name(&link));
    let nothing = "0".repeat(40);
    for (entries, words) in [
        (vec![("40000", ".git", &*directory)], "may not bring a .git"),
        (vec![("100644", ".GIT", &*file)], "may not bring a .git"),
        (vec![("40000", "..", &*directory)], "no name of a file"),
        (vec![("100644", "../evil", &*file)], "no name of a file"),
        (vec![("100644", "", &*file)], "no name of a file"),
        (
            vec![("120000", "a", &*link_id), ("40000", "a", &*directory)],
            "exists",
        ),
        (vec![("60000", "device", &*file)], "cannot be read"),
        (vec![("100644", "gone", &*nothing)], "cannot be used"),
        (vec![("40000", "file", &*file)], "is not a tree"),
        (vec![("100644", "tree", &*directory)], "is not a file"),
    ] {
        let all = [vec![("100644", "Dockerfile", &*file)], entries].concat();
        let top = tree(&all);
        let objects = [dockerfile.clone(), link.clone(), inner.clone()];
        let mock = serve(repository(&top, &objects));
        let failed = build(&scene, &mock, "").mistake();
        assert_eq!(failed.code(), 1, "{failed}");
        failed.says(words);
        assert!(!outside.exists());
    }
}

#[test]
fn a_link_in_a_repository_shows_nothing_of_this_machine() {
    let Some(scene) = Scene::new() else { return };
    let secret = scene.out("secret");
    std::fs::create_dir_all(&secret).expect("a directory");
    std::fs::write(secret.join("Dockerfile"), "canary of this machine\n").expect("a file");
    let secret = secret.to_str().expect("a path").to_owned();
    let (file, directory) = (blob(&format!("{secret}/Dockerfile")), blob(&secret));
    let top = tree(&[
        ("120000", "Dockerfile", &name(&file)),
        ("120000", "sub", &name(&directory)),
    ]);
    let mock = serve(repository(&top, &[file, directory]));
    for rest in [vec![], vec!["--context-sub-path=sub"]] {
        let failed = build(&scene, &mock, "").args(rest).mistake();
        failed.keeps("canary");
    }
    build(&scene, &mock, "#main:sub")
        .mistake()
        .says("a link stands there");
}
