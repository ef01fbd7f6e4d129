//! Entries within the image itself, and what must be written.

use std::fs;

use serde_json::{Value, json};

use crate::caching::{built, fresh, hits, on_base, scene};
use crate::forging::dockerfile;
use crate::image::Image;
use crate::program::Scene;
use crate::running::SHELL;
use crate::support::forged;

#[test]
fn an_image_is_its_own_cache() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("a", "1");
    let text = "COPY a /a\nRUN head -c 8 /dev/urandom > /random\nLABEL a=b\nRUN cat /a > /b\n";
    let text = format!("{text}CMD [\"/b\"]\n");
    scene.dockerfile(&on_base(&registry, &text));
    let host = registry.host();
    let build = |tag: &str, from: &str| {
        let destination = format!("{host}/app:{tag}");
        let from = format!("--cache-from={from}");
        let call = fresh(&scene).args(["--cache-to=type=inline", "-d", &destination, &from]);
        let finished = call.success();
        (Image::of_registry(&registry, "app", tag), finished)
    };
    let image = format!("{host}/app:one");
    let (first, log) = build("one", &image);
    assert_eq!(hits(&log), 0, "{log}");
    // Nothing but the image is there.
    let is_other = |(name, tag): &&(String, String)| {
        name == "app" && tag != "one" && !tag.starts_with("sha256")
    };
    let others: Vec<_> = registry
        .state()
        .manifests
        .keys()
        .filter(is_other)
        .cloned()
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let named = format!("type=registry,ref={image}");
    let (second, log) = build("two", &named);
    assert_eq!((hits(&log), &second.digest), (5, &first.digest), "{log}");
    assert!(!log.stderr.contains("unpacked"), "{log}");
    // What follows a change is done again.
    scene.file("a", "2");
    let (third, log) = build("three", &image);
    assert_eq!((hits(&log), third.file("b").text()), (2, "2"), "{log}");
    // As an image of Docker's types.
    scene.file("a", "1");
    let destination = format!("{host}/app:docker");
    let docker = [
        "--cache-to=type=inline",
        "--image-format=docker",
        "-d",
        &destination,
    ];
    fresh(&scene)
        .args(docker)
        .arg(format!("--cache-from={image}"))
        .success();
    let (fourth, log) = build("four", &format!("{host}/app:docker"));
    assert_eq!((hits(&log), &fourth.digest), (5, &first.digest), "{log}");
    // A base that was built so hands nothing on.
    scene.dockerfile(&format!("FROM {image}\nLABEL c=d\n"));
    let layout = scene.out("image");
    fresh(&scene)
        .arg("--oci-layout-path")
        .arg(&layout)
        .success();
    let config = Image::of_layout(&layout).document;
    assert!(
        !config.to_string().contains("dev.longshore.cache"),
        "{config}"
    );
    // Without a place to be found at there is nothing to look up, and what is wrong is told.
    for (flag, value, text) in [
        ("--cache-from", "type=inline", "type=registry,ref=IMAGE"),
        (
            "--cache-to",
            "type=inline,mode=min",
            "mode=min is not supported",
        ),
    ] {
        let call = scene.build().args(["--no-push", flag, value]);
        call.mistake().says(text);
    }
}

/// What an image says of itself is not believed, if the image is another.
#[test]
fn forged_images_are_misses() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    let host = registry.host();
    let build = |tag: &str, word: &str| {
        dockerfile(&scene, &registry, word);
        let destination = format!("{host}/app:{tag}");
        let call = fresh(&scene).args(["--cache-to=type=inline", "-d", &destination]);
        call.success();
        let manifest = registry.manifest("app", tag).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let config = manifest["config"]["digest"].as_str().expect("a digest");
        let config = config.parse().expect("a digest");
        let config = registry.blob("app", &config).expect("a configuration");
        (
            manifest,
            serde_json::from_slice::<Value>(&config).expect("JSON"),
        )
    };
    let (_, forged) = build("forged", "forged");
    let (manifest, right) = build("right", "right");
    let key = "dev.longshore.cache.v1";
    let inside = |config: &Value| -> Value {
        serde_json::from_str(config[key].as_str().expect("a text")).expect("JSON")
    };
    let (entries, others) = (inside(&right), inside(&forged));
    let last = entries["records"].as_array().expect("records").len() - 1;
    let with = |text: Value| {
        let mut config = right.clone();
        config[key] = text;
        config
    };
    let edit = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut entries = entries.clone();
        change(entries["records"].as_array_mut().expect("records"));
        with(entries.to_string().into())
    };
    let mut cases: Vec<(&str, Value)> = vec![
        ("nothing", with(Value::Null)),
        ("a number", with(json!(1))),
        (
            "the last step left out",
            edit(&|records| drop(records.pop())),
        ),
        (
            "more steps than layers",
            edit(&|records| {
                for _ in 0..3 {
                    records.insert(0, records[0].clone());
                }
            }),
        ),
        (
            "a diff id of another",
            edit(&|records| {
                let other = records[0]["diff_id"].clone();
                records.last_mut().expect("a record")["diff_id"] = other;
            }),
        ),
        ("diff ids of another", {
            let mut config = right.clone();
            config["rootfs"]["diff_ids"] = forged["rootfs"]["diff_ids"].clone();
            config
        }),
    ];
    // What is written here has no version of its own.
    let texts = forged::texts(&entries, &others).into_iter();
    let texts = texts.filter(|(name, _)| !name.ends_with("version"));
    cases.extend(texts.map(|(name, text)| (name, with(text.into()))));
    let build = |tag: &str| {
        let from = format!("--cache-from={host}/app:{tag}");
        built(&scene, fresh(&scene).arg(from))
    };
    for (name, config) in cases {
        let bytes = config.to_string().into_bytes();
        let digest = registry.put_blob("app", bytes.clone());
        let mut manifest = manifest.clone();
        manifest["config"]["digest"] = digest.as_str().into();
        manifest["config"]["size"] = bytes.len().into();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        registry.put_manifest("app", "case", media_type, manifest.to_string());
        let (image, log) = build("case");
        // The forged entry is never used; those below it may be.
        assert!(hits(&log) <= last, "{name}: {log}");
        assert_eq!(image.file("two").text(), "right\n", "{name}");
    }
    let (_, log) = build("right");
    assert_eq!(hits(&log), last + 1, "{log}");
}

/// A cache that cannot be written is a warning; only who says so wants a failure.
#[test]
fn a_cache_that_must_be_written_fails_the_build() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!("{SHELL}RUN echo 1 > /one\n"));
    let file = scene.out("file");
    fs::write(&file, "no directory").expect("a file");
    let place = format!("--cache-to=type=local,dest={}/x", file.display());
    let build = |more: &str| {
        let layout = scene.out("image");
        let call = fresh(&scene).arg(format!("{place}{more}"));
        fs::write(&file, "no directory").expect("a file");
        call.arg("--oci-layout-path").arg(layout)
    };
    build("").success().says("warning: cache ");
    build(",ignore-error=true")
        .success()
        .says("warning: cache ");
    let failed = build(",ignore-error=false").mistake();
    failed.says("the image is there, and cache");
    assert_eq!(
        Image::of_layout(&scene.out("image")).file("one").text(),
        "1\n"
    );
}
