//! Faults of a registry that only a whole build can meet; the list is `tests/fixtures/faults.txt`.

use crate::caching::{built, fresh, hits, on_base, push, scene};
use crate::image::Image;
use crate::support::registry::{Action, Registry};

/// The layers that the cache's repository keeps, with their sizes.
fn kept(registry: &Registry) -> Vec<(String, String)> {
    let state = registry.state();
    let places = state.blobs.iter();
    let large =
        places.filter(|((name, _), bytes)| name == "layers" && bytes.starts_with(b"\x1f\x8b"));
    large.map(|(place, _)| place.clone()).collect()
}

#[test]
fn row_48_a_cache_that_has_lost_or_damaged_a_layer_is_a_miss() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(&registry, "RUN echo 1 > /one\n"));
    let repository = format!("{}/layers", registry.host());
    let cached = || fresh(&scene).args(["--cache", "--cache-repo", &repository]);
    let (first, _) = built(&scene, cached());
    for damage in ["lost", "another", "cut", "another type"] {
        assert!(!kept(&registry).is_empty());
        for place in kept(&registry) {
            let mut state = registry.state();
            let bytes = state.blobs.remove(&place).expect("a layer");
            let instead = match damage {
                "lost" => continue,
                "another" => bytes.iter().map(|byte| byte ^ 1).collect(),
                "cut" => bytes[..bytes.len() / 2].to_vec(),
                _ => bytes.to_vec(),
            };
            state.blobs.insert(place, instead.into());
        }
        if damage == "another type" {
            let mut state = registry.state();
            for ((name, tag), (_, manifest)) in &mut state.manifests {
                if name == "layers" && !tag.starts_with("sha256") {
                    let text = String::from_utf8(manifest.to_vec()).expect("text");
                    let text = text.replace("layer.v1.tar+gzip", "layer.v1.tar+x");
                    *manifest = text.into();
                }
            }
        }
        let (image, log) = built(&scene, cached());
        log.says("warning: ");
        assert_eq!(image.file("one").text(), "1\n", "{damage}: {log}");
        assert_eq!(image.layers.len(), first.layers.len(), "{damage}");
        // What is there now is right again.
        let (_, log) = built(&scene, cached());
        assert!(hits(&log) > 0, "after {damage}: {log}");
    }
}

#[test]
fn row_49_a_cache_that_takes_nothing_is_a_warning() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(&registry, "RUN echo 1 > /one\n"));
    let repository = format!("{}/layers", registry.host());
    for status in [401, 403, 413, 507] {
        registry.state().faults.clear();
        for method in ["POST", "PUT", "PATCH"] {
            let refusal = Action::Status(status, vec![], String::new());
            registry.fault(method, "/v2/layers/", 1000, refusal);
        }
        let tag = format!("v{status}");
        let log = push(&scene, &registry, &tag)
            .args(["--cache-repo", &repository])
            .success();
        log.says("warning: cache ");
        let image = Image::of_registry(&registry, "app", &tag);
        assert_eq!(image.file("one").text(), "1\n");
    }
}

#[test]
fn row_55_a_warning_of_a_registry_stands_in_the_log_once() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(&registry, "RUN echo 1 > /one\n"));
    let warning = "299 - \"::set-output name=x::this registry ends in May\"";
    for method in ["HEAD", "GET", "POST", "PUT"] {
        registry.fault(
            method,
            "/v2/",
            1000,
            Action::Header("warning", warning.to_owned()),
        );
    }
    let log = push(&scene, &registry, "v1").success();
    let said = format!("warning: {} says: ", registry.host());
    assert_eq!(log.stderr.matches(&said).count(), 1, "{log}");
    log.says("this registry ends in May").keeps("::set-output");
}
