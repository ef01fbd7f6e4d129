//! RUN --mount, --network and --security: what a command sees, and that nothing of it stays.

use std::fs;
use std::path::Path;

use crate::image::Image;
use crate::program::{Finished, Scene};
use crate::running::SHELL;

fn image(scene: &Scene, rest: &str) -> Image {
    scene.image(&format!("{SHELL}{rest}"))
}

fn mistake(scene: &Scene, rest: &str) -> Finished {
    scene.mistake(&format!("{SHELL}{rest}"))
}

/// What is in the image but for the shell and these.
fn strays(image: &Image, expected: &[&str]) -> Vec<String> {
    let all = image.paths().into_iter();
    all.filter(|path| !path.starts_with("bin/") && !expected.contains(&path.as_str()))
        .collect()
}

/// Every regular file below a directory that holds the text.
fn holders(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).expect("a file");
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if metadata.is_file() {
            let bytes = fs::read(&path).expect("a file");
            if bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn a_secret_is_seen_by_its_command_only() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    fs::write(scene.root().join("token"), "planted-file-secret\n").unwrap();
    scene.dockerfile(&format!(
        "{SHELL}RUN --mount=type=secret,id=file --mount=type=secret,id=var,env=TOKEN --mount=type=secret,id=absent \
         --mount=type=secret,id=file,target=/etc/deep/key,mode=0444,uid=7,gid=8 \
         stat -c '%a %u %g' /run/secrets/file /etc/deep/key > /facts; sha256sum < /run/secrets/file > /sum; echo ${{#TOKEN}} > /length; \
         ls /run/secrets > /listed; echo x >> /run/secrets/file 2>/dev/null || echo refused > /write\n\
         RUN ls /run /etc/deep > /later 2>&1; echo \"${{TOKEN-none}}\" >> /later; true\n"
    ));
    let finished = scene
        .build()
        .args(["--verbosity=trace", "--secret"])
        .arg(format!(
            "id=file,src={}",
            scene.root().join("token").display()
        ))
        .args(["--secret", "id=var,env=CI_TOKEN"])
        .env("CI_TOKEN", "planted-variable-secret")
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .run();
    assert!(finished.status.success(), "{finished}");
    let image = Image::of_layout(&scene.out("image"));
    let text = |path: &str| image.file(path).text().to_owned();
    assert_eq!(text("facts"), "400 0 0\n444 7 8\n");
    assert_eq!(text("length"), "23\n");
    assert_eq!(text("listed"), "file\n");
    assert_eq!(text("write"), "refused\n");
    let later = text("later");
    assert!(
        later.contains("/run: No such file") && later.contains("/etc/deep: No such file"),
        "{later}"
    );
    assert!(later.ends_with("none\n"), "{later}");
    let made = ["facts", "sum", "length", "listed", "write", "later"];
    assert_eq!(strays(&image, &made), Vec::<String>::new());
    for secret in ["planted-file-secret", "planted-variable-secret"] {
        finished.keeps(secret);
        assert_eq!(holders(&scene.state(), secret), Vec::<String>::new());
        assert_eq!(holders(&scene.out("image"), secret), Vec::<String>::new());
        for entry in image.layers.iter().flat_map(|layer| &layer.entries) {
            let content = String::from_utf8_lossy(&entry.content);
            assert!(!content.contains(secret), "{secret} in {entry:?}");
        }
        assert!(!image.document.to_string().contains(secret));
    }
    assert!(
        !image.history().iter().any(|line| line.contains("mount")),
        "{:?}",
        image.history()
    );
}

#[test]
fn a_secret_that_is_required_must_be_given() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    mistake(&scene, "RUN --mount=type=secret,id=token,required true\n")
        .says("the secret \"token\" is required")
        .says("4 | RUN --mount=type=secret,id=token,required true")
        .says("--secret id=token,src=FILE");
    mistake(&scene, "RUN --mount=type=ssh,required=true true\n")
        .says("the SSH agent \"default\" is required")
        .says("--ssh default");
    scene
        .build()
        .args(["--secret", "hunter2"])
        .mistake()
        .keeps("hunter2")
        .says("--secret");
}

#[test]
fn a_cache_outlives_the_build() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let dockerfile = "RUN --mount=type=cache,target=/var/cache/x --mount=type=cache,id=other,target=/o,uid=5,gid=6,mode=0750 \
         cat /var/cache/x/n > /before 2>/dev/null; echo more >> /var/cache/x/n; stat -c '%a %u %g' /o > /facts\n\
         RUN --mount=type=cache,id=/var/cache/x,target=here cat /here/n > /after; ls /o > /gone 2>&1; ls /var/cache >> /gone 2>&1; true\n";
    let first = image(&scene, dockerfile);
    assert_eq!(first.file("before").text(), "");
    assert_eq!(first.file("after").text(), "more\n");
    assert_eq!(first.file("facts").text(), "750 5 6\n");
    let gone = first.file("gone").text().to_owned();
    assert_eq!(gone.matches("No such file").count(), 2, "{gone}");
    assert_eq!(
        strays(&first, &["before", "after", "facts", "gone"]),
        Vec::<String>::new()
    );
    let second = image(&scene, dockerfile);
    assert_eq!(second.file("before").text(), "more\n");
    assert_eq!(second.file("after").text(), "more\nmore\n");
}

#[test]
fn files_of_the_context_are_seen_as_copy_sees_them() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene
        .file("src/a", "a")
        .file("src/hidden", "h")
        .file(".dockerignore", "src/hidden\nDockerfile\n");
    let dockerfile = "RUN --mount=type=bind,source=src,target=/s ls /s > /listed; stat -c '%u %g' /s/a > /owner; touch /s/new 2>/dev/null || echo refused > /write\n\
         RUN --mount=type=bind,source=src,target=/s,rw echo b > /s/a; echo n > /s/n; cat /s/a /s/n > /changed\n\
         RUN --mount=type=bind,source=src,target=/s cat /s/a > /again; ls -d /s > /there\nRUN ls / > /root\n";
    for _ in 0..2 {
        let image = image(&scene, dockerfile);
        let text = |path: &str| image.file(path).text().to_owned();
        assert_eq!(text("listed"), "a\n");
        assert_eq!(text("owner"), "0 0\n");
        assert_eq!(text("write"), "refused\n");
        assert_eq!(text("changed"), "b\nn\n");
        assert_eq!(text("again"), "a");
        assert!(!text("root").lines().any(|line| line == "s"));
        assert_eq!(fs::read_to_string(scene.path("src/a")).unwrap(), "a");
        assert!(!scene.path("src/n").exists());
        fs::write(scene.path("src/hidden"), "").unwrap();
    }
    fs::remove_file(scene.path("src/hidden")).unwrap();
    // Without rules the directory itself is mounted, and nothing may be written there either.
    fs::remove_file(scene.path(".dockerignore")).unwrap();
    let image = image(&scene, dockerfile);
    assert_eq!(image.file("write").text(), "refused\n");
    assert_eq!(fs::read_to_string(scene.path("src/a")).unwrap(), "a");
    assert!(!scene.path("src/n").exists());
}

#[test]
fn mistakes_in_mounts_show_the_line() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("src/a", "a").file(".dockerignore", "src/hid*\n");
    scene.file("src/hidden", "h");
    for (mount, expect) in [
        ("type=bin,target=/x", "did you mean bind?"),
        ("type=bind,targt=/x", "did you mean target?"),
        ("type=bind,target=/", "cannot have the target /"),
        ("from=$X,target=/x", "variables are not expanded in from"),
        ("source=sr,target=/x", "did you mean \"src\"?"),
        (
            "source=src/hidden,target=/x",
            "the ignore rule \"src/hid*\"",
        ),
        ("from=later,target=/x", "comes after"),
        ("type=secret", "needs an id or a target"),
        (
            "type=cache,source=none,target=/x",
            "is not in the cache \"/x\"",
        ),
    ] {
        let line = format!("RUN --mount={mount} true");
        let failed = mistake(
            &scene,
            &format!("{line}\nFROM scratch AS later\nFROM scratch\nCOPY --from=0 /bin /bin\n"),
        );
        failed.says(expect).says(&format!("4 | {line}"));
    }
    // What a device would be is said, not ignored.
    mistake(&scene, "RUN --device=vendor.com/gpu=0 true\n")
        .says("RUN --device is not supported yet");
}

#[test]
fn files_of_stages_and_images_are_mounted() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let stage = SHELL.replacen("scratch", "scratch AS tools", 1);
    let image = scene.image(&format!(
        "{stage}RUN mkdir /out && echo built > /out/app && ln -s /out /link\nFROM scratch\nCOPY busybox /busybox\n\
         RUN --mount=from=tools,source=/bin,target=/bin --mount=from=tools,source=/link,target=/in,rw \
         echo more >> /in/app && cat /in/app > /copied && ls -A / > /listed\n\
         RUN --mount=from=tools,source=/bin,target=/bin --mount=from=tools,source=/link/app,target=/f cat /f > /plain\n"
    ));
    assert_eq!(image.file("copied").text(), "built\nmore\n");
    assert_eq!(image.file("plain").text(), "built\n");
    let mut paths = image.paths();
    paths.sort();
    assert_eq!(paths, ["busybox", "copied", "listed", "plain"]);
}

#[test]
fn memory_is_mounted_and_gone() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let image = image(
        &scene,
        "RUN mkdir /keep && echo k > /keep/k\n\
         RUN --mount=type=tmpfs,target=/keep,size=1m --mount=type=tmpfs,target=/new/deep ls -A /keep /new/deep > /listed; \
         head -c 2000000 /dev/zero > /keep/big 2>/dev/null || echo full > /full; df /new/deep | tail -1 | cut -d' ' -f1 > /kind\n\
         RUN cat /keep/k > /after; ls -A / > /root\n",
    );
    let text = |path: &str| image.file(path).text().to_owned();
    assert_eq!(text("listed"), "/keep:\n\n/new/deep:\n");
    assert_eq!(text("after"), "k\n");
    assert_eq!(text("full"), "full\n");
    assert!(text("kind").starts_with("tmpfs"), "{}", text("kind"));
    assert!(!text("root").lines().any(|line| line == "new"));
}

#[test]
fn an_agent_is_lent_for_questions_only() {
    use std::io::{Read as _, Write as _};
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let socket = scene.root().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // An agent without keys, that counts what it is asked.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 5];
            while stream.read_exact(&mut request).is_ok() {
                tell.send(request[4]).unwrap();
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).unwrap();
            }
        }
    });
    // busybox's nc speaks to sockets of files with this name only where it was built so: the request goes by a program of ours.
    scene.dockerfile(&format!(
        "{SHELL}RUN --mount=type=ssh echo $SSH_AUTH_SOCK > /where; stat -c '%F %a %u' $SSH_AUTH_SOCK > /facts\n\
         RUN --mount=type=ssh,id=other,target=/tmp/a,mode=0666,uid=3 stat -c '%a %u' /tmp/a > /other; echo $SSH_AUTH_SOCK >> /other\n\
         RUN --mount=type=ssh,id=absent ls /run > /absent 2>&1; ls /run /tmp > /gone 2>&1; true\n"
    ));
    let image = scene
        .build()
        .args(["--ssh", "default", "--ssh"])
        .arg(format!("other={}", socket.display()))
        .env("SSH_AUTH_SOCK", &socket)
        .image();
    let text = |path: &str| image.file(path).text().to_owned();
    assert_eq!(text("where"), "/run/buildkit/ssh_agent.0\n");
    assert_eq!(text("facts"), "socket 600 0\n");
    assert_eq!(text("other"), "666 3\n/tmp/a\n");
    assert_eq!(
        text("gone").matches("No such file").count(),
        2,
        "{}",
        text("gone")
    );
    drop(told);
    let key = scene.root().join("key");
    fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----").unwrap();
    scene
        .build()
        .arg(format!("--ssh=default={}", key.display()))
        .mistake()
        .says("key files are not supported")
        .says("ssh-add");
    scene
        .build()
        .arg("--ssh=default")
        .mistake()
        .says("SSH_AUTH_SOCK is not set");
}

#[test]
fn a_network_of_nothing() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "{SHELL}RUN --network=none cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ' > /none; ping -c1 127.0.0.1 > /dev/null && echo up >> /none\n\
         RUN --network=default cat /proc/net/dev | wc -l > /default\nRUN --network=host cat /proc/net/dev | wc -l > /host\nRUN cat /proc/net/dev | wc -l > /unsaid\n"
    ));
    let image = scene.build().image();
    assert_eq!(image.file("none").text(), "lo\nup\n");
    assert_eq!(image.file("default").text(), image.file("host").text());
    assert_eq!(image.file("default").text(), image.file("unsaid").text());
    let image = scene.build().arg("--network=none").image();
    assert_eq!(image.file("unsaid").text(), "3\n");
    assert_eq!(image.file("default").text(), "3\n");
}

#[test]
fn more_rights_have_to_be_allowed() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let dockerfile = "RUN --security=insecure mkdir /m && mount -t tmpfs none /m && echo mounted > /done\nRUN grep CapEff /proc/self/status > /caps\n";
    mistake(&scene, dockerfile)
        .says("--security=insecure was not allowed")
        .says("--allow security.insecure");
    scene
        .build()
        .arg("--allow=everything")
        .mistake()
        .says("security.insecure");
    let built = scene
        .build()
        .arg("--allow=security.insecure")
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .run();
    if built.status.success() {
        let image = Image::of_layout(&scene.out("image"));
        assert_eq!(image.file("done").text(), "mounted\n");
        assert!(
            image.file("caps").text().contains("00000000a80424fb")
                || image.file("caps").text().contains("a80424"),
            "{}",
            image.file("caps").text()
        );
    } else {
        // Not the real root: a user namespace has nothing to grant.
        built
            .says("needs the real root")
            .says("RUN --security=insecure");
    }
}

#[test]
fn the_kernel_is_shut_off() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let image = image(
        &scene,
        "RUN (mount -t tmpfs none /bin; umount /proc; unshare -r true; unshare -m true; hostname x; swapon /x) > /refused 2>&1; grep Seccomp: /proc/self/status > /seccomp; cat /proc/keys > /keys; true\n",
    );
    assert_eq!(image.file("seccomp").text(), "Seccomp:\t2\n");
    assert_eq!(image.file("keys").text(), "");
    let refused = image.file("refused").text().to_owned();
    assert!(
        refused.matches("ermi").count() + refused.matches("not permitted").count() >= 4,
        "{refused}"
    );
}

#[test]
fn builds_share_a_cache_as_they_say() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let other = Scene::with_busybox().expect("a second scene");
    let dockerfile = |sharing: &str| {
        format!(
            "{SHELL}RUN --mount=type=cache,id=c,target=/c,sharing={sharing} echo begin >> /c/log; sleep 1; echo end >> /c/log; cat /c/log > /log\n"
        )
    };
    let both = |sharing: &str| {
        let id = format!("sharing={sharing}");
        let start = |scene: &Scene| {
            scene.dockerfile(
                &dockerfile(sharing).replace(
                    "id=c",
                    &format!("id={id}")
                        .replace('=', "-")
                        .replacen("id-", "id=", 1),
                ),
            );
            scene
                .build()
                .env("LONGSHORE_STATE_DIR", other.state())
                .arg("--oci-layout-path")
                .arg(scene.out(sharing))
                .start()
        };
        let (first, second) = (start(&scene), start(&other));
        let (first, second) = (first.wait(), second.wait());
        assert!(first.status.success(), "{first}");
        assert!(second.status.success(), "{second}");
        let mut logs = [
            Image::of_layout(&scene.out(sharing))
                .file("log")
                .text()
                .to_owned(),
            Image::of_layout(&other.out(sharing))
                .file("log")
                .text()
                .to_owned(),
        ];
        logs.sort_by_key(String::len);
        logs
    };
    let locked = both("locked");
    assert_eq!(locked, ["begin\nend\n", "begin\nend\nbegin\nend\n"]);
    // Each has its own; if one had ended before the other began, the second goes on with it.
    let private = both("private");
    assert_eq!(private[0], "begin\nend\n");
    assert!(!private[1].starts_with("begin\nbegin"), "{private:?}");
    let shared = both("shared");
    assert!(shared[1].lines().count() >= 3, "{shared:?}");
}

#[test]
fn scripts_in_heredocs_have_mounts() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("a", "context");
    let image = image(
        &scene,
        "RUN --mount=target=/src --mount=type=cache,target=/c <<EOF\ncat /src/a > /one\necho c > /c/f\nEOF\n\
         RUN --mount=type=cache,target=/c <<EOF\n#!/bin/sh\ncat /c/f > /two\nEOF\n\
         RUN --mount=target=/src cat <<A > /three && cat - /src/a <<B > /four\nfirst\nA\nsecond\nB\n",
    );
    let text = |path: &str| image.file(path).text().to_owned();
    assert_eq!(text("one"), "context");
    assert_eq!(text("two"), "c\n");
    assert_eq!(text("three"), "first\n");
    assert_eq!(text("four"), "second\ncontext");
    assert_eq!(
        strays(&image, &["one", "two", "three", "four"]),
        Vec::<String>::new()
    );
}

#[test]
fn a_namespace_keeps_caches_of_one_name_apart() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "{SHELL}RUN --mount=type=cache,target=/c ls /c > /seen; touch /c/left\n"
    ));
    let seen = |args: &[&str]| {
        scene
            .build()
            .args(args)
            .image()
            .file("seen")
            .text()
            .to_owned()
    };
    let one = "--build-arg=BUILDKIT_CACHE_MOUNT_NS=one";
    assert_eq!(seen(&[one]), "");
    assert_eq!(seen(&[one]), "left\n");
    assert_eq!(seen(&["--build-arg=BUILDKIT_CACHE_MOUNT_NS=two"]), "");
    assert_eq!(seen(&[]), "");
}
