//! Where the files come from.

use std::fs;
use std::sync::{Arc, Mutex};

use crate::image::{Image, gzip, tar_of};
use crate::mock::{Mock, Reply};
use crate::program::Scene;

const DOCKERFILE: &str = "FROM scratch\nCOPY a /a\n";

fn archive() -> Vec<u8> {
    tar_of(&[
        ("Dockerfile", 'f', DOCKERFILE, 0o644),
        ("a", 'f', "packed", 0o600),
        ("sub/Dockerfile", 'f', DOCKERFILE, 0o644),
        ("sub/a", 'f', "below", 0o644),
    ])
}

#[test]
fn directories_in_every_spelling() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").dockerfile(DOCKERFILE);
    let path = scene
        .path("")
        .to_str()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let parent = scene.root().to_owned();
    for (args, from) in [
        (vec!["--context".to_owned(), path.clone()], parent.clone()),
        (
            vec!["-c".to_owned(), format!("dir://{path}")],
            parent.clone(),
        ),
        (vec![path.clone()], parent.clone()),
        (vec!["context".to_owned()], parent.clone()),
        (vec![format!("--context=dir://{path}/")], parent),
        (vec![".".to_owned()], scene.path("")),
        (vec![], scene.path("")),
    ] {
        let call = scene.longshore(&["build"]).args(&args).current_dir(from);
        assert_eq!(call.image().file("a").text(), "1", "{args:?}");
    }
}

#[test]
fn archives_plain_and_compressed() {
    let Some(scene) = Scene::new() else { return };
    let path = scene.root().join("context.tar");
    for bytes in [
        archive(),
        gzip(&archive()),
        zstd::encode_all(&archive()[..], 1).unwrap(),
    ] {
        fs::write(&path, &bytes).unwrap();
        let source = format!("tar://{}", path.display());
        let image = scene.longshore(&["build", "-c", &source]).image();
        let file = image.file("a");
        assert_eq!((file.text(), file.mode, file.uid), ("packed", 0o600, 0));
        let image = scene
            .longshore(&["build", "-c", "tar://stdin"])
            .stdin(bytes)
            .image();
        assert_eq!(image.file("a").text(), "packed");
    }
}

/// Under a limit of file sizes, what is hidden can only be in the archive if it is not written.
#[test]
fn what_the_ignore_rules_hide_is_not_extracted() {
    let Some(scene) = Scene::new() else { return };
    let large = "x".repeat(4 << 20);
    let entries = [
        (".dockerignore", 'f', "big", 0o644),
        ("Dockerfile", 'f', "FROM scratch\nCOPY . /\n", 0o644),
        ("big", 'f', large.as_str(), 0o644),
        ("a", 'f', "packed", 0o600),
    ];
    let path = scene.root().join("context.tar");
    let call = |context: &str| {
        scene
            .longshore(&["build", "--oci-layout-path"])
            .arg(scene.out("image"))
            .args(["--reproducible", "-c", context])
    };
    let context = format!("tar://{}", path.display());
    fs::write(&path, tar_of(&entries)).unwrap();
    let limited = |context: &str| call(context).after("trap '' XFSZ; ulimit -f 2048");
    let digest = limited(&context).success().stdout;
    let image = Image::of_layout(&scene.out("image"));
    assert_eq!(image.file("a").text(), "packed");
    assert!(image.layers[0].get("big").is_none());
    // What cannot be read again is extracted whole, since a link may name what is hidden: this limit is one.
    limited("tar://stdin")
        .stdin(tar_of(&entries))
        .mistake()
        .says("big");
    // Late rules, and no rules that can be known: the same image.
    for order in [[1, 2, 3, 0], [3, 2, 1, 0]] {
        let entries = order.map(|at| entries[at]);
        fs::write(&path, tar_of(&entries)).unwrap();
        assert_eq!(call(&context).success().stdout, digest);
        let call = call("tar://stdin").stdin(tar_of(&entries));
        assert_eq!(call.success().stdout, digest);
    }
}

/// What is hidden is gone before the build goes on, also where it had to be written: a registry looks, when it is asked for an
/// image. What is left looks as if nothing had been there.
#[test]
fn what_the_ignore_rules_hide_does_not_stay() {
    let Some(scene) = Scene::new() else { return };
    let entries = [
        ("d/", 'd', "", 0o755),
        ("d/big", 'f', "hidden", 0o644),
        ("d/linked", 'h', "d/big", 0o644),
        ("d/a", 'f', "packed", 0o644),
        ("hidden/x", 'f', "hidden", 0o644),
        ("Dockerfile", 'f', "FROM scratch\nCOPY d /d\n", 0o644),
        (".dockerignore", 'f', "**/big\nhidden\n", 0o644),
    ];
    let path = scene.root().join("context.tar");
    fs::write(&path, tar_of(&entries)).expect("a file");
    let file = format!("tar://{}", path.display());
    let unpacked = scene.dir("unpacked").path("unpacked");
    let done = std::process::Command::new("tar")
        .arg("-xf")
        .arg(&path)
        .arg("-C")
        .arg(&unpacked)
        .status();
    assert!(done.expect("tar").success());
    let call = |context: &str| {
        let call = scene.longshore(&["build", "--no-push", "-c", context]);
        call.env("SOURCE_DATE_EPOCH", "2000000000")
            .stdin(tar_of(&entries))
    };
    let expect = call(&unpacked.display().to_string()).success().stdout;
    for context in ["tar://stdin", "-", &file] {
        assert_eq!(call(context).success().stdout, expect, "{context}");
    }

    let seen = Arc::new(Mutex::new(Vec::new()));
    let (state, found) = (scene.state(), Arc::clone(&seen));
    let mock = Mock::start(move |_| {
        let listed = std::process::Command::new("find")
            .arg(&state)
            .args(["-path", "*/context/*"])
            .output();
        let listed = String::from_utf8(listed.expect("find").stdout).expect("text");
        *found.lock().expect("no panic") = listed.lines().map(str::to_owned).collect();
        Reply::Full(404, vec![], vec![])
    });
    let dockerfile = format!(
        "FROM {}/none\nCOPY d /d\n",
        mock.url().trim_start_matches("http://")
    );
    let mut entries = entries;
    entries[5].2 = &dockerfile;
    let asking = |context: &str| {
        let call = scene.longshore(&["build", "--no-push", "--insecure-pull", "-c", context]);
        call.stdin(tar_of(&entries)).mistake();
        let names = std::mem::take(&mut *seen.lock().expect("no panic"));
        let has = |name: &str| names.iter().any(|path| path.ends_with(name));
        assert!(has("/d/a") && has("/d/linked"), "{names:?}");
        assert!(!has("/big") && !has("/hidden") && !has("/x"), "{names:?}");
    };
    asking("tar://stdin");
    fs::write(&path, tar_of(&entries)).expect("a file");
    asking(&file);
}

#[test]
fn a_sub_path_is_the_root() {
    let Some(scene) = Scene::new() else { return };
    let call = || {
        scene
            .longshore(&["build", "-c", "tar://stdin"])
            .stdin(archive())
    };
    assert_eq!(
        call()
            .args(["--context-sub-path", "sub"])
            .image()
            .file("a")
            .text(),
        "below"
    );
    assert_eq!(
        call()
            .args(["--context-sub-path=/sub/"])
            .image()
            .file("a")
            .text(),
        "below"
    );
    call()
        .args(["--context-sub-path", "none"])
        .mistake()
        .says("none");
    scene.file("sub/a", "2").file("sub/Dockerfile", DOCKERFILE);
    assert_eq!(
        scene
            .build()
            .args(["--context-sub-path", "sub"])
            .image()
            .file("a")
            .text(),
        "2"
    );
    fs::write(scene.root().join("a"), "outside").unwrap();
    scene
        .build()
        .args(["--context-sub-path", ".."])
        .mistake()
        .says("..");
}

#[test]
fn other_schemes_are_refused_with_a_way_out() {
    let scene = Scene::bare();
    if !crate::machine::can_build() {
        return;
    }
    for (context, word) in [
        ("git://github.com", "no repository"),
        ("hdfs://x/y", "hdfs://"),
        ("ftp://x/y", "ftp://"),
        ("dir://", "dir://"),
    ] {
        let failed = scene.longshore(&["build", "-c", context]).mistake();
        failed.says("--context").says(word);
        assert_eq!(failed.code(), 2, "{failed}");
    }
}

#[test]
fn archives_that_break_off() {
    let Some(scene) = Scene::new() else { return };
    let plain = tar_of(&[
        ("Dockerfile", 'f', "FROM scratch\nCOPY big /\n", 0o644),
        ("big", 'f', &"x".repeat(50_000), 0o644),
    ]);
    let compressed = gzip(&plain);
    for bytes in [
        &plain[..20_000],
        &compressed[..compressed.len() - 20],
        b"not a tar at all",
        b"",
    ] {
        let path = scene.root().join("cut.tar");
        fs::write(&path, bytes).unwrap();
        let source = format!("tar://{}", path.display());
        let layout = scene.out("layout");
        let failed = scene
            .longshore(&["build", "-c", &source])
            .arg("--oci-layout-path")
            .arg(&layout)
            .mistake();
        failed.says("cut.tar");
        assert!(!layout.exists(), "{failed}");
        let failed = scene
            .longshore(&["build", "-c", "tar://stdin"])
            .stdin(bytes.to_vec())
            .mistake();
        failed.says("tar://stdin");
    }
    scene
        .longshore(&["build", "-c", "tar:///nonexistent.tar"])
        .mistake()
        .says("/nonexistent.tar");
}

#[test]
fn nothing_on_standard_input_is_told() {
    let Some(scene) = Scene::new() else { return };
    let call = scene.longshore(&["build", "--no-push", "-c", "tar://stdin"]);
    let failed = call.stdin(Vec::new()).mistake();
    failed.says("which is empty: pipe an archive");
}

#[test]
fn contexts_that_are_not_there() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1");
    scene
        .longshore(&["build", "-c", "nowhere"])
        .mistake()
        .says("nowhere");
    scene
        .longshore(&["build", "-c", "a"])
        .mistake()
        .says("not a directory");
}

#[test]
fn dockerfiles_are_found_and_missed() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1");
    scene
        .build()
        .mistake()
        .says("there is no Dockerfile in the context")
        .says("--dockerfile names another file");
    scene
        .file("Containerfile.old", DOCKERFILE)
        .file("Dockerfile.dockerignore", "x")
        .file("docker/app.Dockerfile", DOCKERFILE);
    scene
        .build()
        .mistake()
        .says("the context has Containerfile.old, docker/app.Dockerfile: --dockerfile names one");
    scene.build().args(["-f", "other"]).mistake().says("other");
    scene.file("dockerfile", DOCKERFILE);
    assert_eq!(scene.build().image().file("a").text(), "1");
    scene.file("deploy/prod", DOCKERFILE);
    assert_eq!(
        scene
            .build()
            .current_dir("/")
            .args(["--dockerfile", "deploy/prod"])
            .image()
            .file("a")
            .text(),
        "1"
    );
    fs::write(scene.root().join("elsewhere"), DOCKERFILE).unwrap();
    let elsewhere = scene.root().join("elsewhere");
    assert_eq!(
        scene
            .build()
            .arg("-f")
            .arg(elsewhere)
            .image()
            .file("a")
            .text(),
        "1"
    );
    scene.dir("folder");
    scene
        .build()
        .args(["-f", "folder"])
        .mistake()
        .says("not a regular file");
}

#[test]
fn a_dockerfile_comes_on_standard_input() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("a", "1")
        .file(".dockerignore", "hidden\n")
        .file("hidden", "2");
    let text = b"FROM scratch\nCOPY . /\n".to_vec();
    let image = scene.build().arg("-f-").stdin(text.clone()).image();
    assert_eq!(image.paths(), [".dockerignore", "a"]);
    // With no context but standard input there are no files.
    let alone = b"FROM scratch\nCOPY <<E /made\ninline\nE\n".to_vec();
    let build = || scene.longshore(&["build", "-"]);
    assert_eq!(build().stdin(alone.clone()).image().paths(), ["made"]);
    let image = scene.longshore(&["build", "-c", "-"]).stdin(alone).image();
    assert_eq!(image.file("made").text(), "inline\n");
    // An archive is told by its content.
    for bytes in [archive(), gzip(&archive())] {
        let image = build().stdin(bytes.clone()).image();
        assert_eq!(image.file("a").text(), "packed");
        let image = build().arg("-f=sub/Dockerfile").stdin(bytes).image();
        assert_eq!(image.file("a").text(), "packed");
    }
    let finished = build()
        .stdin(b"FROM scratch\nCOPPY a /\n".to_vec())
        .mistake();
    finished
        .says("standard input:2:1")
        .says("did you mean COPY");
    build().stdin(Vec::new()).mistake().says("empty");
    let finished = build().arg("-fother").stdin(text.clone()).mistake();
    finished.says("standard input holds a Dockerfile");
    let finished = build().arg("-f-").stdin(text.clone()).mistake();
    finished.says("standard input is the context already");
    let large = vec![b'#'; (8 << 20) + 1];
    scene
        .build()
        .arg("-f-")
        .stdin(large)
        .mistake()
        .says("larger than 8388608 bytes");

    let checked = scene.longshore(&["check", "-f-", "."]);
    let checked = checked
        .stdin(b"FROM scratch\nMAINTAINER me\n".to_vec())
        .success();
    assert!(
        checked.stdout.contains("MaintainerDeprecated"),
        "{}",
        checked.stdout
    );
    assert!(
        checked.stdout.contains("standard input:2"),
        "{}",
        checked.stdout
    );
}

#[test]
fn an_image_in_a_layout_is_a_context() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("a", "1")
        .file("sub/b", "2")
        .dockerfile("FROM scratch\nCOPY . /\n");
    let digest = scene.build().arg("--reproducible").image().digest;
    let layout = scene.root().join("kept");
    fs::rename(scene.out("image"), &layout).unwrap();
    let layout = layout.display().to_string();
    let call = |context: &str| {
        scene
            .longshore(&["build", "--reproducible", "-c", context])
            .current_dir(scene.root())
    };
    for context in [
        format!("oci://{layout}"),
        format!("oci-layout://{layout}"),
        format!("oci://{layout}@{digest}"),
        "oci://kept".to_owned(),
    ] {
        assert_eq!(call(&context).image().digest, digest, "{context}");
    }
    let below = call(&format!("oci://{layout}")).args(["--context-sub-path", "sub", "-f"]);
    let image = below.arg(scene.path("Dockerfile")).image();
    assert_eq!(image.file("b").text(), "2");
    let none = format!("sha256:{}", "0".repeat(64));
    for (context, says) in [
        (format!("oci://{layout}:none"), "there is no such image"),
        (format!("oci://{layout}@{none}"), "there is no such image"),
        ("oci://out".to_owned(), "it is no OCI layout"),
        ("oci://".to_owned(), "names no path"),
        ("oci://x@sha256:1".to_owned(), "digest"),
    ] {
        call(&context).mistake().says(says);
    }
    // Every byte is checked.
    let layer = &Image::of_layout(std::path::Path::new(&layout)).layers[0].digest;
    let blob = format!("{layout}/blobs/{}", layer.replace(':', "/"));
    let mut bytes = fs::read(&blob).unwrap();
    // The operating system in gzip's header, which means nothing to who unpacks it.
    bytes[9] ^= 1;
    fs::write(&blob, bytes).unwrap();
    call("oci://kept").mistake().says("has another digest");
}
