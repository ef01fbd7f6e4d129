//! `--cache-explain`: of each step whether it is in the cache, and if not, what changed.

use std::time::Duration;

use serde_json::json;

use crate::image::{put_base, tar_of};
use crate::program::{Finished, Scene};
use crate::running::SHELL;
use crate::support::registry::{Auth, Registry};

/// What is told of each step of the last stage, by the beginning of its instruction.
fn told(finished: &Finished, step: &str) -> String {
    let mark = "in the cache";
    let lines = finished.stderr.lines();
    let mut lines = lines.filter(|line| line.contains(step) && line.contains(mark));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("nothing of {step}: {finished}"));
    let at = line.find(": not in the cache: ").map(|at| at + 20);
    at.map_or_else(|| "hit".to_owned(), |at| line[at..].to_owned())
}

fn put(registry: &Registry, content: &str) {
    let tar = tar_of(&[("base", 'f', content, 0o644)]);
    put_base(registry, "base", "v1", &tar, &json!({"Env": ["PATH=/bin"]}));
}

#[test]
fn one_file_one_argument_one_base() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    put(&registry, "one");
    let host = registry.host();
    let shell = SHELL.replace("scratch", &format!("{host}/base:v1"));
    let text = format!(
        "{shell}ARG VERSION=1\nARG OTHER=x\nRUN echo $VERSION > /v\nCOPY src /src\nRUN cat /src/a > /copied\nCOPY --chmod=644 last /last\n"
    );
    scene
        .dockerfile(&text)
        .file("src/a", "1")
        .file("src/deep/b", "2")
        .file("last", "l");
    let local = format!("oci:{}", scene.root().join("layers").display());
    let remote = format!("{host}/cache");
    for place in [local, remote] {
        put(&registry, "one");
        scene.dockerfile(&text).file("src/deep/b", "2");
        let build = |args: &[&str]| {
            scene
                .build()
                .args([
                    "--cache",
                    "--cache-explain",
                    "--cache-repo",
                    &place,
                    "--no-push",
                ])
                .args(["-d", "app.test/app:v1"])
                .args(args)
                .success()
        };
        let first = build(&[]);
        let unknown =
            "the cache knows no earlier build of this image, Dockerfile, target and platform";
        for step in ["RUN echo", "COPY src", "RUN cat", "COPY --chmod"] {
            assert_eq!(told(&first, step), unknown, "{first}");
        }
        let second = build(&[]);
        for step in ["RUN echo", "COPY src", "RUN cat", "COPY --chmod"] {
            assert_eq!(told(&second, step), "hit", "{second}");
        }
        // One file.
        scene.file("src/deep/b", "3");
        let changed = build(&[]);
        assert_eq!(told(&changed, "RUN echo"), "hit", "{changed}");
        assert_eq!(told(&changed, "COPY src"), "file deep/b changed");
        assert_eq!(told(&changed, "RUN cat"), "only what is below it changed");
        // One argument; what it was is not said.
        let argument = build(&["--build-arg=VERSION=topsecret"]);
        let why = told(&argument, "RUN echo");
        assert_eq!(why, "variable VERSION changed", "{argument}");
        let below = "only what is below it changed";
        assert_eq!(told(&argument, "COPY src"), below, "{argument}");
        // The instruction itself, and a new one.
        scene.dockerfile(
            &text
                .replace("cat /src/a", "cat /src/a /src/a")
                .replace("644", "600"),
        );
        let instruction = build(&["--build-arg=VERSION=topsecret"]);
        assert_eq!(told(&instruction, "COPY src"), "hit", "{instruction}");
        assert_eq!(told(&instruction, "RUN cat"), "the command changed");
        assert_eq!(told(&instruction, "COPY --chmod"), "--chmod changed");
        scene.dockerfile(&format!("{text}RUN true\n"));
        let new = build(&[]);
        assert_eq!(told(&new, "RUN true"), "the step is new", "{new}");
        // The base.
        scene.dockerfile(&text);
        put(&registry, "two");
        let base = build(&[]);
        let first_step = told(&base, "COPY busybox");
        assert_eq!(
            first_step,
            format!("image {host}/base:v1 changed"),
            "{base}"
        );
        assert_eq!(told(&base, "RUN echo"), below);
        // An option of the command line.
        let option = build(&["--compression=zstd"]);
        assert_eq!(told(&option, "COPY busybox"), "--compression changed");
        // Too old: nothing changed.
        std::thread::sleep(Duration::from_millis(2100));
        let old = build(&["--compression=zstd", "--cache-ttl=1s"]);
        let expired = "nothing changed, and its entry is gone or too old";
        assert_eq!(told(&old, "COPY busybox"), expired, "{old}");
        let json = build(&["--log-format=json", "--build-arg=OTHER=y"]);
        json.says("\"why\":[\"variable OTHER changed\"]");
    }
    let all = registry
        .state()
        .manifests
        .values()
        .cloned()
        .collect::<Vec<_>>();
    let all = format!("{all:?}");
    assert!(
        !all.contains("topsecret"),
        "a value of an argument is in the cache"
    );
}

/// Ten changes, each for itself: all that changed is told, and nothing else.
#[test]
fn what_changed_is_told_and_nothing_else() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let host = registry.host();
    let shell = SHELL.replace("scratch", &format!("{host}/base:v1"));
    let text = format!(
        "{shell}ARG A=1\nENV E=1\nRUN echo variables\nCOPY src /src\nRUN --mount=type=secret,id=s --mount=type=bind,source=bound,target=/b echo mounts\nCOPY --chmod=644 one /one\n"
    );
    let below = "only what is below it changed";
    let local = format!("oci:{}", scene.root().join("layers").display());
    for place in [local, format!("{host}/cache")] {
        let reset = || {
            put(&registry, "one");
            scene
                .dockerfile(&text)
                .file("src/a", "1")
                .file("src/d/b", "2");
            scene
                .file("src/ignored", "1")
                .file(".dockerignore", "src/ignored");
            scene
                .file("bound", "1")
                .file("one", "1")
                .file("secret", "1");
            mode(&scene, "src/a", 0o644);
            mode(&scene, "one", 0o644);
            let _not_there = std::fs::remove_file(scene.path("src/new"));
        };
        let secret = format!("--secret=id=s,src={}", scene.path("secret").display());
        let build = |args: &[&str]| {
            let call = scene
                .build()
                .args(["--cache", "--cache-explain", "--cache-repo", &place]);
            let call = call.args(["--no-push", "-d", "app.test/app:v1", &secret]);
            call.args(args).success()
        };
        // Of the four steps that can tell: what is said of each.
        let check = |name: &str, args: &[&str], expect: [&str; 4]| {
            let finished = build(&[args, &["--no-push-cache"]].concat());
            for (step, expect) in ["echo variables", "COPY src", "echo mounts", "COPY --chmod"]
                .iter()
                .zip(expect)
            {
                assert_eq!(told(&finished, step), expect, "{name}, {step}: {finished}");
            }
            reset();
        };
        reset();
        build(&[]);
        let hit = ["hit"; 4];
        check("nothing", &[], hit);
        check(
            "ARG",
            &["--build-arg=A=2"],
            ["variable A changed", below, "variable A changed", below],
        );
        scene.dockerfile(&text.replace("ENV E=1", "ENV E=2"));
        check(
            "ENV",
            &[],
            ["variable E changed", below, "variable E changed", below],
        );
        scene.file("src/d/b", "3");
        check("content", &[], ["hit", "file d/b changed", below, below]);
        mode(&scene, "src/a", 0o755);
        check(
            "mode",
            &[],
            ["hit", "the mode of file a changed", below, below],
        );
        scene.file("src/new", "1");
        check("a new file", &[], ["hit", "file new is new", below, below]);
        scene.file("src/ignored", "2");
        check("an ignored file", &[], hit);
        scene.file("secret", "2");
        check("the value of a secret", &[], hit);
        scene.dockerfile(&text.replace("id=s ", "id=s,target=/x "));
        check(
            "a secret's mount",
            &[],
            ["hit", "hit", "--mount=type=secret,id=s changed", below],
        );
        scene.dockerfile(&text.replace("target=/b ", "target=/c "));
        let moved = "--mount=type=bind,target=/c is new; --mount=type=bind,target=/b is gone";
        check("a mount", &[], ["hit", "hit", moved, below]);
        scene.file("bound", "2");
        check(
            "what is mounted",
            &[],
            ["hit", "hit", "file bound changed", below],
        );
        scene.dockerfile(&text.replace("--chmod=644", "--chmod=600"));
        check("--chmod", &[], ["hit", "hit", "hit", "--chmod changed"]);
        mode(&scene, "one", 0o600);
        check("a mode that --chmod replaces", &[], hit);
        put(&registry, "two");
        let finished = build(&["--no-push-cache"]);
        let base = format!("image {host}/base:v1 changed");
        assert_eq!(told(&finished, "COPY busybox"), base, "{finished}");
        assert_eq!(told(&finished, "echo variables"), below, "{finished}");
        reset();
        let finished = build(&["--no-push-cache", "--custom-platform=linux/arm64"]);
        let unknown =
            "the cache knows no earlier build of this image, Dockerfile, target and platform";
        assert_eq!(told(&finished, "COPY src"), unknown, "{finished}");
    }
}

fn mode(scene: &Scene, path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(scene.path(path), mode).expect("a mode");
}

#[test]
fn a_directory_of_many_files_is_told_by_name() {
    let Some(scene) = Scene::new() else { return };
    for number in 0..300 {
        scene.file(format!("src/d{}/f{number}", number % 3), "1");
    }
    scene.dockerfile("FROM scratch\nCOPY src /\n");
    let place = format!("type=local,dest={}", scene.root().join("layers").display());
    let from = place.replace("dest=", "src=");
    let build = || {
        let call = scene
            .build()
            .args(["--cache-to", &place, "--cache-from", &from]);
        call.args(["--cache-explain", "--no-push"]).success()
    };
    build();
    for number in 100..130 {
        scene.file(format!("src/d{}/f{number}", number % 3), "2");
    }
    std::fs::remove_file(scene.path("src/d0/f0")).expect("a file");
    scene.file("src/new", "3");
    let why = told(&build(), "COPY src");
    assert!(why.starts_with("file d0/f102 changed; "), "{why}");
    assert!(why.ends_with("; 22 more files changed"), "{why}");
}
