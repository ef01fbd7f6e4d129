//! `longshore cache list` and `prune` of a registry and of a directory.

use std::fs;

use serde_json::json;

use crate::caching::{self, local, local_build};
use crate::image::{put_base, tar_of};
use crate::program::{Finished, Scene, names};
use crate::running::SHELL;
use crate::support::registry::{Auth, Registry};

fn cache(scene: &Scene, registry: &Registry, args: &[&str]) -> Finished {
    let place = format!("{}/app/cache", registry.host());
    let call = scene.longshore(&["cache"]).args(args);
    call.args(["--cache-repo", &place]).run()
}

/// How many steps a build finds in the cache.
fn hits(scene: &Scene, registry: &Registry) -> usize {
    let destination = format!("{}/app:v1", registry.host());
    let call = scene.build().args(["--cache", "-d", &destination]);
    let finished = call.arg("--no-push-cache").success();
    finished.stderr.matches("(cached, layer").count()
}

#[test]
fn entries_of_a_registry_are_listed_and_deleted() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    // What is no entry stays, whatever it is called.
    let tar = tar_of(&[("f", 'f', "image", 0o644)]);
    for tag in ["v1".to_owned(), "0".repeat(64)] {
        put_base(&registry, "app/cache", &tag, &tar, &json!({}));
    }
    scene.dockerfile(&format!(
        "{SHELL}RUN echo 1 > /1\nRUN --mount=type=cache,id=pkg,target=/c echo 2 > /c/2\nRUN echo 3 > /3\nRUN echo 4 > /4\n"
    ));
    let destination = format!("{}/app:v1", registry.host());
    let build = || {
        let call = scene.build().args(["--cache", "--cache-mounts"]);
        call.args(["-d", &destination]).success()
    };
    assert!(cache(&scene, &registry, &["list"]).stdout.is_empty());
    build();
    let all = hits(&scene, &registry);
    assert!(all >= 5, "{all}");
    let listed = cache(&scene, &registry, &["list"]);
    assert!(listed.status.success(), "{listed}");
    assert_eq!(listed.stdout.lines().count(), all + 1, "{listed}");
    for text in ["RUN echo 3 > /3", "cache mount pkg", " B "] {
        assert!(listed.stdout.contains(text), "{listed}");
    }

    let is_trace =
        |(name, tag): &(String, String)| name == "app/cache" && tag.starts_with("trace-");
    // Nothing is old, and there is room: nothing goes, not what explains it either.
    let kept = cache(
        &scene,
        &registry,
        &["prune", "--max-age=1h", "--max-size=1GB"],
    );
    assert!(kept.stdout.starts_with("0 entries"), "{kept}");
    assert!(registry.state().manifests.keys().any(is_trace));
    assert_eq!(hits(&scene, &registry), all);

    // A registry that deletes nothing is asked once.
    registry.state().refuses_deletion = true;
    let before = registry.count("DELETE", "");
    let refused = cache(&scene, &registry, &["prune", "--max-size=0"]);
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    refused
        .says("does not allow deletion")
        .says("REGISTRY_STORAGE_DELETE_ENABLED=true");
    assert_eq!(registry.count("DELETE", ""), before + 1);
    registry.state().refuses_deletion = false;

    let pruned = cache(&scene, &registry, &["prune", "--max-size=0"]);
    assert!(pruned.status.success(), "{pruned}");
    let count = format!("{} entries", all + 1);
    assert!(pruned.stdout.starts_with(&count), "{pruned}");
    assert!(!registry.state().manifests.keys().any(is_trace));
    assert!(cache(&scene, &registry, &["list"]).stdout.is_empty());
    assert_eq!(hits(&scene, &registry), 0);
    for tag in ["v1", &"0".repeat(64)] {
        assert!(
            registry.manifest("app/cache", tag).is_some(),
            "{tag} is gone"
        );
    }
    assert!(registry.manifest("app", "v1").is_some());
    // What is made again is there again.
    build();
    assert_eq!(hits(&scene, &registry), all);

    let usage = cache(&scene, &registry, &["prune"]);
    assert_eq!(usage.status.code(), Some(2), "{usage}");
}

#[test]
fn what_is_old_goes() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let destination = format!("{}/app:v1", registry.host());
    scene.dockerfile(&format!("{SHELL}RUN echo 1 > /1\n"));
    let build = || {
        scene
            .build()
            .args(["--cache", "-d", &destination])
            .success()
    };
    build();
    std::thread::sleep(std::time::Duration::from_millis(3100));
    scene.dockerfile(&format!("{SHELL}RUN echo 2 > /2\n"));
    build();
    let pruned = cache(&scene, &registry, &["prune", "--max-age=2s"]);
    assert!(pruned.status.success(), "{pruned}");
    let listed = cache(&scene, &registry, &["list"]);
    assert!(!listed.stdout.contains("echo 1"), "{listed}");
    assert!(listed.stdout.contains("echo 2"), "{listed}");
}

#[test]
fn a_directory_is_listed_and_pruned() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let text = |word: &str| format!("{SHELL}RUN head -c 100000 /dev/urandom > /{word}\n");
    for word in ["old", "new"] {
        scene.dockerfile(&text(word));
        local_build(&scene).arg("--no-push").success();
    }
    let place = format!("oci:{}", local(&scene).display());
    let call = |args: &[&str]| scene.longshore(args).args(["--cache-repo", &place]);
    let list = call(&["cache", "list"]).success();
    assert_eq!(list.stdout.lines().count(), 4, "{list}");
    assert!(list.stdout.contains("RUN head -c 100000"), "{list}");
    // The one with `old` was not used for a day.
    let day = std::time::SystemTime::now() - std::time::Duration::from_hours(24);
    let line = list.stdout.lines().find(|line| line.contains("/old"));
    let key = line.expect("a line").split(' ').next().expect("a key");
    let entry = local(&scene).join("entries").join(format!("{key}.json"));
    let file = fs::File::options()
        .write(true)
        .open(&entry)
        .expect("an entry");
    file.set_modified(day).expect("a time");
    let pruned = call(&["cache", "prune", "--max-age=12h"]).success();
    assert!(pruned.stdout.starts_with("1 entries and 100."), "{pruned}");
    assert!(!entry.exists());
    assert_eq!(names(&local(&scene).join("blobs/sha256")).len(), 3);
    scene.dockerfile(&text("new"));
    assert_eq!(
        caching::hits(&local_build(&scene).arg("--no-push").success()),
        3
    );
    // What is left fits, or goes.
    call(&["cache", "prune", "--max-size=1GB"]).success();
    assert_eq!(call(&["cache", "list"]).success().stdout.lines().count(), 3);
    call(&["cache", "prune", "--max-size=0"]).success();
    // What was written down of builds of which nothing is left is gone, too.
    assert!(names(&local(&scene).join("traces")).is_empty());
    assert!(names(&local(&scene).join("blobs/sha256")).is_empty());
    assert_eq!(
        caching::hits(&local_build(&scene).arg("--no-push").success()),
        0
    );
    call(&["cache", "prune"]).mistake().says("--max-age");
    let nowhere = scene.longshore(&["cache", "list", "--cache-repo=oci:/nonexistent"]);
    nowhere.mistake().says("is not a directory");
    for (place, why) in [
        ("type=s3,bucket=b,region=r", "lifecycle rule"),
        ("s3://b/c", "lifecycle rule"),
        ("type=gcs,bucket=b", "lifecycle rule"),
        ("type=azblob,container=b", "lifecycle rule"),
        ("type=gha", "GitHub looks after its cache"),
    ] {
        let call = scene.longshore(&["cache", "list", "--cache-repo", place]);
        call.mistake().says(why);
    }
}
