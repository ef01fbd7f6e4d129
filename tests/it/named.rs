//! `--build-context`: files and images that stand for names in the Dockerfile.

use std::fs;

use crate::image::{Image, put_base, tar_of};
use crate::program::Scene;
use crate::running::SHELL;
use crate::support::registry::{Auth, Registry};

/// Makes the directory `named` beside the context.
fn named(scene: &Scene, files: &[(&str, &str)]) -> String {
    let directory = scene.root().join("named");
    for (name, content) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    directory.display().to_string()
}

fn build(scene: &Scene, dockerfile: &str, contexts: &[&str]) -> Image {
    let contexts = contexts.iter().flat_map(|text| ["--build-context", text]);
    scene.dockerfile(dockerfile).build().args(contexts).image()
}

#[test]
fn a_directory_is_copied_from_with_its_own_ignore_file() {
    let Some(scene) = Scene::new() else { return };
    scene.file("f", "of the context");
    scene.file(".dockerignore", "one\n");
    let files = [
        ("one", "1"),
        ("dir/two", "2"),
        ("dir/hidden", "h"),
        (".dockerignore", "**/hidden\n"),
    ];
    let directory = named(&scene, &files);
    let image = build(
        &scene,
        "FROM scratch\nCOPY --from=src one dir /in/\nCOPY f /f\nCOPY --from=src --link --chown=7:8 one /linked\n",
        &[&format!("src={directory}")],
    );
    assert_eq!(image.paths(), ["f", "in/", "in/one", "in/two", "linked"]);
    assert_eq!(image.file("f").text(), "of the context");
    assert_eq!((image.file("linked").uid, image.file("linked").gid), (7, 8));
    assert_eq!((image.file("in/one").uid, image.file("in/one").gid), (0, 0));
}

#[test]
fn a_directory_stands_for_a_base_and_for_a_stage() {
    let Some(scene) = Scene::new() else { return };
    scene.file("f", "of the context");
    let directory = named(&scene, &[("a", "1"), ("etc/b", "2")]);
    let context = format!("rootfs={directory}");
    let image = build(&scene, "FROM rootfs\nENV A=1\nCOPY f /f\n", &[&context]);
    assert_eq!(image.paths(), ["a", "etc/", "etc/b", "f"]);
    assert_eq!(image.layers.len(), 2);
    assert!(image.env().contains(&"A=1".to_owned()));
    assert_eq!(image.history()[0], "FROM rootfs # buildkit");

    // Nothing of the stage itself is looked at: neither its base nor its commands, nor what it copies from.
    let replaced = "FROM no.such.registry.invalid/base AS RootFS\nRUN false\nCOPY --from=no.such.registry.invalid/x /a /a\n\
                    ONBUILD RUN false\n";
    let image = build(
        &scene,
        &format!("{replaced}FROM scratch\nCOPY --from=0 a /0\nCOPY --from=ROOTFS etc /1\n"),
        &[&context],
    );
    assert_eq!(image.paths(), ["0", "1/", "1/b"]);
    let image = build(
        &scene,
        &format!("{replaced}FROM rootfs\nCOPY f /f\n"),
        &[&context],
    );
    assert_eq!(image.paths(), ["a", "etc/", "etc/b", "f"]);
    let image = build(&scene, replaced, &[&context]);
    assert_eq!(image.paths(), ["a", "etc/", "etc/b"]);
}

#[test]
fn a_command_sees_a_directory_and_leaves_nothing_in_it() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let files = [("sub/f", "text"), ("x.o", "o"), (".dockerignore", "*.o\n")];
    let directory = named(&scene, &files);
    let image = build(
        &scene,
        &format!(
            "{SHELL}RUN --mount=from=src,target=/s,rw ls /s > /list; cat /s/sub/f > /text; touch /s/new\n\
             RUN --mount=from=src,source=sub,target=/s ls /s > /sub; stat -c %u:%g /s/f > /owner\n"
        ),
        &[&format!("src={directory}")],
    );
    assert_eq!(image.file("list").text(), "sub\n");
    assert_eq!(image.file("text").text(), "text");
    assert_eq!(image.file("sub").text(), "f\n");
    assert_eq!(image.file("owner").text(), "0:0\n");
    assert!(!scene.root().join("named/new").exists());
}

#[test]
fn an_archive_is_unpacked_once_it_is_needed() {
    let Some(scene) = Scene::new() else { return };
    let archive = scene.root().join("a.tar");
    fs::write(&archive, tar_of(&[("f", 'f', "of the archive", 0o644)])).expect("an archive");
    let context = format!("src=tar://{}", archive.display());
    let image = build(&scene, "FROM scratch\nCOPY --from=src f /f\n", &[&context]);
    assert_eq!(image.file("f").text(), "of the archive");
    // What nothing needs is not even opened, and told.
    fs::remove_file(&archive).expect("removed");
    scene.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let finished = scene
        .build()
        .args(["--build-context", &context, "--no-push"])
        .success();
    finished.says("nothing in the Dockerfile names the build contexts src");
    scene.dockerfile("FROM scratch\nCOPY --from=src f /f\n");
    let finished = scene
        .build()
        .args(["--build-context", &context, "--no-push"])
        .mistake();
    finished
        .says("the build context src cannot be used")
        .says("No such file");
}

#[test]
fn an_image_stands_for_a_base_a_source_and_a_stage() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let config = serde_json::json!({"Env": ["BASE=named"], "OnBuild": ["LABEL triggered=1"]});
    put_base(
        &registry,
        "team/base",
        "2",
        &tar_of(&[("b", 'f', "base", 0o644)]),
        &config,
    );
    let place = format!("docker-image://{}/team/base:2", registry.host());
    let alpine = format!("docker.io/library/alpine:latest={place}");
    let image = build(
        &scene,
        "FROM alpine\nCOPY --from=alpine:latest b /copied\n",
        &[&alpine],
    );
    assert_eq!(image.paths(), ["b", "copied"]);
    assert!(image.env().contains(&"BASE=named".to_owned()));
    assert_eq!(image.config()["Labels"]["triggered"], "1");
    // As in BuildKit, the triggers of what stands for a stage are not carried out.
    let dockerfile =
        "FROM scratch AS build\nRUN false\nFROM build\nLABEL own=1\nCOPY --from=build b /copied\n";
    let image = build(&scene, dockerfile, &[&format!("build={place}")]);
    assert_eq!(image.paths(), ["b", "copied"]);
    assert_eq!(
        image.config()["Labels"]["triggered"],
        serde_json::Value::Null
    );
    // Another tag is another image, and the last of a name counts.
    let both = [&alpine[..], "alpine=docker-image://scratch"];
    assert_eq!(
        build(&scene, "FROM alpine\nCOPY Dockerfile /\n", &both).paths(),
        ["Dockerfile"]
    );
    let finished = scene
        .dockerfile("FROM alpine:3\nCOPY Dockerfile /\n")
        .build()
        .args([
            "--build-context",
            &alpine,
            "--no-push",
            "--registry-map=index.docker.io=127.0.0.1:1",
        ])
        .mistake();
    finished.says("docker.io/library/alpine:3");
}

#[test]
fn an_oci_layout_is_a_base_and_its_layers_are_pushed() {
    let Some(scene) = Scene::new() else { return };
    scene.file("f", "1");
    scene.image("FROM scratch\nENV L=1\nCOPY f /f\n");
    let layout = scene.out("image").display().to_string();
    let kept = scene.root().join("kept").display().to_string();
    fs::rename(&layout, &kept).expect("moved");
    let registry = Registry::start(Auth::Open);
    let target = format!("{}/team/app:1", registry.host());
    scene
        .dockerfile("FROM base AS b\nCOPY f /g\nFROM b\nCOPY --from=base f /h\n")
        .build()
        .args(["--build-context", &format!("base=oci-layout://{kept}")])
        .args(["--insecure-registry", &registry.host(), "-d", &target])
        .success();
    let image = Image::of_registry(&registry, "team/app", "1");
    assert_eq!(image.paths(), ["f", "g", "h"]);
    assert!(image.env().contains(&"L=1".to_owned()));
    assert_eq!(image.layers.len(), 3);

    // By digest: that of the only manifest, and one that is not there.
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(format!("{kept}/index.json")).expect("an index"))
            .expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
    let by_digest = format!("base=oci-layout://{kept}@{digest}");
    assert_eq!(build(&scene, "FROM base\n", &[&by_digest]).paths(), ["f"]);
    let refused = |value: &str, expect: &str| {
        let context = format!("base=oci-layout://{value}");
        let call = scene.dockerfile("FROM base\n").build();
        let finished = call
            .args(["--build-context", &context, "--no-push"])
            .mistake();
        finished
            .says("the build context base cannot be used")
            .says(expect)
            .says("FROM base");
    };
    let other = format!("{kept}@sha256:{}", "0".repeat(64));
    refused(&other, "there is no image sha256:000");
    refused(&format!("{kept}:none"), "no image with the tag \"none\"");
    refused(&scene.root().display().to_string(), "it is no OCI layout");

    // A layer that was tampered with is never used.
    let layer = image.layers[0]
        .digest
        .strip_prefix("sha256:")
        .expect("sha256");
    fs::write(format!("{kept}/blobs/sha256/{layer}"), "x").expect("written");
    let call = scene.dockerfile("FROM base\nCOPY f /g\n").build();
    let context = format!("base=oci-layout://{kept}");
    let finished = call.args(["--build-context", &context]).mistake();
    finished.says(layer.get(..12).expect("a digest"));
}

#[test]
fn what_a_context_holds_is_part_of_the_key() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let directory = named(&scene, &[("f", "1")]);
    let cache = format!("--cache-repo=oci:{}", scene.root().join("cache").display());
    scene.dockerfile(&format!(
        "{SHELL}COPY --from=src f /f\nRUN --mount=from=src,target=/s echo ran && cat /s/f > /g\n"
    ));
    let run = || {
        let call = scene.build().args(["--cache", &cache, "--build-context"]);
        call.arg(format!("src={directory}")).image()
    };
    let first = run();
    let second = run();
    assert_eq!(first.layers.len(), second.layers.len());
    assert_eq!(first.config()["history"], second.config()["history"]);
    named(&scene, &[("f", "2")]);
    let third = run();
    assert_eq!((third.file("f").text(), third.file("g").text()), ("2", "2"));
}

#[test]
fn mistakes_name_the_flag() {
    let scene = Scene::bare();
    scene.dockerfile("FROM scratch\n");
    for (value, expect) in [
        ("x", "NAME=VALUE"),
        ("x=target:y", "bake"),
        ("context=/tmp", "--context"),
        ("x=docker-image://UPPER", "x:"),
    ] {
        let finished = scene.build().args(["--build-context", value]).mistake();
        finished.says("--build-context").says(expect);
    }
}
