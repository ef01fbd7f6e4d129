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
