//! The command line itself: subcommands, kaniko's program name, flags that are refused with a reason.

use std::os::unix::process::CommandExt as _;

use crate::image::Image;
use crate::machine;
use crate::program::{Scene, binary};

#[test]
fn no_arguments_show_what_there_is() {
    let scene = Scene::bare();
    let finished = scene.longshore(&[]).run();
    assert_eq!(finished.code(), 2, "{finished}");
    finished
        .says("Usage: longshore")
        .says("build")
        .says("doctor");
    let help = scene.longshore(&["build", "--help"]).success();
    for word in ["--destination", "--context", "--tar-path", "--isolation"] {
        assert!(help.stdout.contains(word), "{word}: {help}");
    }
    let version = scene.longshore(&["version"]).success();
    assert_eq!(
        version.stdout,
        format!("longshore {}\n", env!("CARGO_PKG_VERSION"))
    );
    let unknown = scene.longshore(&["biuld"]).mistake();
    unknown.says("biuld").says("build");
    let unknown = scene.longshore(&["build", "--destinaton", "x"]).mistake();
    unknown.says("--destinaton").says("--destination");
}

#[test]
fn kanikos_name_takes_kanikos_flags() {
    let Some(scene) = Scene::new() else { return };
    let program = scene.root().join("executor");
    std::os::unix::fs::symlink(binary(), &program).unwrap();
    scene
        .file("a", "1")
        .dockerfile("FROM scratch AS one\nARG A\nCOPY a /a\nLABEL a=$A\nFROM scratch\n");
    let context = scene.path("");
    let context = context.to_str().unwrap();
    let archive = scene.out("image.tar");
    let mut by_link = scene.longshore(&[]).args([
        &format!("--context=dir://{context}"),
        "--dockerfile=Dockerfile",
        "--destination=reg.test/app:v1",
        "--no-push",
        "--build-arg=A=1",
        "--target=one",
        "--skip-unused-stages=true",
        "--cleanup",
        "--pre-cleanup",
        "--preserve-context",
        "--use-new-run",
        "--force-build-metadata=true",
        "--ignore-var-run",
        "--force",
        "--snapshotMode=redo",
        "--log-format=text",
        "--verbosity=info",
        "--insecure=true",
        "--skip-tls-verify=false",
        "--single-snapshot=false",
        "--push-retry=2",
        "--image-download-retry",
        "3",
        "--customPlatform=linux/arm64",
        "--log-timestamp=false",
        "--insecure-registry=a.test",
        "--insecure-registry=b.test",
        "--skip-tls-verify-registry=a.test",
        "--skip-push-permission-check",
        "--ignore-path=/x",
    ]);
    let arguments: Vec<_> = by_link
        .command()
        .get_args()
        .map(ToOwned::to_owned)
        .collect();
    let with_program = |program: &std::path::Path, name: Option<&str>| {
        let mut call = scene.longshore(&[]);
        let mut command = std::process::Command::new(program);
        let envs: Vec<_> = call
            .command()
            .get_envs()
            .map(|(key, value)| (key.to_owned(), value.unwrap_or_default().to_owned()))
            .collect();
        command.env_clear().envs(envs).current_dir(scene.root());
        if let Some(name) = name {
            command.arg0(name);
        }
        *call.command() = command;
        call.args(&arguments).arg("--tarPath").arg(&archive)
    };
    for call in [
        with_program(&program, None),
        with_program(&binary(), Some("executor")),
        with_program(&binary(), Some("/kaniko/executor")),
    ] {
        call.success();
        let (image, tags) = Image::of_archive(&archive);
        assert_eq!(tags, ["reg.test/app:v1"]);
        assert_eq!(image.config()["Labels"]["a"], "1");
        assert_eq!(image.document["architecture"], "arm64");
        std::fs::remove_file(&archive).unwrap();
    }
    let version = {
        let mut call = with_program(&program, None);
        let mut command = std::process::Command::new(&program);
        command.arg("version");
        *call.command() = command;
        call.success()
    };
    assert!(version.stdout.starts_with("longshore "), "{version}");
}

#[test]
fn flags_that_are_not_supported_say_what_to_do() {
    let scene = Scene::bare();
    scene.dockerfile("FROM scratch\n");
    for flag in ["--materialize", "--materialize=true", "--dryrun"] {
        let name = flag.split('=').next().unwrap();
        let failed = scene.build().arg(flag).mistake();
        assert_eq!(failed.code(), 2, "{failed}");
        failed
            .says(&format!("{name} is not supported"))
            .says("hint:");
        assert!(!scene.path("image.oci").exists());
    }
    // What is refused is a flag, not the value of one.
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nLABEL a=b\n");
    let image = scene
        .build()
        .args(["--label=x=--materialize", "--materialize=false"])
        .image();
    assert_eq!(image.config()["Labels"]["x"], "--materialize");
}

#[test]
fn values_that_cannot_be_are_told_before_the_build() {
    if !machine::can_build() {
        return;
    }
    let scene = Scene::bare();
    scene.dockerfile("FROM scratch\n");
    for (args, word) in [
        (&["-d", "Bad/Name"][..], "Bad/Name"),
        (&["-d", "reg.test/app:bad tag"], "bad tag"),
        (
            &[
                "-d",
                "reg.test/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ],
            "digest",
        ),
        (&["--label", "novalue"], "--label"),
        (&["--build-arg", "=x"], "--build-arg"),
        (&["--custom-platform", "x"], "--custom-platform"),
        (&["--isolation=none"], "--isolation"),
        (&["--snapshot-mode=fast"], "--snapshot-mode"),
        (&["--compression=lzma"], "--compression"),
        (&["--image-name-with-digest-file=x"], "--destination"),
        (
            &["--registry-certificate", "h=/nonexistent"],
            "/nonexistent",
        ),
        (&["--no-push=perhaps"], "perhaps"),
        (&["--jobs=0"], "--jobs"),
    ] {
        let failed = scene.build().args(args).mistake();
        assert_eq!(failed.code(), 2, "{failed}");
        failed.says(word);
    }
    for (name, value) in [
        ("LONGSHORE_ISOLATION", "none"),
        ("LONGSHORE_LOG_FORMAT", "xml"),
        ("LONGSHORE_VERBOSITY", "loud"),
        ("KANIKO_NO_PUSH", "maybe"),
        ("LONGSHORE_NO_PUSH", "maybe"),
    ] {
        let failed = scene.build().env(name, value).mistake();
        assert_eq!(failed.code(), 2, "{failed}");
        failed.says(name).says(value);
    }
}

#[test]
fn the_doctor_names_the_isolations() {
    let scene = Scene::bare();
    let finished = scene.longshore(&["doctor"]).run();
    let works = finished
        .stdout
        .lines()
        .any(|line| line.ends_with(": works"));
    assert_eq!(finished.code(), i32::from(!works), "{finished}");
    assert!(finished.stdout.contains("namespace"), "{finished}");
    assert!(
        finished.stdout.contains(scene.state().to_str().unwrap()),
        "{finished}"
    );
}
