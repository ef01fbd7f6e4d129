//! Bad input: an exit code, one message with its cause and a way out, and nothing half made.

use std::process::Command;

use crate::image::tar_of;
use crate::machine;
use crate::program::{Finished, Scene, names};
use crate::running::SHELL;

/// A build with every output that must fail and leave none of them.
fn fails(scene: &Scene, dockerfile: &str) -> Finished {
    let failed = scene
        .dockerfile(dockerfile)
        .build()
        .arg("--oci-layout-path")
        .arg(scene.out("layout"))
        .arg("--tar-path")
        .arg(scene.out("image.tar"))
        .arg("--digest-file")
        .arg(scene.out("digest"))
        .arg("--metadata-file")
        .arg(scene.out("metadata"))
        .mistake();
    assert_eq!(
        names(&scene.out("")),
        Vec::<std::ffi::OsString>::new(),
        "{failed}"
    );
    assert_eq!(failed.stdout, "", "{failed}");
    failed
}

#[test]
fn a_source_that_is_not_there() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("src/main.c", "1")
        .file("README.md", "2")
        .file("hidden/x", "3")
        .file(".dockerignore", "# rules\nhidden\n");
    let failed = fails(&scene, "FROM scratch\nCOPY src/mian.c /\n");
    failed
        .says("\"src/mian.c\" is not in the build context")
        .says("2 | COPY src/mian.c /")
        .says("did you mean \"src/main.c\"?");
    fails(&scene, "FROM scratch\nCOPY scr/main.c /\n").says("did you mean \"src/main.c\"?");
    fails(&scene, "FROM scratch\nCOPY readme.md /\n").says("did you mean \"README.md\"?");
    fails(&scene, "FROM scratch\nADD x /\n").says("\"x\" is not in");
    let failed = fails(&scene, "FROM scratch\nCOPY hidden/x /\n");
    failed.says("the ignore rule \"hidden\" (.dockerignore:2) hides it");
    fails(
        &scene,
        "FROM scratch AS one\nCOPY src /src\nFROM scratch\nCOPY --from=one /scr /\n",
    )
    .says("stage \"one\"")
    .says("did you mean \"/src\"?");
    // A file of that name in another directory, and no file at all.
    fails(&scene, "FROM scratch\nCOPY main.c /\n").says("did you mean \"src/main.c\"?");
    fails(&scene, "FROM scratch\nADD zzz /\n").says(
        "none of the 4 files in the build context has that name; at its root: .dockerignore, Dockerfile, README.md, src/; .dockerignore hides others",
    );
    fails(
        &scene,
        "FROM scratch AS one\nFROM scratch\nCOPY --from=one /a /\n",
    )
    .says("stage \"one\" is empty");
    scene.dir("nothing");
    let call = scene
        .dockerfile("FROM scratch\nCOPY a /\n")
        .longshore(&["build"]);
    let call = call.arg("--dockerfile").arg(scene.path("Dockerfile"));
    let failed = call.arg("--context").arg(scene.path("nothing")).mistake();
    failed.says("the build context is empty");
}

#[test]
fn a_context_that_is_not_there() {
    let Some(scene) = Scene::new() else { return };
    for context in ["/nonexistent", "tar:///nonexistent.tar"] {
        let failed = scene.longshore(&["build", "--no-push", "-c", context]);
        failed.mistake().says("/nonexistent").says("\n  hint: ");
    }
    let build = scene.dockerfile("FROM scratch\n").build();
    let failed = build
        .args(["--no-push", "--context-sub-path=none"])
        .mistake();
    failed
        .says("no directory none")
        .says("\n  hint: --context-sub-path names");
}

#[test]
fn instructions_that_are_not_known() {
    let Some(scene) = Scene::new() else { return };
    let failed = fails(&scene, "FROM scratch\nCOPPY a /\n");
    failed
        .says("unknown instruction: COPPY")
        .says("2 | COPPY a /")
        .says("did you mean COPY?");
    fails(&scene, "FORM scratch\n").says("did you mean FROM?");
    fails(&scene, "").says("Dockerfile");
    fails(&scene, "COPY a /\n").says("FROM");
    fails(&scene, "FROM scratch\nCOPY a\n").says("2 | COPY a");
    fails(&scene, "FROM scratch\nCMD [\"a\"\nUSER\n").says("3 | USER");
    fails(&scene, "FROM scratch\nCOPY <<EOF /x\nnever ends\n").says("EOF");
}

#[test]
fn syntax_that_is_not_supported_is_never_ignored() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1");
    for line in [
        "RUN --device=x true",
        "COPY --checksum=sha256:0 a /",
        "COPY --keep-git-dir a /",
        "ADD --parents a /",
    ] {
        let failed = fails(&scene, &format!("FROM scratch\n{line}\n"));
        failed.says(line);
        let flag = line
            .split_whitespace()
            .nth(1)
            .unwrap()
            .split('=')
            .next()
            .unwrap();
        failed.says(flag);
    }
    fails(&scene, "FROM scratch\nCOPY --form=x a /\n")
        .says("--form")
        .says("did you mean");
}

#[test]
fn references_that_are_none() {
    let Some(scene) = Scene::new() else { return };
    fails(&scene, "FROM Bad::ref\n")
        .says("\"Bad::ref\"")
        .says("1 | FROM Bad::ref");
    fails(&scene, "FROM UPPER/case\n").says("1 | FROM UPPER/case");
    fails(&scene, "FROM x@sha256:123\n").says("1 | FROM");
    fails(&scene, "ARG V\nFROM $V\n").says("2 | FROM $V");
    fails(&scene, "FROM scratch\nCOPY --from=7 /a /\n").says("2 | COPY --from=7");
    fails(&scene, "FROM scratch\nCOPY --from=Not::Good /a /\n").says("2 | COPY --from");
}

#[test]
fn stages_that_name_each_other_wrongly() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1");
    fails(&scene, "FROM scratch AS one\nCOPY --from=one /a /\n").says("2 | COPY --from=one");
    fails(&scene, "FROM scratch AS 1st\n").says("1 | FROM scratch AS 1st");
}

#[test]
fn more_than_one_mistake_is_told_at_once() {
    let Some(scene) = Scene::new() else { return };
    let failed = scene
        .dockerfile("FROM scratch\nCOPPY a /\nLABLE a=b\n")
        .build()
        .run();
    failed.says("2 | COPPY a /").says("3 | LABLE a=b");
    assert_eq!(failed.code(), 1);
}

/// Puts a command line behind a shell's `before`.
fn under_shell(scene: &Scene, before: &str) -> crate::program::Call {
    let mut call = scene
        .build()
        .arg("--oci-layout-path")
        .arg(scene.out("full/layout"))
        .arg("--tar-path")
        .arg(scene.out("full/image.tar"));
    let old = call.command();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "{before}; \"$@\"; code=$?; ls \"{}\" | sed 's/^/left: /' >&2; exit $code",
            scene.out("full").display()
        ))
        .arg("sh")
        .arg(old.get_program())
        .args(old.get_args());
    command.env_clear();
    for (name, value) in old.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(old.get_current_dir().expect("a directory"));
    *old = command;
    call
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

#[test]
fn a_file_that_may_not_grow() {
    let Some(scene) = Scene::new() else { return };
    std::fs::create_dir(scene.out("full")).unwrap();
    scene
        .file("a", noise(3 << 20))
        .dockerfile("FROM scratch\nCOPY a /a\n");
    // In blocks of 512 bytes. Ignored, the signal becomes an error.
    let failed = under_shell(&scene, "trap '' XFSZ; ulimit -f 2048").mistake();
    failed.says("File too large").says("COPY a /a");
    assert_eq!(
        names(&scene.out("full")),
        Vec::<std::ffi::OsString>::new(),
        "{failed}"
    );
    assert_eq!(
        names(&scene.state().join("builds")),
        Vec::<std::ffi::OsString>::new()
    );
}

#[test]
fn a_full_disk() {
    let Some(scene) = Scene::new() else { return };
    for name in ["full", "probe"] {
        std::fs::create_dir(scene.out(name)).unwrap();
    }
    let probe = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "none"])
        .arg(scene.out("probe"))
        .output();
    if !probe.as_ref().is_ok_and(|probe| probe.status.success()) {
        machine::skip(&format!("a small file system cannot be mounted: {probe:?}"));
        return;
    }
    scene
        .file("a", noise(2 << 20))
        .dockerfile("FROM scratch\nCOPY a /a\n");
    for (place, says) in [(scene.state(), "COPY a /a"), (scene.out("full"), "full/")] {
        let mut call = under_shell(
            &scene,
            &format!("mount -t tmpfs -o size=1m none \"{}\"", place.display()),
        );
        let command = call.command();
        let mut outer = Command::new("unshare");
        outer
            .arg("--mount")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            outer.env(name, value.unwrap_or_default());
        }
        outer.current_dir(command.get_current_dir().unwrap());
        *command = outer;
        let failed = call.mistake();
        failed.says("No space left on device").says(says);
        assert!(!failed.stderr.contains("left: image.tar"), "{failed}");
        assert!(!scene.out("full/layout/index.json").exists());
    }
}

#[test]
fn an_output_that_cannot_be_written() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    scene.file("../out/file", "in the way");
    for flag in [
        "--tar-path",
        "--oci-layout-path",
        "--digest-file",
        "--metadata-file",
    ] {
        let failed = scene.build().arg(flag).arg(scene.out("file/x")).mistake();
        failed.says("out/file");
    }
    let failed = scene.build().args(["--digest-file", "/dev/full"]).mistake();
    failed.says("/dev/full").says("No space left on device");
}

#[test]
fn a_state_directory_that_cannot_be() {
    let scene = Scene::bare();
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let failed = scene
        .build()
        .arg("--state-dir")
        .arg(scene.path("a/state"))
        .mistake();
    failed.says("a/state");
    assert!(!scene.path("image.oci").exists());
}

#[test]
fn a_command_that_fails_halfway() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let failed = fails(&scene, &format!("{SHELL}RUN echo before; exit 3\n"));
    assert_eq!(failed.code(), 3);
    failed
        .says("\nbefore\n")
        .says("exit code 3")
        .says("4 | RUN echo before; exit 3");
    assert_eq!(
        names(&scene.state().join("builds")),
        Vec::<std::ffi::OsString>::new()
    );
}

#[test]
fn a_file_where_a_directory_is_meant() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("a", "1")
        .file("d/x", "2")
        .file("t.tar", tar_of(&[("a/b", 'f', "1", 0o644)]));
    fails(&scene, "FROM scratch\nCOPY a /a\nCOPY d /a\n")
        .says("3 | COPY d /a")
        .says("not a directory");
    fails(&scene, "FROM scratch\nCOPY a d /file\n").says("2 | COPY a d /file");
    fails(&scene, "FROM scratch\nCOPY a /a\nWORKDIR /a/b\n").says("WORKDIR /a/b");
}
