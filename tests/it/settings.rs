//! The instructions that change the configuration, and the scopes of variables.

use serde_json::{Value, json};

use crate::image::{put_base, tar_of};
use crate::program::Scene;
use crate::support::registry::{Auth, Registry};

/// `PATH` that every image without one gets.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn settings_of_every_kind() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image(
        "FROM scratch\nMAINTAINER somebody <s@example.com>\nENV A=1 B=\"two words\"\nENV OLD style value\nLABEL one=1 \"two words\"=\"x y\"\n\
         EXPOSE 80 53/udp 8000-8002/tcp\nVOLUME /data /more\nVOLUME [\"/with space\"]\nUSER 1000:1000\nSTOPSIGNAL SIGINT\n\
         SHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT [\"/app\", \"--flag\"]\nCMD [\"run\"]\n\
         HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --start-interval=1s --retries=4 CMD [\"check\", \"it\"]\nONBUILD LABEL triggered=yes\n",
    );
    let config = image.config();
    assert_eq!(image.document["author"], "somebody <s@example.com>");
    assert_eq!(image.env(), [PATH, "A=1", "B=two words", "OLD=style value"]);
    assert_eq!(config["Labels"], json!({"one": "1", "two words": "x y"}));
    let ports = json!({"53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}});
    assert_eq!(config["ExposedPorts"], ports);
    assert_eq!(
        config["Volumes"],
        json!({"/data": {}, "/more": {}, "/with space": {}})
    );
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["Shell"], json!(["/bin/bash", "-c"]));
    assert_eq!(config["Entrypoint"], json!(["/app", "--flag"]));
    assert_eq!(config["Cmd"], json!(["run"]));
    let health = &config["Healthcheck"];
    assert_eq!(health["Test"], json!(["CMD", "check", "it"]));
    assert_eq!(
        (
            &health["Interval"],
            &health["Timeout"],
            &health["StartPeriod"],
            &health["StartInterval"],
            &health["Retries"]
        ),
        (
            &json!(5_000_000_000_u64),
            &json!(60_000_000_000_u64),
            &json!(2_000_000_000_u64),
            &json!(1_000_000_000_u64),
            &json!(4)
        )
    );
    assert_eq!(config["OnBuild"], json!(["LABEL triggered=yes"]));
    assert!(image.layers.is_empty());
    let history = image.document["history"].as_array().unwrap();
    assert!(
        history.iter().all(|entry| entry["empty_layer"] == true),
        "{history:?}"
    );
}

#[test]
fn commands_in_both_forms() {
    let Some(scene) = Scene::new() else { return };
    let config = |text: &str| {
        scene
            .image(&format!("FROM scratch\n{text}"))
            .config()
            .clone()
    };
    assert_eq!(
        config("CMD echo $HOME && ls\n")["Cmd"],
        json!(["/bin/sh", "-c", "echo $HOME && ls"])
    );
    assert_eq!(
        config("SHELL [\"/s\", \"-x\"]\nENTRYPOINT run it\n")["Entrypoint"],
        json!(["/s", "-x", "run it"])
    );
    // An entry point of this stage ends the command of another.
    let image = scene.image("FROM scratch AS a\nCMD [\"old\"]\nFROM a\nENTRYPOINT [\"e\"]\n");
    assert_eq!(
        (&image.config()["Cmd"], &image.config()["Entrypoint"]),
        (&Value::Null, &json!(["e"]))
    );
    assert_eq!(
        config("HEALTHCHECK NONE\n")["Healthcheck"]["Test"],
        json!(["NONE"])
    );
    assert_eq!(config("CMD [\"a\"]\nCMD [\"b\"]\n")["Cmd"], json!(["b"]));
}

#[test]
fn variables_and_their_scopes() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "ARG GLOBAL=g\nARG TAG=scratch\nFROM ${TAG} AS one\nARG GLOBAL\nARG MINE=default\nLABEL a=$GLOBAL b=${MINE} c=${NONE:-fallback} d=${MINE:+set} e=\\$MINE f='$MINE' g=${MINE%ault}\n\
         ENV MINE=env\nLABEL h=$MINE\nENV X=1\nENV X=2 Y=$X\nLABEL y=$Y\n\
         FROM one\nLABEL i=${GLOBAL}${TAG} j=$MINE\n",
    );
    let labels = |args: &[&str]| scene.build().args(args).image().config()["Labels"].clone();
    assert_eq!(
        labels(&[]),
        json!({"a": "g", "b": "default", "c": "fallback", "d": "set", "e": "$MINE", "f": "$MINE", "g": "def", "h": "env", "y": "1", "i": "g", "j": "env"})
    );
    let given = labels(&["--build-arg", "MINE=given", "--build-arg=GLOBAL=G"]);
    assert_eq!(
        (&given["a"], &given["b"], &given["h"]),
        (&json!("G"), &json!("given"), &json!("env"))
    );
    let from_env = scene
        .build()
        .args(["--build-arg", "MINE"])
        .env("MINE", "outer")
        .image();
    assert_eq!(from_env.config()["Labels"]["b"], "outer");
    let unused = scene
        .build()
        .args(["--build-arg", "NOBODY=1", "--no-push"])
        .success();
    unused.says("NOBODY");
}

#[test]
fn arguments_that_are_always_there() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nARG TARGETPLATFORM\nARG TARGETARCH\nARG TARGETOS\nARG BUILDPLATFORM\nLABEL p=$TARGETPLATFORM a=$TARGETARCH o=$TARGETOS b=$BUILDPLATFORM\n");
    let image = scene
        .build()
        .args(["--custom-platform=linux/arm64"])
        .image();
    let labels = &image.config()["Labels"];
    assert_eq!(
        (&labels["p"], &labels["a"], &labels["o"]),
        (&json!("linux/arm64"), &json!("arm64"), &json!("linux"))
    );
    assert!(labels["b"].as_str().unwrap().starts_with("linux/"));
    assert_eq!(
        (&image.document["architecture"], &image.document["os"]),
        (&json!("arm64"), &json!("linux"))
    );
}

#[test]
fn labels_of_the_command_line_win() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nLABEL a=file b=file\n");
    let image = scene
        .build()
        .args(["--label", "a=typed", "--label=c=x=y"])
        .image();
    assert_eq!(
        image.config()["Labels"],
        json!({"a": "typed", "b": "file", "c": "x=y"})
    );
}

#[test]
fn a_base_image_hands_on_its_settings_and_triggers() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let base = json!({
        "Env": ["PATH=/only", "BASE=1"], "Cmd": ["base"], "WorkingDir": "/base", "User": "7", "Labels": {"from": "base"},
        "ExposedPorts": {"1/tcp": {}}, "OnBuild": ["COPY a /onbuild", "ENV TRIGGERED=$BASE"],
    });
    put_base(
        &registry,
        "team/base",
        "v1",
        &tar_of(&[("base", 'd', "", 0o755), ("base/file", 'f', "b", 0o644)]),
        &base,
    );
    scene.file("a", "1");
    let image = scene.image(&format!(
        "FROM {}/team/base:v1\nLABEL mine=1\nEXPOSE 2\n",
        registry.host()
    ));
    let config = image.config();
    assert_eq!(image.env(), ["PATH=/only", "BASE=1", "TRIGGERED=1"]);
    assert_eq!(config["Labels"], json!({"from": "base", "mine": "1"}));
    assert_eq!(
        (&config["Cmd"], &config["WorkingDir"], &config["User"]),
        (&json!(["base"]), &json!("/base"), &json!("7"))
    );
    assert_eq!(config["ExposedPorts"], json!({"1/tcp": {}, "2/tcp": {}}));
    assert_eq!(config["OnBuild"], Value::Null, "triggers fire once");
    assert_eq!(image.paths(), ["base/", "base/file", "onbuild"]);
    assert_eq!(image.history()[0], "the test");
}

#[test]
fn forms_of_from() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let layer = put_base(
        &registry,
        "base",
        "latest",
        &tar_of(&[("f", 'f', "1", 0o644)]),
        &json!({}),
    );
    let host = registry.host();
    let digest = crate::image::digest(&registry.manifest("base", "latest").unwrap());
    for from in [
        format!("FROM {host}/base"),
        format!("FROM {host}/base:latest AS x"),
        format!("FROM {host}/base@{digest}"),
        format!("FROM {host}/base:ignored@{digest}"),
        format!("ARG HOST={host}\nFROM $HOST/base"),
        format!("FROM --platform=$BUILDPLATFORM {host}/base"),
        format!("from {host}/base as lower"),
        format!("# syntax=docker/dockerfile:1\n# escape=`\nFROM {host}/base"),
    ] {
        let image = scene.image(&format!("{from}\nLABEL a=b\n"));
        assert_eq!(image.layers[0].digest, layer, "{from}");
        assert_eq!(image.file("f").text(), "1");
    }
    let other = format!("FROM --platform=linux/s390x {host}/base\n");
    let finished = scene.dockerfile(&other).build().arg("--no-push").success();
    finished
        .says("warning: ")
        .says("not linux/s390x (Dockerfile:1)");
}

#[test]
fn a_continued_line_and_comments() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image(
        "# top\nFROM scratch\nLABEL a=1 \\\n  # between\n\n  b=2\n   LABEL c=\"3\n\"\n"
            .replace("\"3\n\"", "3")
            .as_str(),
    );
    assert_eq!(
        image.config()["Labels"],
        json!({"a": "1", "b": "2", "c": "3"})
    );
    let image = scene.image("FROM scratch\r\nLABEL a=1\r\n");
    assert_eq!(image.config()["Labels"], json!({"a": "1"}));
}

#[test]
fn settings_of_buildkit_that_do_nothing_are_told() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let build = |args: &[&str]| {
        let args = args.iter().flat_map(|arg| ["--build-arg", arg]);
        scene.build().arg("--no-push").args(args)
    };
    let finished = build(&[
        "BUILDKIT_INLINE_CACHE=1",
        "BUILDKIT_SYNTAX=example.com/frontend",
        "BUILDKIT_BUILD_NAME=b",
        "BUILDKIT_NONSENSE=1",
    ])
    .success();
    finished
        .says("BUILDKIT_INLINE_CACHE has no effect: layers are remembered with --cache")
        .says("BUILDKIT_SYNTAX has no effect")
        .says("BUILDKIT_BUILD_NAME has no effect")
        .says("build arguments that nothing declares: BUILDKIT_NONSENSE");
    let finished = build(&[
        "BUILDKIT_INLINE_CACHE=0",
        "BUILDKIT_SYNTAX=docker/dockerfile:1.7",
        "BUILDKIT_MULTI_PLATFORM=0",
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1",
    ])
    .success();
    assert!(
        !finished.stderr.contains("BUILDKIT_"),
        "{}",
        finished.stderr
    );
    let finished = build(&["BUILDKIT_MULTI_PLATFORM=1"]).mistake();
    finished
        .says("BUILDKIT_MULTI_PLATFORM")
        .says("longshore index create");
}
