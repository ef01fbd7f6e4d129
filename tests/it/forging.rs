//! Entries of a directory and of a registry that are forged, stale or broken: each is a miss, and the image is right.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::caching::{built, fresh, hits, local, local_build, on_base, scene};
use crate::program::{Finished, Scene, names};
use crate::support::forged;
use crate::support::registry::Registry;

const ANNOTATION: &str = "dev.longshore.cache.entry";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Two steps on a base with a shell, which the word gets through.
pub(crate) fn dockerfile(scene: &Scene, registry: &Registry, word: &str) {
    let steps = format!("RUN echo {word} > /one\nRUN cat /one > /two\n");
    scene.dockerfile(&on_base(registry, &steps));
}

/// Whether the entry of the last step, of so many, was not used in the end.
pub(crate) fn assert_miss(name: &str, log: &Finished, of: usize) {
    let begins_again = log.stderr.contains("begins again");
    assert!(hits(log) < of || begins_again, "{name}: {log}");
}

/// The entry that has the most steps.
fn top(entries: impl Iterator<Item = (PathBuf, Value)>) -> (PathBuf, Value) {
    let steps = |entry: &Value| entry["records"].as_array().expect("records").len();
    let found = entries.max_by_key(|(_, entry)| steps(entry));
    found.expect("an entry")
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn what_is_forged_in_a_directory_is_a_miss() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    let make = |word: &str| {
        let _none_yet = fs::remove_dir_all(local(&scene));
        dockerfile(&scene, &registry, word);
        built(&scene, local_build(&scene));
        let directory = local(&scene).join("entries");
        let paths = names(&directory)
            .into_iter()
            .map(|name| directory.join(name));
        top(paths.map(|path| (path.clone(), json_of(&fs::read(path).expect("an entry")))))
    };
    let (_, other) = make("forged");
    let (path, right) = make("right");
    let of = right["records"].as_array().expect("records").len();
    for (name, text) in forged::texts(&right, &other) {
        fs::write(&path, text).expect("an entry");
        let (image, log) = built(&scene, local_build(&scene).arg("--no-push-cache"));
        assert_eq!(hits(&log), of - 1, "{name}: {log}");
        assert_eq!(image.file("two").text(), "right\n", "{name}");
    }
    fs::write(&path, right.to_string()).expect("an entry");
    let log = local_build(&scene).arg("--no-push").success();
    assert_eq!(hits(&log), of);
}

#[test]
fn what_is_forged_in_a_registry_is_a_miss() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    let build = |repository: &str| {
        let repository = format!("{}/{repository}", registry.host());
        let call = fresh(&scene).args(["--cache", "--cache-repo", &repository]);
        built(&scene, call.arg("--no-push"))
    };
    let make = |repository: &str, word: &str| {
        dockerfile(&scene, &registry, word);
        build(repository);
        let state = registry.state();
        let all = state.manifests.iter();
        let ours = all.filter(|((name, tag), _)| name == repository && tag.len() == 64);
        let ours = ours.map(|((_, tag), kept)| (tag.clone(), json_of(&kept.1)));
        let ours: Vec<_> = ours.filter(|(tag, _)| !tag.starts_with("trace-")).collect();
        let entry = |manifest: &Value| {
            json_of(
                manifest["annotations"][ANNOTATION]
                    .as_str()
                    .expect("an entry")
                    .as_bytes(),
            )
        };
        let entries = ours.iter();
        let (tag, right) = top(entries.map(|(tag, manifest)| (tag.into(), entry(manifest))));
        let tag = tag.display().to_string();
        let manifest = ours.into_iter().find(|(name, _)| *name == tag);
        (tag, manifest.expect("a manifest").1, right)
    };
    let (_, _, other) = make("others", "forged");
    let (tag, manifest, right) = make("layers", "right");
    let of = right["records"].as_array().expect("records").len();
    let put = |manifest: &Value| {
        registry.put_manifest("layers", &tag, MANIFEST, manifest.to_string());
    };
    let mut cases: Vec<(String, Value)> = Vec::new();
    for (name, text) in forged::texts(&right, &other) {
        // As if only the entry were forged, and as if the layers beside it went with it.
        let mut one = manifest.clone();
        one["annotations"][ANNOTATION] = text.clone().into();
        cases.push((name.to_owned(), one.clone()));
        let entry = serde_json::from_str(&text).unwrap_or(Value::Null);
        let layers = entry["records"].as_array().map(|records| {
            let layers = records.iter().map(|record| record["layer"].clone());
            layers
                .filter(|layer| layer["digest"].is_string())
                .collect::<Vec<_>>()
        });
        if let Some(layers) = layers
            .filter(|layers| layers.len() < 100 && Value::from(layers.clone()) != one["layers"])
        {
            one["layers"] = layers.into();
            cases.push((format!("{name}, and its layers"), one));
        }
    }
    for (name, field, value) in [
        ("no annotations", "annotations", Value::Null),
        ("an annotation of another", "annotations", json!({"a": "b"})),
        (
            "an annotation that is no text",
            "annotations",
            json!({ANNOTATION: 1}),
        ),
        ("no layers beside it", "layers", json!([])),
        ("no configuration", "config", Value::Null),
        (
            "a manifest of another kind",
            "mediaType",
            json!("application/vnd.oci.image.index.v1+json"),
        ),
        ("another schema", "schemaVersion", json!(1)),
    ] {
        let mut one = manifest.clone();
        one[field] = value;
        cases.push((name.to_owned(), one));
    }
    for (name, manifest) in cases {
        put(&manifest);
        let repository = format!("{}/layers", registry.host());
        let call = fresh(&scene).args(["--cache", "--no-push-cache", "--cache-repo", &repository]);
        let (image, log) = built(&scene, call);
        assert_eq!(image.file("two").text(), "right\n", "{name}");
        assert_miss(&name, &log, of);
    }
    put(&manifest);
    let (_, log) = build("layers");
    assert_eq!(hits(&log), of, "{log}");
}
