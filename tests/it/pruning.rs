//! `longshore cache list` and `prune` of a registry.

use serde_json::json;

use crate::image::{put_base, tar_of};
use crate::program::{Finished, Scene};
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

    // Nothing is old, and there is room: nothing goes.
    let kept = cache(
        &scene,
        &registry,
        &["prune", "--max-age=1h", "--max-size=1GB"],
    );
    assert!(kept.stdout.starts_with("0 entries"), "{kept}");
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
