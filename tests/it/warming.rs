//! `longshore warm`: images are in a directory before the build that starts from them.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::image::{Image, digest, put_base, tar_of};
use crate::program::{Call, Finished, Scene, binary};
use crate::support::registry::{Auth, Registry};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image in a registry; gives the digests of its layer and its manifest.
fn put(registry: &Registry, repository: &str, content: &str) -> (String, String) {
    let tar = tar_of(&[(
        "from",
        'f',
        &format!("{content} {}", "x".repeat(50_000)),
        0o644,
    )]);
    let layer = put_base(registry, repository, "v1", &tar, &json!({}));
    let manifest = registry.manifest(repository, "v1").expect("a manifest");
    (layer, digest(&manifest))
}

fn directory(scene: &Scene) -> PathBuf {
    scene.root().join("cache")
}

fn warm(scene: &Scene, images: &[&str]) -> Call {
    let mut call = scene
        .longshore(&["warm", "--cache-dir"])
        .arg(directory(scene));
    for image in images {
        call = call.args(["--image", image]);
    }
    call
}

/// A build on a machine that has nothing but the directory.
fn build(scene: &Scene, from: &str) -> Call {
    let _ = fs::remove_dir_all(scene.state());
    scene
        .file("a", "1")
        .dockerfile(&format!("FROM {from}\nCOPY a /a\n"))
        .build()
        .arg("--cache-dir")
        .arg(directory(scene))
}

fn content(image: &Image) -> String {
    let file = image.file("from");
    file.text()
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Where a blob of an image is.
fn blob(scene: &Scene, image: &str, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    directory(scene).join(image).join("blobs/sha256").join(hex)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

/// The program under another name.
fn called(call: Call, name: &str) -> Call {
    let mut call = call;
    let mut command = Command::new(binary());
    let old = call.command();
    command.env_clear();
    for (key, value) in old.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    if let Some(directory) = old.get_current_dir() {
        command.current_dir(directory);
    }
    command.arg0(name);
    *old = command;
    call
}

#[test]
fn a_build_fetches_no_layer_that_is_there() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let (layer, manifest) = put(&registry, "base", "warm");
    let name = format!("{}/base:v1", registry.host());
    let told = warm(&scene, &[&name]).success();
    assert_eq!(
        told.stdout,
        format!("{}/base@{manifest}\n", registry.host())
    );
    assert_eq!(registry.count("GET", &layer), 1);
    assert!(blob(&scene, &manifest, &layer).is_file());

    // By its tag: the registry says what that stands for, and is asked for nothing else.
    let image = build(&scene, &name).image();
    assert_eq!(content(&image), "warm");
    assert_eq!(registry.count("GET", &layer), 1, "the layer was fetched");

    // By its digest: the registry is not asked at all.
    let mark = registry.state().requests.len();
    let exact = format!("{}/base@{manifest}", registry.host());
    let image = build(&scene, &exact).image();
    assert_eq!(content(&image), "warm");
    assert_eq!(registry.state().requests.len(), mark);
    // Not even where there is none.
    drop(registry);
    let image = build(&scene, &exact).image();
    assert_eq!(content(&image), "warm");
}

#[test]
fn outputs_take_layers_from_the_directory() {
    let Some(scene) = Scene::new() else { return };
    let (from, to) = (Registry::start(Auth::Open), Registry::start(Auth::Open));
    let (layer, manifest) = put(&from, "base", "warm");
    let name = format!("{}/base:v1", from.host());
    warm(&scene, &[&name]).success();
    // A build that unpacks nothing.
    scene.dockerfile(&format!("FROM {name}\nLABEL a=b\n"));
    let build = || scene.build().arg("--cache-dir").arg(directory(&scene));
    assert_eq!(content(&build().image()), "warm");
    let destination = format!("{}/app:v1", to.host());
    build().args(["-d", &destination]).success();
    assert_eq!(content(&Image::of_registry(&to, "app", "v1")), "warm");
    assert_eq!(from.count("GET", &layer), 1, "only by the warmer");
    assert!(blob(&scene, &manifest, &layer).is_file());
}

#[test]
fn an_index_leads_to_the_image_of_the_platform() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let (_, manifest) = put(&registry, "base", "warm");
    let bytes = registry.manifest("base", "v1").expect("a manifest");
    let config: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let config = config["config"]["digest"].as_str().expect("a digest");
    let document = registry
        .blob("base", &config.parse().expect("a digest"))
        .expect("a configuration");
    let document: serde_json::Value = serde_json::from_slice(&document).expect("JSON");
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"mediaType": MANIFEST, "digest": format!("sha256:{}", "0".repeat(64)), "size": 9,
             "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": MANIFEST, "digest": manifest, "size": bytes.len(),
             "platform": {"os": "linux", "architecture": document["architecture"]}},
        ],
    })
    .to_string();
    registry.put_manifest(
        "base",
        "multi",
        "application/vnd.oci.image.index.v1+json",
        index.clone(),
    );
    let name = format!("{}/base:multi", registry.host());
    warm(&scene, &[&name]).success();
    let exact = format!("{}/base@{}", registry.host(), digest(index.as_bytes()));
    drop(registry);
    assert_eq!(content(&build(&scene, &exact).image()), "warm");
    // For another platform there is nothing, and the registry would have to say.
    build(&scene, &exact)
        .args(["--custom-platform", "linux/s390x"])
        .mistake()
        .says("1 | FROM");
}

#[test]
fn many_warmers_and_builds_at_once() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let (layer, manifest) = put(&registry, "base", "warm");
    let name = format!("{}/base:v1", registry.host());
    scene
        .file("a", "1")
        .dockerfile(&format!("FROM {name}\nCOPY a /a\n"));
    for force in [false, true] {
        let mut running = Vec::new();
        for number in 0..10 {
            let call = warm(&scene, &[&name]).arg(format!("--force={force}"));
            running.push(call.start());
            if number % 3 == 0 {
                let call = scene
                    .build()
                    .arg("--cache-dir")
                    .arg(directory(&scene))
                    .arg("--oci-layout-path")
                    .arg(scene.out(&format!("image-{number}")));
                running.push(call.start());
            }
        }
        for one in running {
            let finished = one.wait();
            assert!(finished.status.success(), "{finished}");
            assert!(!finished.stderr.contains("damaged"), "{finished}");
        }
        for number in [0, 3, 6, 9] {
            let image = Image::of_layout(&scene.out(&format!("image-{number}")));
            assert_eq!(content(&image), "warm");
        }
        assert_eq!(names(&directory(&scene)), std::slice::from_ref(&manifest));
        let bytes = fs::read(blob(&scene, &manifest, &layer)).expect("the layer");
        assert_eq!(digest(&bytes), layer);
    }
}

#[test]
fn what_is_damaged_or_old_is_not_used_and_is_put_right() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let (layer, manifest) = put(&registry, "base", "warm");
    let name = format!("{}/base:v1", registry.host());
    let exact = format!("{}/base@{manifest}", registry.host());
    warm(&scene, &[&name]).success();
    let fetched = || registry.count("GET", &layer);
    let path = blob(&scene, &manifest, &layer);
    let whole = fs::read(&path).expect("the layer");

    // A bit of the layer: told, and fetched.
    let mut broken = whole.clone();
    broken[whole.len() / 2] ^= 1;
    fs::write(&path, &broken).expect("a file");
    let finished = build(&scene, &name)
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .success();
    finished.says("is damaged: the layer is fetched from its registry");
    assert_eq!(content(&Image::of_layout(&scene.out("image"))), "warm");
    assert_eq!(fetched(), 2);
    // The next warmer puts it right.
    warm(&scene, &[&name]).success().says("fetched");
    assert_eq!(fs::read(&path).expect("the layer"), whole);
    assert_eq!(fetched(), 3);
    // A manifest that is not what its name says leads nowhere.
    fs::write(blob(&scene, &manifest, &manifest), "{}").expect("a file");
    assert_eq!(content(&build(&scene, &exact).image()), "warm");
    warm(&scene, &[&name]).success().says("fetched");
    assert_eq!(fetched(), 3, "the layer was whole");

    // Too old for a build that says so.
    let index = directory(&scene).join(&manifest).join("index.json");
    let file = fs::File::options()
        .write(true)
        .open(&index)
        .expect("a file");
    let hours = |hours: u64| SystemTime::now() - Duration::from_hours(hours);
    file.set_modified(hours(5)).expect("a time");
    assert_eq!(content(&build(&scene, &exact).image()), "warm");
    assert_eq!(fetched(), 3);
    let old = build(&scene, &exact).args(["--cache-ttl", "4h"]).image();
    assert_eq!(content(&old), "warm");
    assert_eq!(fetched(), 4);
    // It is there for a warmer that does not mind its age, and is made new by one that does.
    warm(&scene, &[&name]).success().says("is there");
    let renewed = warm(&scene, &[&name]).args(["--cache-ttl", "4h"]).success();
    renewed.says("fetched: 0 B");
    build(&scene, &exact).args(["--cache-ttl", "4h"]).image();
    assert_eq!(fetched(), 4);
    warm(&scene, &[&name]).arg("--force").success();
    assert_eq!(fetched(), 5);
}

#[test]
fn the_images_of_a_dockerfile_under_the_warmers_name() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    for repository in ["one", "two", "three"] {
        put(&registry, repository, repository);
    }
    let host = registry.host();
    scene.dockerfile(&format!(
        "ARG NAME=none\nFROM {host}/one:v1 AS first\nFROM first\nFROM {host}/$NAME:v1\nCOPY --from={host}/three:v1 /from /x\nFROM scratch\n"
    ));
    let warmer = |args: &[&str]| -> Finished {
        let call = called(scene.longshore(&[]), "/kaniko/warmer");
        call.args(args).run()
    };
    let cache = directory(&scene);
    let cache = cache.to_str().expect("text");
    let path = scene.path("Dockerfile");
    let path = path.to_str().expect("text");
    let finished = warmer(&[
        "-d",
        path,
        "--build-arg=NAME=two",
        "-c",
        cache,
        "--customPlatform=linux/amd64",
        "--verbosity=info",
    ]);
    assert!(finished.status.success(), "{finished}");
    assert_eq!(finished.stdout.lines().count(), 3, "{finished}");
    for name in ["one", "two", "three"] {
        let manifest = digest(&registry.manifest(name, "v1").expect("a manifest"));
        assert!(Path::new(cache).join(manifest).join("oci-layout").is_file());
    }
    // One that is not there does not spoil the others; nothing at all is a failure.
    let missing = format!("{host}/missing:v1");
    let one = format!("{host}/one:v1");
    let some = warmer(&["-i", &missing, "-i", &one, "-c", cache]);
    assert!(some.status.success(), "{some}");
    some.says("missing").says("404");
    let none = warmer(&["-i", &missing, "-c", cache]);
    assert_eq!(none.status.code(), Some(1), "{none}");
    let usage = warmer(&["-c", cache]);
    assert_eq!(usage.status.code(), Some(2), "{usage}");
    // Through a mirror, as a build would.
    let map = format!("--registry-map=nowhere.test={host}");
    let mirrored = warmer(&["-i", "nowhere.test/one:v1", "-c", cache, &map]);
    assert!(mirrored.status.success(), "{mirrored}");
    mirrored.says("is there");
}
