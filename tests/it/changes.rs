//! What a step changed, and nothing else, is in its layer.

use std::collections::BTreeMap;

use serde_json::json;

use crate::image::{Image, Layer, put_base, tar_of};
use crate::machine;
use crate::program::Scene;
use crate::running::SHELL;
use crate::support::registry::{Auth, Registry};

/// The layers of the instructions after the shell.
fn layers(scene: &Scene, rest: &str) -> Vec<Layer> {
    let image = scene.image(&format!("{SHELL}{rest}"));
    image.layers[2..].to_vec()
}

#[test]
fn deletions_are_whiteouts() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("d/x", "1").file("d/sub/y", "2").file("e/z", "3");
    let found = layers(
        &scene,
        "COPY d /d\nCOPY e /e\nRUN rm /d/x\nRUN rm -r /d/sub\nRUN rm -r /e && mkdir /e && echo new > /e/new\nRUN echo a > /temp && rm /temp\nRUN rm -r /d /e\n",
    );
    assert_eq!(found[2].paths(), ["d", "d/.wh.x"]);
    let mark = found[2].entry("d/.wh.x");
    assert_eq!((mark.kind, mark.content.len()), ('f', 0));
    assert_eq!(found[3].paths(), ["d", "d/.wh.sub"]);
    // Either an opaque directory or a whiteout for each name that was there.
    let replaced = found[4].paths();
    assert!(replaced.contains(&"e/new".to_owned()));
    assert!(
        replaced.contains(&"e/.wh..wh..opq".to_owned()) || replaced.contains(&"e/.wh.z".to_owned()),
        "{replaced:?}"
    );
    assert_eq!(found[5].paths(), Vec::<String>::new());
    assert_eq!(found[6].paths(), [".wh.d", ".wh.e"]);
    let image = scene.build().image();
    assert!(
        image.paths().iter().all(|path| path.starts_with("bin/")),
        "{:?}",
        image.paths()
    );
}

#[test]
fn kinds_modes_owners_and_links() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let found = layers(
        &scene,
        "RUN mkdir /k && cd /k && echo a > file && chmod 4751 file && ln file hard && ln -s file soft && mkfifo pipe && chmod 600 pipe && mkdir -m 1777 sticky && \
         echo b > owned && chown 1234:5678 owned && chmod 2755 owned && echo > \"$(printf 'raw-\\377')\" && touch -d '2001-09-09 01:46:40' old\n",
    );
    let layer = &found[0];
    let get = |path: &str| layer.entry(path);
    assert_eq!((get("k/file").kind, get("k/file").mode), ('f', 0o4751));
    assert_eq!(
        (get("k/hard").kind, &get("k/hard").link[..]),
        ('h', &b"k/file"[..])
    );
    assert_eq!(
        (get("k/soft").kind, &get("k/soft").link[..]),
        ('l', &b"file"[..])
    );
    assert_eq!((get("k/pipe").kind, get("k/pipe").mode), ('p', 0o600));
    assert_eq!((get("k/sticky").kind, get("k/sticky").mode), ('d', 0o1777));
    let owned = get("k/owned");
    assert_eq!((owned.uid, owned.gid, owned.mode), (1234, 5678, 0o2755));
    assert_eq!(get("k/old").mtime, 1_000_000_000);
    assert!(
        layer
            .entries
            .iter()
            .any(|entry| entry.path == b"k/raw-\xff"),
        "{:?}",
        layer.paths()
    );
}

#[test]
fn only_what_changed_is_there() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("d/x", "1").file("d/y", "2").file("d/z", "3");
    let found = layers(
        &scene,
        "COPY d /d\nRUN chmod 600 /d/x\nRUN chown 5:6 /d/y\nRUN touch /d/z\nRUN cat /d/* > /dev/null\nRUN ln /d/x /d/link\nRUN mv /d/y /d/moved\nRUN rm /d/z && ln -s x /d/z\n",
    );
    let changed = |at: usize| -> Vec<String> {
        let names = found[at].entries.iter().filter(|entry| entry.kind != 'd');
        names
            .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
            .collect()
    };
    assert_eq!(changed(1), ["d/x"]);
    assert_eq!(found[1].entry("d/x").mode, 0o600);
    assert_eq!(changed(2), ["d/y"]);
    assert_eq!(
        (found[2].entry("d/y").uid, found[2].entry("d/y").gid),
        (5, 6)
    );
    assert_eq!(changed(3), ["d/z"]);
    assert_eq!(changed(4), Vec::<String>::new());
    assert!(
        changed(5).contains(&"d/link".to_owned()),
        "{:?}",
        changed(5)
    );
    let mut moved = changed(6);
    moved.sort();
    assert_eq!(moved, ["d/.wh.y", "d/moved"]);
    assert_eq!(changed(7), ["d/z"]);
    assert_eq!(found[7].entry("d/z").kind, 'l');
}

#[test]
fn device_nodes_where_root_may_make_them() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    if !machine::is_root() {
        machine::skip("only root makes device nodes");
        return;
    }
    let finished = scene
        .dockerfile(&format!("{SHELL}RUN mknod /null c 1 3\n"))
        .build()
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .run();
    if !finished.status.success() {
        finished.says("mknod");
        machine::skip("device nodes cannot be made in this container");
        return;
    }
    assert_eq!(Image::of_layout(&scene.out("image")).file("null").kind, 'c');
}

/// A tar with one file that has an attribute (pax, `SCHILY.xattr`).
fn with_attribute(path: &str, name: &str, value: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let record = [(&*format!("SCHILY.xattr.{name}"), value.as_bytes())];
    builder.append_pax_extensions(record).expect("a tar");
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, path, &b"1"[..])
        .expect("a tar");
    builder.into_inner().expect("a tar")
}

#[test]
fn attributes_of_files_are_kept() {
    if !machine::can_run() {
        return;
    }
    let scene = Scene::bare();
    std::fs::write(scene.out("probe"), "1").unwrap();
    let set = rustix::fs::setxattr(
        scene.out("probe"),
        "user.colour",
        b"blue\0\xff",
        rustix::fs::XattrFlags::empty(),
    );
    if let Err(error) = set {
        machine::skip(&format!(
            "the temporary directory takes no attributes: {error}"
        ));
        return;
    }
    let registry = Registry::start(Auth::Open);
    let tar = with_attribute("a", "user.colour", "blue");
    put_base(&registry, "base", "v1", &tar, &json!({}));
    let host = registry.host();
    let image = scene.image(&format!(
        "FROM {host}/base:v1 AS one\nFROM scratch\nCOPY --from=one /a /b\n"
    ));
    let expect = BTreeMap::from([("user.colour".to_owned(), b"blue".to_vec())]);
    assert_eq!(image.file("b").xattrs, expect);
}

#[test]
fn layers_of_a_base_are_left_as_they_are() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let tar = tar_of(&[
        ("d", 'd', "", 0o750),
        ("d/setuid", 'f', "s", 0o4755),
        ("d/hard", 'h', "d/setuid", 0o4755),
        ("d/abs", 'l', "/nowhere", 0o777),
        ("etc", 'd', "", 0o755),
        ("etc/hosts", 'f', "mine\n", 0o644),
    ]);
    let layer = put_base(&registry, "base", "v1", &tar, &json!({}));
    let image = scene.image(&format!(
        "FROM {}/base:v1\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sh\", \"-c\", \"echo x > /d/new\"]\n",
        registry.host()
    ));
    assert_eq!(image.layers[0].digest, layer);
    assert_eq!(image.layers[1].paths(), ["busybox"]);
    let last: Vec<String> = image.layers[2].paths();
    assert_eq!(last, ["d", "d/new"]);
    assert_eq!(image.layers[2].entry("d").mode, 0o750);
    assert_eq!(image.file("etc/hosts").text(), "mine\n");
    let deleted = scene.image(&format!(
        "FROM {}/base:v1\nCOPY busybox /busybox\nRUN [\"/busybox\", \"rm\", \"-r\", \"/d\"]\n",
        registry.host()
    ));
    assert_eq!(deleted.layers[2].paths(), [".wh.d"]);
}

#[test]
fn paths_can_be_left_out() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("a", "1").dockerfile(&format!("{SHELL}COPY a /skip/a\nCOPY a /kept/a\nRUN mkdir -p /var/cache && echo x > /var/cache/x; mkdir /var/run; echo x > /var/run/x; echo y > /y; echo z > /skip/z\n"));
    let image = scene
        .build()
        .args(["--ignore-path=/skip", "--ignore-path", "/var/cache"])
        .arg("--ignore-var-run")
        .image();
    let rest: Vec<String> = image
        .paths()
        .into_iter()
        .filter(|path| !path.starts_with("bin/"))
        .collect();
    assert!(
        rest.contains(&"kept/a".to_owned()) && rest.contains(&"y".to_owned()),
        "{rest:?}"
    );
    assert!(
        !rest.iter().any(|path| ["skip", "var/cache", "var/run"]
            .iter()
            .any(|left_out| path.starts_with(left_out))),
        "{rest:?}"
    );
}

#[test]
fn modes_of_snapshots() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("a", "1").dockerfile(&format!(
        "{SHELL}COPY a /a\nCOPY a /b\nRUN chmod 600 /a && echo 2 > /b && echo 3 > /c\n"
    ));
    let changed =
        |mode: &str| scene.build().args(["--snapshot-mode", mode]).image().layers[4].paths();
    assert_eq!(changed("full"), ["a", "b", "c"]);
    assert_eq!(changed("redo"), ["a", "b", "c"]);
    // A change of the mode alone does not move the modification time.
    assert_eq!(changed("time"), ["b", "c"]);
    let finished = scene
        .build()
        .args(["--snapshotMode=time", "--no-push"])
        .success();
    finished.says("--snapshot-mode=time");
}
