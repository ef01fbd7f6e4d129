//! COPY out of the context and out of other stages, WORKDIR, and the ignore file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::program::Scene;

#[test]
fn a_file_gets_its_place_mode_owner_and_time() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "hello\n").mode("a", 0o640);
    let image = scene.image("FROM scratch\nCOPY a /x/y/b\n");
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.layers[0].paths(), ["x", "x/y", "x/y/b"]);
    let file = image.file("x/y/b");
    assert_eq!((file.kind, file.mode, file.text()), ('f', 0o640, "hello\n"));
    assert_eq!((file.uid, file.gid), (0, 0));
    let dir = image.file("x");
    assert_eq!((dir.kind, dir.mode, dir.uid, dir.gid), ('d', 0o755, 0, 0));
    let history = image.history();
    assert_eq!(history, ["COPY a /x/y/b # buildkit"]);
    assert_eq!(image.document["os"], "linux");
}

#[test]
fn destinations_in_all_forms() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").file("b", "2").file("dir/c", "3");
    let image = scene.image(
        "FROM scratch\nWORKDIR /w\nCOPY a .\nCOPY a new\nCOPY a b many/\nCOPY dir /whole\nCOPY dir/c /w/../up\nCOPY [\"a\", \"with space/\"]\n",
    );
    let paths = image.paths();
    let expect = [
        "up",
        "w/",
        "w/a",
        "w/many/",
        "w/many/a",
        "w/many/b",
        "w/new",
        "w/with space/",
        "w/with space/a",
        "whole/",
        "whole/c",
    ];
    assert_eq!(paths, expect);
}

#[test]
fn wildcards_match_one_component() {
    let Some(scene) = Scene::new() else { return };
    for name in ["a1.txt", "a2.txt", "b.txt", "a1.md", "d/a3.txt", "[x]"] {
        scene.file(name, name);
    }
    let image = scene.image(
        "FROM scratch\nCOPY a?.txt /one/\nCOPY *.txt /all/\nCOPY a[^1].txt /not/\nCOPY [[]x] /bracket/\nCOPY */a*.txt /deep/\n",
    );
    let files: Vec<String> = image
        .paths()
        .into_iter()
        .filter(|path| !path.ends_with('/'))
        .collect();
    let expect = [
        "all/a1.txt",
        "all/a2.txt",
        "all/b.txt",
        "bracket/[x]",
        "deep/a3.txt",
        "not/a2.txt",
        "one/a1.txt",
        "one/a2.txt",
    ];
    assert_eq!(files, expect);
    // As with BuildKit, a pattern may match nothing.
    assert_eq!(
        scene.image("FROM scratch\nCOPY *.none /\n").paths(),
        Vec::<String>::new()
    );
    // But the directory that it is about has to be there, and a hidden one is not.
    for from in ["none", "d/none"] {
        let failed = scene.mistake(&format!("FROM scratch\nCOPY {from}/* /x/\n"));
        failed.says(&format!("\"{from}\" is not in the build context"));
    }
    // Below a file there is nothing; of a stage that is nothing found, as with BuildKit.
    for (from, file) in [
        ("b.txt/*", "b.txt"),
        ("d/a3.txt/*", "d/a3.txt"),
        ("b.txt/none/*", "b.txt"),
        ("b.txt/none", "b.txt"),
    ] {
        for flags in ["", "--exclude=none "] {
            let failed = scene.mistake(&format!("FROM scratch\nCOPY {flags}{from} /x/\n"));
            failed.says("is not in the build context");
            failed.says(&format!(
                "\"{file}\" is a regular file, with nothing below it"
            ));
        }
    }
    let failed = scene.mistake("FROM scratch\nADD b.txt/* /x/\n");
    failed
        .says("2 | ADD b.txt/* /x/")
        .says("\"b.txt/*\" is not in");
    let failed = scene.mistake("FROM scratch\nCOPY --parents b.txt/./* /x/\n");
    failed.says("\"b.txt\" is a regular file, with nothing below it");
    let copied = "FROM scratch AS one\nCOPY b.txt /\nFROM scratch\nCOPY --from=one";
    assert_eq!(
        scene.image(&format!("{copied} /b.txt/* /x/\n")).paths(),
        Vec::<String>::new()
    );
    for from in ["/b.txt/none/*", "/b.txt/none"] {
        let failed = scene.mistake(&format!("{copied} {from} /x/\n"));
        failed.says("\"/b.txt\" is a regular file, with nothing below it");
    }
    scene.link("nowhere", "dangling");
    let failed = scene.mistake("FROM scratch\nCOPY dangling/* /x/\n");
    failed.says("\"dangling\" is a link to \"nowhere\", which is not there");
    scene.file(".dockerignore", "d\n");
    let failed = scene.mistake("FROM scratch\nCOPY d/* /x/\n");
    failed.says("the ignore rule \"d\" (.dockerignore:1) hides it");
}

#[test]
fn owners_by_number_and_by_name() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").file("d/b", "2");
    scene.file(
        "passwd",
        "root:x:0:0::/:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh\n",
    );
    scene.file("group", "root:x:0:\nstaff:x:50:\nbob:x:1001:\n");
    let image = scene.image(
        "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=7:8 a /n/a\nCOPY --chown=9 a /only\nCOPY --chown=bob d /named/\nCOPY --chown=bob:staff a /staff\n",
    );
    let owner = |path: &str| {
        let file = image.file(path);
        (file.uid, file.gid)
    };
    assert_eq!(owner("n/a"), (7, 8));
    assert_eq!(owner("n"), (7, 8));
    assert_eq!(owner("only"), (9, 9));
    assert_eq!(owner("named/b"), (1000, 1001));
    assert_eq!(owner("staff"), (1000, 50));
    let failed = scene.mistake("FROM scratch\nCOPY --chown=eve a /\n");
    failed
        .says("\"eve\"")
        .says("/etc/passwd")
        .says("COPY --chown=eve a /");
}

#[test]
fn modes_by_number_and_by_symbol() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("a", "1")
        .mode("a", 0o600)
        .file("d/b", "2")
        .mode("d/b", 0o700);
    let image = scene.image(
        "FROM scratch\nARG MODE=4755\nCOPY --chmod=0444 a /read\nCOPY --chmod=${MODE} a /setuid\nCOPY --chmod=u=rwX,go=rX d /d\n",
    );
    assert_eq!(image.file("read").mode, 0o444);
    assert_eq!(image.file("setuid").mode, 0o4755);
    assert_eq!(image.file("d/b").mode, 0o755);
    scene
        .mistake("FROM scratch\nCOPY --chmod=9z a /\n")
        .says("9z");
}

#[test]
fn heredocs_become_files() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image(
        "FROM scratch\nARG WHO=world\nCOPY <<a.txt <<'b.txt' /d/\nhello $WHO\na.txt\nhello $WHO\nb.txt\nCOPY --chmod=755 --chown=3:4 <<-EOF /script\n\t#!/bin/sh\n\techo\nEOF\n",
    );
    assert_eq!(image.file("d/a.txt").text(), "hello world\n");
    assert_eq!(image.file("d/b.txt").text(), "hello $WHO\n");
    let script = image.file("script");
    assert_eq!((script.text(), script.mode), ("#!/bin/sh\necho\n", 0o755));
    assert_eq!((script.uid, script.gid), (3, 4));
    assert_eq!(image.file("d/a.txt").mode, 0o644);
}

#[test]
fn links_inside_are_kept_and_named_links_are_followed() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("d/real", "1")
        .link("real", "d/link")
        .link("/nowhere", "d/dangling")
        .link("d/real", "top");
    std::fs::hard_link(scene.path("d/real"), scene.path("d/second")).unwrap();
    let image = scene.image("FROM scratch\nCOPY d /d\nCOPY top /top\n");
    let link = image.file("d/link");
    assert_eq!((link.kind, &link.link[..]), ('l', &b"real"[..]));
    assert_eq!(image.file("d/dangling").link, b"/nowhere");
    let top = image.file("top");
    assert_eq!((top.kind, top.text()), ('f', "1"));
    let (one, two) = (image.file("d/real"), image.file("d/second"));
    let pair = [(one.kind, &one.link[..]), (two.kind, &two.link[..])];
    assert_eq!(pair, [('f', &b""[..]), ('h', &b"d/real"[..])]);
}

#[test]
fn a_link_of_the_context_leads_nowhere_outside() {
    let Some(scene) = Scene::new() else { return };
    std::fs::write(scene.root().join("secret"), "outside").unwrap();
    scene.file("secret", "inside");
    scene
        .link("../secret", "up")
        .link(scene.root().join("secret").to_str().unwrap(), "absolute");
    let image = scene.image("FROM scratch\nCOPY up /\nCOPY ../secret /dots\n");
    assert_eq!(image.file("up").text(), "inside");
    assert_eq!(image.file("dots").text(), "inside");
    let failed = scene.mistake("FROM scratch\nCOPY absolute /\n");
    failed.says("absolute").keeps("outside");
}

#[test]
fn odd_names_survive() {
    let Some(scene) = Scene::new() else { return };
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(250));
    let raw = OsStr::from_bytes(b"tree/raw-\xff\xfe");
    let target = "t".repeat(300);
    scene
        .file(format!("tree/{long}"), "long")
        .file(raw, "raw")
        .file("tree/new\nline", "nl")
        .link(&target, "tree/far");
    let image = scene.image("FROM scratch\nCOPY tree /t\n");
    let layer = &image.layers[0];
    assert_eq!(layer.entry(&format!("t/{long}")).text(), "long");
    let raw = layer
        .entries
        .iter()
        .find(|entry| entry.path == b"t/raw-\xff\xfe");
    assert_eq!(raw.map(crate::image::Entry::text), Some("raw"));
    assert_eq!(layer.entry("t/new\nline").text(), "nl");
    assert_eq!(layer.entry("t/far").link, target.as_bytes());
}

#[test]
fn special_files_of_the_context() {
    let Some(scene) = Scene::new() else { return };
    scene.file("d/a", "1").mode("d/a", 0o4711);
    let fifo = scene.path("d/pipe");
    let status = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(status.is_ok_and(|status| status.success()), "mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(scene.path("d/socket")).unwrap();
    let image = scene.image("FROM scratch\nCOPY d /d\n");
    assert_eq!(image.file("d/a").mode, 0o4711);
    assert_eq!(image.file("d/pipe").kind, 'p');
    assert!(
        !image.tree().contains_key("d/socket"),
        "a socket in a layer"
    );
}

#[test]
fn empty_directories_and_empty_files() {
    let Some(scene) = Scene::new() else { return };
    scene.dir("d/empty").file("d/nothing", "");
    let image = scene.image("FROM scratch\nCOPY d /d/\nWORKDIR /made/for/work\n");
    let expect = [
        "d/",
        "d/empty/",
        "d/nothing",
        "made/",
        "made/for/",
        "made/for/work/",
    ];
    assert_eq!(image.paths(), expect);
    assert_eq!(image.config()["WorkingDir"], "/made/for/work");
}

#[test]
fn workdir_belongs_to_the_user_and_is_relative_to_the_one_before() {
    let Some(scene) = Scene::new() else { return };
    let image =
        scene.image("FROM scratch\nWORKDIR /a\nUSER 12:34\nWORKDIR b\nENV D=c\nWORKDIR $D/../e\n");
    assert_eq!(image.config()["WorkingDir"], "/a/b/e");
    let (a, b) = (image.file("a"), image.file("a/b"));
    assert_eq!((a.uid, a.mode), (0, 0o755));
    assert_eq!((b.uid, b.gid), (12, 34));
}

#[test]
fn files_replace_files_and_merge_into_directories() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("one/x", "1")
        .file("one/y", "1")
        .file("two/x", "2")
        .file("two/z", "2");
    let image = scene.image("FROM scratch\nCOPY one /d\nCOPY two /d\n");
    assert_eq!(image.paths(), ["d/", "d/x", "d/y", "d/z"]);
    assert_eq!(image.file("d/x").text(), "2");
    assert!(
        image.layers[1].get("d/y").is_none(),
        "an unchanged file again"
    );
    scene
        .mistake("FROM scratch\nCOPY one /d\nCOPY one /d/x\n")
        .says("/d/x");
}

#[test]
fn stages_by_name_and_number() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1");
    let image = scene.image(
        "FROM scratch AS first\nCOPY --chown=5:6 --chmod=751 a /a\nENV ONLY=first\nFROM scratch\nCOPY --from=first /a /by-name\nCOPY --from=0 a /by-number\n",
    );
    let file = image.file("by-name");
    assert_eq!((file.uid, file.gid, file.mode), (5, 6, 0o751));
    assert_eq!(image.file("by-number").text(), "1");
    assert_eq!(image.layers.len(), 2);
    assert!(
        image.env().iter().all(|text| !text.contains("ONLY")),
        "{:?}",
        image.env()
    );
}

#[test]
fn a_stage_continues_another() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").file("b", "2");
    let image = scene.image(
        "FROM scratch AS base\nCOPY a /a\nENV A=1\nLABEL l=base\nFROM base AS other\nCOPY b /other\nFROM base\nCOPY b /b\nENV B=$A\n",
    );
    assert_eq!(image.paths(), ["a", "b"]);
    assert!(
        image.env().ends_with(&["A=1".to_owned(), "B=1".to_owned()]),
        "{:?}",
        image.env()
    );
    assert_eq!(image.config()["Labels"]["l"], "base");
    assert_eq!(image.layers.len(), 2);
}

#[test]
fn the_target_decides_what_is_built() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1");
    scene.dockerfile(
        "FROM scratch AS wanted\nCOPY a /wanted\nFROM 127.0.0.1:1/unreachable AS unused\nCOPY none /\nFROM unused AS last\n",
    );
    for target in ["wanted", "WANTED", "0"] {
        let image = scene.build().args(["--target", target]).image();
        assert_eq!(image.paths(), ["wanted"]);
    }
    let failed = scene.build().args(["--target", "wantd"]).mistake();
    failed.says("wantd").says("wanted");
}

#[test]
fn ignored_files_are_not_there() {
    let Some(scene) = Scene::new() else { return };
    for name in [
        "a.log",
        "keep.log",
        "src/x.log",
        "src/main.c",
        "node_modules/m/i.js",
        "docs/a.md",
        "docs/b.md",
    ] {
        scene.file(name, name);
    }
    scene.file(".dockerignore", "# a comment\n*.log\n!keep.log\n**/x.log\nnode_modules\ndocs/*\n!docs/b.md\n.dockerignore\nDockerfile\n");
    let image = scene.image("FROM scratch\nCOPY . /\n");
    assert_eq!(
        image.paths(),
        ["docs/", "docs/b.md", "keep.log", "src/", "src/main.c"]
    );
    let failed = scene.mistake("FROM scratch\nCOPY a.log /\n");
    failed
        .says("a.log")
        .says("\"*.log\"")
        .says(".dockerignore:2");
}

#[test]
fn the_dockerfiles_own_ignore_file_wins() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("a", "1")
        .file("b", "2")
        .file(".dockerignore", "*\n");
    scene.file("docker/app.Dockerfile", "FROM scratch\nCOPY a* b* /\n");
    scene.file("docker/app.Dockerfile.dockerignore", "b\n");
    let image = scene.build().args(["-f", "docker/app.Dockerfile"]).image();
    assert_eq!(image.paths(), ["a"]);
}
