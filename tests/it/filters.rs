//! COPY with `--parents`, `--exclude` and `--link`.

use crate::image::{Image, tar_of};
use crate::program::Scene;

fn tree(scene: &Scene) {
    for name in [
        "a/1.txt",
        "a/b/2.txt",
        "a/b/c/3.md",
        "top.md",
        "top.txt",
        "x/y/y.txt",
        "x/z.txt",
    ] {
        scene.file(name, name);
    }
    scene.dir("d/empty").mode("a/b", 0o700).link("a", "link");
}

/// What a COPY puts below `/o`.
fn copied(scene: &Scene, words: &str) -> Vec<String> {
    let image = scene.image(&format!("FROM scratch\nCOPY {words} /o/\n"));
    let below = image.paths().into_iter();
    below
        .filter_map(|path| path.strip_prefix("o/").map(str::to_owned))
        .filter(|path| !path.is_empty())
        .collect()
}

#[test]
fn excluded_paths_are_relative_to_each_source() {
    let Some(scene) = Scene::new() else { return };
    tree(&scene);
    for (words, expect) in [
        (
            "--exclude=*.txt a",
            &["b/", "b/2.txt", "b/c/", "b/c/3.md"][..],
        ),
        ("--exclude=**/*.txt a", &["b/", "b/c/", "b/c/3.md"]),
        ("--exclude=b a", &["1.txt"]),
        (
            "--exclude=a/b a",
            &["1.txt", "b/", "b/2.txt", "b/c/", "b/c/3.md"],
        ),
        (
            "--exclude=b --exclude=!b/2.txt a",
            &["1.txt", "b/", "b/2.txt"],
        ),
        (
            "--exclude=/b --exclude=#x a",
            &["1.txt", "b/", "b/2.txt", "b/c/", "b/c/3.md"],
        ),
        // What is named is copied.
        ("--exclude=*.txt top.txt", &["top.txt"]),
        ("--exclude=*.txt top.*", &["top.md", "top.txt"]),
    ] {
        assert_eq!(copied(&scene, words), expect, "{words}");
    }
    let image = scene.image("FROM scratch\nADD --exclude=1.txt a /o/\n");
    assert_eq!(
        image.paths(),
        ["o/", "o/b/", "o/b/2.txt", "o/b/c/", "o/b/c/3.md"]
    );
    // The directory on the way keeps its mode.
    let image = scene.image("FROM scratch\nCOPY --exclude=b --exclude=!b/2.txt a /o/\n");
    assert_eq!(image.file("o/b").mode, 0o700);
    let failed = scene.mistake("FROM scratch\nCOPY --exclude=[ a /o/\n");
    failed.says("--exclude").says("2 | COPY");
}

#[test]
fn parents_are_kept() {
    let Some(scene) = Scene::new() else { return };
    tree(&scene);
    for (words, expect) in [
        ("--parents a/b/2.txt", &["a/", "a/b/", "a/b/2.txt"][..]),
        (
            "--parents ./a/../a/1.txt ../x/z.txt",
            &["a/", "a/1.txt", "x/", "x/z.txt"],
        ),
        (
            "--parents a/**/*.md",
            &["a/", "a/b/", "a/b/c/", "a/b/c/3.md"],
        ),
        ("--parents a/./b/c", &["b/", "b/c/", "b/c/3.md"]),
        ("--parents */./z.txt", &["top.md", "top.txt", "z.txt"]),
        ("--parents link", &["link"]),
        ("--parents d", &["d/", "d/empty/"]),
        ("--parents none*/x", &[]),
        ("--parents --exclude=**/*.txt x", &["x/", "x/y/"]),
        ("--parents=false a/b/2.txt", &["2.txt"]),
    ] {
        let mut found = copied(&scene, words);
        found.retain(|path| path != "Dockerfile");
        assert_eq!(found, expect, "{words}");
    }
    let image = scene.image("FROM scratch\nCOPY --parents --chown=3:4 a/b/c /o/\n");
    let way = image.file("o/a/b");
    assert_eq!((way.mode, way.uid, way.gid), (0o700, 3, 4));
    assert_eq!(
        image.history(),
        ["COPY --parents --chown=3:4 a/b/c /o/ # buildkit"]
    );
    let failed = scene.mistake("FROM scratch\nCOPY --parents a/b/2.tx /o/\n");
    failed.says("a/b/2.tx").says("did you mean \"a/b/2.txt\"?");
    scene.file(".dockerignore", "a/b/2.txt\n");
    scene
        .mistake("FROM scratch\nCOPY --parents a/b/2.txt /o/\n")
        .says("ignore rule");
}

fn layer(image: &Image, number: usize) -> &str {
    &image.layers[number].digest
}

#[test]
fn a_linked_layer_is_the_same_on_any_base() {
    let Some(scene) = Scene::new() else { return };
    tree(&scene);
    scene.file(
        "base.tar",
        tar_of(&[("usr/o", 'd', "", 0o700), ("o", 'l', "usr/o", 0o777)]),
    );
    scene.file("old", "old");
    let linked = "COPY --link --chown=7:8 a top.txt /o/p/\n";
    let build = |dockerfile: &str| {
        scene.dockerfile(dockerfile);
        scene.build().env("SOURCE_DATE_EPOCH", "1000000000").image()
    };
    let alone = build(&format!("FROM scratch\n{linked}"));
    let onto_link = build(&format!("FROM scratch\nADD base.tar /\n{linked}"));
    let onto_dir = build(&format!(
        "FROM scratch\nCOPY old /o/p/top.txt\n{linked}COPY old /o/p/q/\n"
    ));
    assert_eq!(layer(&alone, 0), layer(&onto_link, 1));
    assert_eq!(layer(&alone, 0), layer(&onto_dir, 1));
    // The link of the base is replaced and not followed.
    assert_eq!(onto_link.file("o").kind, 'd');
    assert!(
        !onto_link
            .paths()
            .iter()
            .any(|path| path.starts_with("usr/o/p"))
    );
    assert_eq!(onto_dir.file("o/p/top.txt").text(), "top.txt");
    let file = onto_dir.file("o/p/1.txt");
    assert_eq!((file.uid, file.gid), (7, 8));
    // A later step sees the layer.
    assert_eq!(
        onto_dir.layers[2].paths(),
        ["o", "o/p", "o/p/q", "o/p/q/old"]
    );
    let history = &alone.history()[0];
    assert_eq!(history, "COPY --chown=7:8 a top.txt /o/p/ # buildkit");
    // With --chmod, --link says nothing.
    let plain = build("FROM scratch\nADD base.tar /\nCOPY --link --chmod=600 top.txt /o/p\n");
    assert_eq!(plain.file("usr/o/p").mode, 0o600);
}

#[test]
fn later_stages_and_one_layer_see_linked_files() {
    let Some(scene) = Scene::new() else { return };
    tree(&scene);
    let image = scene.image(
        "FROM scratch AS one\nCOPY --link x /x\nADD --link a/1.txt /x/\nFROM one\nCOPY --from=one /x/z.txt /z\nCOPY top.md /x/y/\n",
    );
    assert_eq!(
        image.paths(),
        [
            "x/",
            "x/1.txt",
            "x/y/",
            "x/y/top.md",
            "x/y/y.txt",
            "x/z.txt",
            "z"
        ]
    );
    scene.dockerfile("FROM scratch\nCOPY top.md /x/z.txt\nCOPY --link x /x\nCOPY top.txt /x/\n");
    let image = scene.build().arg("--single-snapshot").image();
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.file("x/z.txt").text(), "x/z.txt");
    assert_eq!(
        image.paths(),
        ["x/", "x/top.txt", "x/y/", "x/y/y.txt", "x/z.txt"]
    );
}

#[test]
fn a_name_cannot_be_looked_up_for_a_linked_copy() {
    let Some(scene) = Scene::new() else { return };
    tree(&scene);
    let failed = scene.mistake("FROM scratch\nCOPY --link --chown=me a /o/\n");
    failed
        .says("\"me\"")
        .says("give numbers, or leave --link out");
}

#[test]
fn a_workdir_of_a_numbered_user_has_that_group() {
    let Some(scene) = Scene::new() else { return };
    let image = scene.image("FROM scratch\nUSER 1234\nWORKDIR /a\nUSER 5:6\nWORKDIR /b\n");
    let (a, b) = (image.file("a"), image.file("b"));
    assert_eq!((a.uid, a.gid), (1234, 1234));
    assert_eq!((b.uid, b.gid), (5, 6));
}
