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
        let unknown = "the cache knows no earlier build of this image";
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
        assert_eq!(
            told(&instruction, "COPY --chmod"),
            "--chmod changed; file last changed"
        );
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
