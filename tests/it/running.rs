//! RUN: what a command sees, and what becomes of it.

use crate::image::{put_layers, tar_of};
use crate::program::{Finished, Scene};

/// A stage with a shell.
pub(crate) const SHELL: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

/// Builds `rest` after a stage with a shell.
fn image(scene: &Scene, rest: &str) -> crate::image::Image {
    scene.image(&format!("{SHELL}{rest}"))
}

fn mistake(scene: &Scene, rest: &str) -> Finished {
    scene.mistake(&format!("{SHELL}{rest}"))
}

#[test]
fn commands_in_every_form() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let image = image(
        &scene,
        "RUN echo shell $((1+1)) > /shell\nRUN [\"/bin/sh\", \"-c\", \"echo exec > /exec\"]\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $0 > /other; true\n\
         RUN <<EOF\necho one > /heredoc\necho two >> /heredoc\nEOF\nRUN <<EOF\n#!/bin/sh\necho \"script $0\" > /script\nEOF\nRUN cat <<A > /cat\nlines\nA\nRUN echo a && \\\n    echo b > /continued\n",
    );
    let text = |path: &str| image.file(path).text().to_owned();
    assert_eq!(text("shell"), "shell 2\n");
    assert_eq!(text("exec"), "exec\n");
    assert_eq!(text("heredoc"), "one\ntwo\n");
    assert!(text("script").starts_with("script /"), "{}", text("script"));
    assert_eq!(text("cat"), "lines\n");
    assert_eq!(text("continued"), "b\n");
    assert!(
        image
            .history()
            .iter()
            .any(|line| line == "RUN /bin/sh -c echo shell $((1+1)) > /shell # buildkit"),
        "{:?}",
        image.history()
    );
    let strays: Vec<String> = image
        .paths()
        .into_iter()
        .filter(|path| path.contains("longshore") || path.contains("pipes"))
        .collect();
    assert_eq!(strays, Vec::<String>::new());
}

#[test]
fn the_exit_status_is_ours() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    for (command, code, text) in [
        ("RUN exit 7", 7, "exit code 7"),
        ("RUN [\"/bin/false\"]", 1, "exit code 1"),
        ("RUN sh -c 'kill -9 $$'; exit $?", 137, "exit code 137"),
        ("RUN /nonexistent", 127, "exit code 127"),
    ] {
        let failed = mistake(&scene, &format!("{command}\nRUN touch /never\n"));
        assert_eq!(failed.code(), code, "{failed}");
        failed.says(text).says(&format!("4 | {command}"));
        let hint = "= help: a shell ends so where a program is not in the image";
        assert_eq!(failed.stderr.contains(hint), code == 127, "{failed}");
        assert!(!scene.path("image.oci").exists());
    }
    mistake(&scene, "RUN [\"/nonexistent\"]\n")
        .says("/nonexistent")
        .says("4 | RUN")
        .says("= help: the image lacks it");
    scene.file("a", "1");
    mistake(&scene, "COPY a /\nRUN [\"/a\"]\n").says("= help: it may not be executed");
    mistake(&scene, "USER nobody\nRUN true\n")
        .says("\"nobody\"")
        .says("/etc/passwd");
}

#[test]
fn the_environment_is_constructed() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "ARG GLOBAL=global\n{SHELL}ARG GLOBAL\nARG GIVEN\nENV SET=env\nWORKDIR /work\nRUN env > /env; pwd > /pwd\nUSER 12:34\nRUN env > /tmp-env || true; id -u; echo \"$HOME\"\n"
    ));
    let image = scene
        .build()
        .args([
            "--build-arg=GIVEN=given",
            "--build-arg=HTTP_PROXY=http://proxy.test:1",
        ])
        .env("PLANTED", "planted-secret")
        .env("HTTPS_PROXY", "http://outer.test:1")
        .image();
    let text = image.file("env").text().to_owned();
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("SHLVL=") && !line.starts_with("OLDPWD="))
        .collect();
    lines.sort_unstable();
    let expect = [
        "GIVEN=given",
        "GLOBAL=global",
        "HOME=/root",
        "HTTP_PROXY=http://proxy.test:1",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/work",
        "SET=env",
        "http_proxy=http://proxy.test:1",
    ];
    assert_eq!(lines, expect);
    assert_eq!(image.file("pwd").text(), "/work\n");
    assert!(
        !image
            .history()
            .iter()
            .any(|line| line.contains("proxy.test")),
        "a proxy in the history"
    );
}

#[test]
fn secrets_of_the_builder_are_out_of_reach() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "{SHELL}RUN for f in /proc/[0-9]*/environ /proc/self/environ /proc/1/environ; do tr '\\0' '\\n' < $f; done > /seen 2>/dev/null; env >> /seen; \
         cat /proc/[0-9]*/cmdline >> /seen 2>/dev/null; ls -l /proc/[0-9]*/root /proc/[0-9]*/fd >> /seen 2>/dev/null; true\n\
         RUN find / -xdev -name config.json > /found 2>/dev/null; ls -a {state} > /state 2>/dev/null; true\n",
        state = scene.state().display()
    ));
    // A process of the same user beside the builder, with a secret in its environment, as a CI's agent has them.
    let mut agent = std::process::Command::new("sleep")
        .arg("1000")
        .env("AGENT", "agent-secret")
        .spawn()
        .unwrap();
    let docker = r#"{"auths": {"reg.test": {"auth": "dXNlcjpkb2NrZXItc2VjcmV0"}}}"#;
    let finished = scene
        .build()
        .env("CI_TOKEN", "planted-secret")
        .env("DOCKER_AUTH_CONFIG", docker)
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .run();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(finished.status.success(), "{finished}");
    let image = crate::image::Image::of_layout(&scene.out("image"));
    for secret in ["planted-secret", "agent-secret", "dXNlcjpkb2NrZXItc2VjcmV0"] {
        finished.keeps(secret);
        let mut contents = image.layers.iter().flat_map(|layer| &layer.entries);
        let leak = contents.find(|entry| {
            entry
                .content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        });
        assert!(leak.is_none(), "{secret} in {leak:?}");
        assert!(!image.document.to_string().contains(secret));
    }
    assert!(
        image.file("seen").text().contains("PATH="),
        "the test looked at nothing"
    );
    assert_eq!(image.file("found").text(), "");
    assert_eq!(image.file("state").text(), "");
}

#[test]
fn only_three_descriptors_and_no_input() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "{SHELL}RUN n=; for f in /proc/self/fd/*; do [ -h $f ] && n=\"$n ${{f##*/}}\"; done; echo $n > /fds; readlink /proc/self/fd/0 > /in; cat > /read\n"
    ));
    let image = scene.build().stdin(b"from the terminal".to_vec()).image();
    assert_eq!(image.file("fds").text(), "0 1 2\n");
    assert_eq!(image.file("in").text(), "/dev/null\n");
    assert_eq!(image.file("read").text(), "");
}

#[test]
fn daemons_are_ended_before_the_snapshot() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let mark = format!("98765{}", std::process::id());
    let image = image(
        &scene,
        &format!(
            "RUN (setsid sleep {mark} </dev/null >/dev/null 2>&1 &) ; (setsid sh -c 'while true; do echo x >> /log; done' &); while [ ! -s /log ]; do :; done\nRUN ps -o args > /ps; cp /log /log2; sleep 1; cmp /log /log2\n"
        ),
    );
    assert!(
        !image.file("ps").text().contains(&mark),
        "{}",
        image.file("ps").text()
    );
    assert_eq!(crate::signals::processes_with(&mark), Vec::<String>::new());
}

#[test]
fn users_groups_and_homes() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let image = image(
        &scene,
        "RUN mkdir -p /etc /home/bob /out && echo 'root:x:0:0::/root:/bin/sh' > /etc/passwd && echo 'bob:x:1000:1001::/home/bob:/bin/sh' >> /etc/passwd && printf 'bob:x:1001:\\nextra:x:50:bob\\n' > /etc/group && chmod 1777 /out\n\
         USER bob\nRUN id -u > /out/uid; id -G > /out/groups; echo $HOME > /out/home; touch /root-only 2>/dev/null; true\nUSER 7:8\nRUN id -u > /out/uid2; id -g >> /out/uid2\nCOPY --chown=bob busybox /out/copied\n",
    );
    let text = |path: &str| image.file(path).text().to_owned();
    assert_eq!(text("out/uid"), "1000\n");
    assert_eq!(text("out/groups"), "1001 50\n");
    assert_eq!(text("out/home"), "/home/bob\n");
    assert_eq!(text("out/uid2"), "7\n8\n");
    let (made, copied) = (image.file("out/uid"), image.file("out/copied"));
    assert_eq!(
        (made.uid, made.gid, copied.uid, copied.gid),
        (1000, 1001, 1000, 1001)
    );
    assert!(!image.tree().contains_key("root-only"));
    assert_eq!(image.config()["User"], "7:8");
}

#[test]
fn output_passes_through() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "{SHELL}RUN echo to-$((40+2))-out; echo to-$((40+2))-err >&2; printf no-newline\n"
    ));
    let finished = scene.build().arg("--no-push").success();
    finished
        .says("\nto-42-out\n")
        .says("\nto-42-err\n")
        .says("no-newline\n");
    assert_eq!(finished.stdout.lines().count(), 1, "{finished}");
}

#[test]
fn a_stage_is_taken_apart_from_the_next() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let tools = SHELL.replacen("scratch", "scratch AS tools", 1);
    let image = scene.image(&format!(
        "{tools}RUN echo made > /made\nFROM scratch\nCOPY --from=tools /made /made\nCOPY --from=tools /bin/busybox /b/busybox\n\
         RUN [\"/b/busybox\", \"sh\", \"-c\", \"/b/busybox cat /made > /again; /b/busybox ls / > /ls\"]\n"
    ));
    assert_eq!(image.file("again").text(), "made\n");
    let listed = image.file("ls").text().to_owned();
    assert!(!listed.contains("bin"), "{listed}");
    let stray: Vec<String> = image
        .paths()
        .into_iter()
        .filter(|path| !["again", "b/", "b/busybox", "ls", "made"].contains(&&**path))
        .collect();
    // Only the places of mounts may be seen, never their content.
    assert_eq!(stray, Vec::<String>::new(), "{listed}");
}

#[test]
fn a_file_system_that_is_mounted_stays_out_of_layers() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let image = image(
        &scene,
        "RUN echo x > /dev/shm/x; cat /etc/hosts /etc/resolv.conf > /dev/null; echo y > /tmpfile; ls /sys > /dev/null\n",
    );
    let last = image.layers.last().unwrap();
    assert_eq!(last.paths(), ["tmpfile"]);
}

#[test]
fn the_host_name_can_be_given() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!("{SHELL}RUN hostname > /name\n"));
    let name = |args: &[&str]| {
        let image = scene.build().args(args).image();
        image.file("name").text().to_owned()
    };
    assert_eq!(name(&[]), "buildkitsandbox\n");
    let given = name(&["--build-arg=BUILDKIT_SANDBOX_HOSTNAME=builder.example"]);
    assert_eq!(given, "builder.example\n");
}

#[test]
fn a_base_of_many_layers_is_the_same_for_any_number_of_threads() {
    let Some((scene, registry)) = crate::caching::scene() else {
        return;
    };
    // Each layer has a file of its own, takes one of the layer below away, and changes one of all.
    let tars: Vec<_> = (0..7)
        .map(|number: u32| {
            let text = format!("{number} ").repeat(100_000);
            let (own, gone) = (
                format!("d/{number}"),
                format!("d/.wh.{}", number.wrapping_sub(1)),
            );
            tar_of(&[
                ("d", 'd', "", 0o755),
                (&own, 'f', &text, 0o644),
                (&gone, 'f', "", 0o644),
                ("common", 'f', &text, 0o600 + number),
            ])
        })
        .collect();
    let tars: Vec<&[u8]> = tars.iter().map(Vec::as_slice).collect();
    let config = serde_json::json!({"Env": ["PATH=/bin"]});
    put_layers(&registry, ("many", "v1"), &tars, &tars, &config);
    let mut said = tars.clone();
    said.swap(4, 5);
    let layers = put_layers(&registry, ("many", "broken"), &tars, &said, &config);
    let build = |tag: &str, jobs: &str| {
        let base = format!("{}/many:{tag}", registry.host());
        scene.dockerfile(&format!(
            "{}RUN ls d > list; stat -c %a common >> list; md5sum common d/* >> list\n",
            SHELL.replace("scratch", &base)
        ));
        crate::caching::fresh(&scene).args(["--jobs", jobs])
    };
    let list = |jobs: &str| build("v1", jobs).image().file("list").text().to_owned();
    let expected = list("1");
    assert!(expected.starts_with("6\n606\n"), "{expected}");
    for jobs in ["2", "8"] {
        assert_eq!(list(jobs), expected, "--jobs={jobs}");
    }
    for jobs in ["1", "8"] {
        let mistake = build("broken", jobs).arg("--no-push").mistake();
        mistake.says("diff id").says(&layers[4][7..19]);
    }
}

#[test]
fn layers_that_are_made_apart_are_as_if_each_had_been_put_onto_those_below() {
    let Some((scene, registry)) = crate::caching::scene() else {
        return;
    };
    let dir = |path: &'static str, mode| (path, 'd', "", mode);
    let file = |path: &'static str, text: &'static str| (path, 'f', text, 0o640);
    let layers = [
        // What the others meet.
        vec![
            dir("usr", 0o755),
            dir("usr/lib", 0o755),
            file("usr/lib/old", "0"),
            ("lib", 'l', "usr/lib", 0o777),
            ("lib2", 'l', "usr/lib", 0o777),
            dir("gone", 0o755),
            file("gone/deep", "0"),
            file("was", "0"),
            dir("twice", 0o755),
            file("twice/hidden", "0"),
            dir("again", 0o755),
            file("again/kept", "0"),
        ],
        // Merged, with another mode, and replacing a file.
        vec![
            dir("usr", 0o700),
            dir("usr/lib", 0o711),
            file("usr/lib/old", "1"),
            file("usr/new", "1"),
        ],
        // A directory in the place of a link, and of a file; a file in the place of a directory; a hard link to a file of the layer.
        vec![
            dir("lib", 0o750),
            file("lib/own", "2"),
            dir("was", 0o755),
            file("was/file", "2"),
            file("gone", "2"),
            ("usr2", 'h', "gone", 0o640),
        ],
        // Through a link of a layer below, without its directory.
        vec![file("lib2/through", "3")],
        // A hard link to a file below.
        vec![dir("more", 0o755), ("more/link", 'h', "usr/new", 0o640)],
        // What is below goes, since in between there is a file of the name.
        vec![dir("twice", 0o755), file("twice/mine", "5")],
        vec![file("twice", "6")],
        vec![dir("twice", 0o755), file("twice/last", "7")],
        vec![
            dir("again", 0o755),
            ("again", 'l', "usr", 0o777),
            dir("again", 0o700),
        ],
        // The root, a deletion, everything of a directory.
        vec![dir("./", 0o711), file("top", "9")],
        vec![dir("more", 0o755), file("more/.wh.link", "")],
        vec![
            dir("usr", 0o755),
            file("usr/.wh..wh..opq", ""),
            file("usr/only", "11"),
        ],
        // By itself again, on top of all that.
        vec![
            dir("usr", 0o755),
            dir("usr/lib", 0o755),
            file("usr/lib/end", "12"),
        ],
    ];
    let tars: Vec<_> = layers.iter().map(|entries| tar_of(entries)).collect();
    let tars: Vec<&[u8]> = tars.iter().map(Vec::as_slice).collect();
    let config = serde_json::json!({"Env": ["PATH=/bin"]});
    put_layers(&registry, ("apart", "v1"), &tars, &tars, &config);
    let list = |jobs: &str| {
        let base = format!("{}/apart:v1", registry.host());
        scene.dockerfile(&format!(
            "{}RUN stat -c %a / > list; for name in usr lib lib2 gone was twice again more top usr2; do find $name -exec stat -c '%N %F %a %u' {{}} +; done | sort >> list; \
             find usr lib lib2/ gone was twice more usr2 top -type f -exec md5sum {{}} + | sort >> list\n",
            SHELL.replace("scratch", &base)
        ));
        let image = crate::caching::fresh(&scene).args(["--jobs", jobs]).image();
        image.file("list").text().to_owned()
    };
    let expected = list("1");
    for (part, is_there) in [
        ("711\n", true),
        ("lib directory 750", true),
        ("'lib2' -> 'usr/lib' symbolic link", true),
        ("usr directory 755", true),
        ("usr/only", true),
        ("usr/lib/end", true),
        ("usr/new", false),
        ("through", false),
        ("gone/deep", false),
        ("gone regular file", true),
        ("was/file", true),
        ("twice/last", true),
        ("twice/hidden", false),
        ("again/kept", false),
        ("more/link", false),
    ] {
        assert_eq!(expected.contains(part), is_there, "{part}: {expected}");
    }
    for jobs in ["2", "4", "16"] {
        assert_eq!(list(jobs), expected, "--jobs={jobs}");
    }
}
