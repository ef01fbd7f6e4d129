//! Pulls and pushes against a registry inside the test, with its faults.

use std::fs;

use base64::Engine as _;
use serde_json::json;

use crate::image::{Image, put_base, tar_of};
use crate::program::{Call, Scene};
use crate::support::registry::{Action, Auth, PASSWORD, Registry};

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn config(registry: &Registry, password: &str) -> String {
    let auth = base64(&format!("user:{password}"));
    json!({"auths": {registry.host(): {"auth": auth}}}).to_string()
}

/// A scene whose Dockerfile has a base in a registry.
fn scene(auth: Auth) -> Option<(Scene, Registry, String)> {
    let scene = Scene::new()?;
    let registry = Registry::start(auth);
    let tar = tar_of(&[("base", 'f', &"base ".repeat(20_000), 0o644)]);
    let layer = put_base(&registry, "base", "v1", &tar, &json!({}));
    scene
        .file("a", "1")
        .dockerfile(&format!("FROM {}/base:v1\nCOPY a /a\n", registry.host()));
    Some((scene, registry, layer))
}

fn push(scene: &Scene, registry: &Registry) -> Call {
    scene
        .build()
        .args(["-d", &format!("{}/app:v1", registry.host())])
}

#[test]
fn credentials_come_from_the_config_file_and_from_a_variable() {
    for auth in [
        Auth::Basic,
        Auth::Bearer {
            uses: 1000,
            realm: None,
        },
    ] {
        let Some((scene, registry, _)) = scene(auth) else {
            return;
        };
        let text = config(&registry, PASSWORD);
        let write = |path: &str| {
            let path = scene.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &text).unwrap();
        };
        write("docker/config.json");
        let call = push(&scene, &registry).env("DOCKER_CONFIG", scene.root().join("docker"));
        call.success()
            .keeps(PASSWORD)
            .keeps(&base64(&format!("user:{PASSWORD}")));
        assert_eq!(
            Image::of_registry(&registry, "app", "v1").paths(),
            ["a", "base"]
        );
        let pushed = |call: Call| {
            registry
                .state()
                .manifests
                .retain(|(repository, _), _| repository == "base");
            call.success().keeps(PASSWORD);
            assert_eq!(Image::of_registry(&registry, "app", "v1").layers.len(), 2);
        };
        pushed(push(&scene, &registry).env("DOCKER_AUTH_CONFIG", &text));
        write("home/.docker/config.json");
        pushed(push(&scene, &registry));
    }
}

#[test]
fn wrong_credentials_are_told_with_their_source_and_not_themselves() {
    for auth in [
        Auth::Basic,
        Auth::Bearer {
            uses: 1000,
            realm: None,
        },
    ] {
        let Some((scene, registry, _)) = scene(auth) else {
            return;
        };
        let text = config(&registry, "wrong-password");
        let failed = push(&scene, &registry)
            .env("DOCKER_AUTH_CONFIG", &text)
            .mistake();
        failed.says("DOCKER_AUTH_CONFIG").says(&registry.host());
        failed
            .keeps("wrong-password")
            .keeps(&base64("user:wrong-password"));
        let directory = scene.root().join("docker");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("config.json"), &text).unwrap();
        let failed = push(&scene, &registry)
            .env("DOCKER_CONFIG", &directory)
            .arg("-v=trace")
            .mistake();
        failed.says(directory.join("config.json").to_str().unwrap());
        failed
            .keeps("wrong-password")
            .keeps(&base64("user:wrong-password"));
        assert!(registry.manifest("app", "v1").is_none());
    }
}

#[test]
fn no_credentials_are_told_with_the_way_to_give_some() {
    let Some((scene, registry, _)) = scene(Auth::Basic) else {
        return;
    };
    let failed = push(&scene, &registry).mistake();
    failed
        .says("no credential was found")
        .says("DOCKER_CONFIG")
        .says("1 | FROM");
    scene.dockerfile("FROM scratch\nCOPY a /\n");
    push(&scene, &registry)
        .mistake()
        .says("cannot push to")
        .says("no credential was found");
}

#[test]
fn a_broken_config_is_told_without_its_content() {
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let text = r#"{"auths": {"x": {"auth": "c2VjcmV0LXRoaW5n"#;
    let failed = push(&scene, &registry)
        .env("DOCKER_AUTH_CONFIG", text)
        .mistake();
    failed.says("DOCKER_AUTH_CONFIG").keeps("c2VjcmV0LXRoaW5n");
}

#[test]
fn passing_faults_are_tried_again() {
    for status in [429, 500, 502, 503] {
        let Some((scene, registry, layer)) = scene(Auth::Open) else {
            return;
        };
        let fault = || Action::Status(status, vec![("retry-after", "0".to_owned())], String::new());
        registry.fault("GET", "/v2/base/manifests/v1", 1, fault());
        registry.fault("GET", &format!("/v2/base/blobs/{layer}"), 1, fault());
        registry.fault("PUT", "/v2/app/blobs/", 1, fault());
        registry.fault("PUT", "/v2/app/manifests/v1", 1, fault());
        push(&scene, &registry).success();
        assert_eq!(
            Image::of_registry(&registry, "app", "v1").paths(),
            ["a", "base"]
        );
        assert!(
            registry
                .state()
                .faults
                .iter()
                .take(1)
                .all(|fault| fault.times == 0)
        );
    }
}

#[test]
fn a_lasting_fault_is_told() {
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let fault = Action::Status(
        503,
        vec![("retry-after", "0".to_owned())],
        "down for <b>today</b>".to_owned(),
    );
    registry.fault("*", "/v2/base/manifests/", 1000, fault);
    let failed = push(&scene, &registry).mistake();
    failed.says("503").says(&registry.host()).says("1 | FROM");
    failed.says("= help: the registry, or a proxy in front of it, has a fault: try again later");
    assert!(registry.manifest("app", "v1").is_none());
    registry.state().faults.clear();
    let fault = Action::Status(429, vec![("retry-after", "0".to_owned())], String::new());
    registry.fault("*", "/v2/base/manifests/", 1000, fault);
    let failed = push(&scene, &registry).mistake();
    failed.says("429").says("--registry-mirror names a mirror");
}

#[test]
fn a_blob_that_breaks_off_is_resumed() {
    let Some((scene, registry, layer)) = scene(Auth::Open) else {
        return;
    };
    registry.fault(
        "GET",
        &format!("/v2/base/blobs/{layer}"),
        2,
        Action::CutBody(50),
    );
    let image = scene.build().image();
    assert_eq!(image.paths(), ["a", "base"]);
    assert!(registry.count("GET", &format!("/v2/base/blobs/{layer}")) >= 3);
    // One that never comes whole is no layer.
    let Some((scene, registry, layer)) = self::scene(Auth::Open) else {
        return;
    };
    registry.fault(
        "GET",
        &format!("/v2/base/blobs/{layer}"),
        1000,
        Action::CutBody(0),
    );
    scene.build().mistake();
    assert!(!scene.path("image.oci").join("index.json").exists());
}

#[test]
fn content_with_another_digest_is_refused() {
    let Some((scene, registry, layer)) = scene(Auth::Open) else {
        return;
    };
    registry.fault(
        "GET",
        &format!("/v2/base/blobs/{layer}"),
        1000,
        Action::FlipBit,
    );
    let failed = scene.build().mistake();
    failed.says(&layer[7..19]);
    assert!(
        !scene.path("image.oci").join("index.json").exists(),
        "{failed}"
    );
    // The damaged bytes are not kept for the next build.
    registry.state().faults.clear();
    assert_eq!(scene.build().image().file("base").content.len(), 100_000);
}

#[test]
fn a_layer_whose_tar_is_another_is_refused() {
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let lie = "sha256:".to_owned() + &"0".repeat(64);
    let manifest = registry.manifest("base", "v1").unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let document = registry.state().blobs[&("base".to_owned(), config)].clone();
    let mut document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    document["rootfs"]["diff_ids"][0] = lie.into();
    let document = document.to_string();
    manifest["config"]["size"] = document.len().into();
    manifest["config"]["digest"] = registry.put_blob("base", document).to_string().into();
    registry.put_manifest(
        "base",
        "v1",
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string(),
    );
    let failed = scene.build().mistake();
    failed.says("000000000000");
}

#[test]
fn layers_of_a_base_are_mounted_or_skipped_and_never_sent_again() {
    let Some((scene, registry, layer)) = scene(Auth::Open) else {
        return;
    };
    push(&scene, &registry).success();
    assert_eq!(
        registry.count("POST", &format!("mount={}", layer.replace(':', "%3A")))
            + registry.count("POST", &format!("mount={layer}")),
        1
    );
    let big = registry.state().requests.iter().any(|request| {
        request.body.len() > 500
            && request.method != "GET"
            && !request.path.contains("manifests")
            && Image::of_registry(&registry, "base", "v1").layers[0].digest
                == crate::image::digest(&request.body)
    });
    assert!(!big, "the base's layer was sent");
    registry.state().requests.clear();
    push(&scene, &registry)
        .env("SOURCE_DATE_EPOCH", "5")
        .success();
    let sent: usize = registry
        .state()
        .requests
        .iter()
        .filter(|request| request.path.contains("/blobs/"))
        .map(|request| request.body.len())
        .sum();
    assert!(sent < 1000, "{sent} bytes of blobs that are there");
    // A registry that does not mount gets the layer from us.
    let Some((scene, registry, _)) = self::scene(Auth::Open) else {
        return;
    };
    registry.state().refuses_mounts = true;
    push(&scene, &registry).success();
    assert_eq!(
        Image::of_registry(&registry, "app", "v1").paths(),
        ["a", "base"]
    );
}

#[test]
fn stages_that_are_not_needed_are_not_pulled() {
    let Some((scene, registry, layer)) = scene(Auth::Open) else {
        return;
    };
    let host = registry.host();
    scene.dockerfile(&format!(
        "FROM {host}/base:v1 AS unused\nFROM {host}/none AS other\nFROM scratch\nCOPY a /\n"
    ));
    assert_eq!(scene.build().image().paths(), ["a"]);
    assert_eq!(registry.state().requests.len(), 0);
    // A base whose files nobody needs is not downloaded.
    scene.dockerfile(&format!("FROM {host}/base:v1\nLABEL a=b\n"));
    push(&scene, &registry).success();
    assert_eq!(registry.count("GET", &format!("blobs/{layer}")), 0);
    assert_eq!(Image::of_registry(&registry, "app", "v1").paths(), ["base"]);
}

#[test]
fn copies_from_an_image() {
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let host = registry.host();
    let image = scene.image(&format!(
        "FROM scratch\nCOPY --from={host}/base:v1 /base /taken\n"
    ));
    assert_eq!(image.paths(), ["taken"]);
    assert_eq!(image.layers.len(), 1);
    let failed = scene.mistake(&format!(
        "FROM scratch\nCOPY --from={host}/none:v9 /base /taken\n"
    ));
    failed.says("none:v9").says("2 | COPY --from");
    failed.says("= help: check the name and the tag");
}

#[test]
fn a_layer_that_is_there_is_not_pulled_twice() {
    let Some((scene, registry, layer)) = scene(Auth::Open) else {
        return;
    };
    scene.build().image();
    scene.build().image();
    let pulls = registry.count("GET", &format!("/v2/base/blobs/{layer}"));
    // Once for the tree and the layout of the first build, at most once more for the layout of the second.
    assert!(pulls <= 2, "{pulls}");
    assert_eq!(scene.build().image().paths(), ["a", "base"]);
}

#[test]
fn a_path_that_one_build_ignores_is_there_for_the_next() {
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let host = registry.host();
    scene.build().arg("--ignore-path=/base").image();
    let image = scene.image(&format!(
        "FROM {host}/base:v1 AS one\nCOPY a /a\nFROM scratch\nCOPY --from=one /base /taken\n"
    ));
    assert_eq!(image.paths(), ["taken"]);
}

#[test]
fn missing_images_and_unreachable_registries() {
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let host = registry.host();
    scene
        .mistake(&format!("FROM {host}/base:none\n"))
        .says("base:none")
        .says("1 | FROM")
        .says("= help: check the name and the tag");
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "0".repeat(64)),
        "size": 2,
        "platform": {"os": "linux", "architecture": "s390x"},
    }]});
    registry.put_manifest("base", "other", kind, index.to_string());
    scene
        .mistake(&format!("FROM {host}/base:other\n"))
        .says("it has linux/s390x")
        .says("= help: choose one of them with --custom-platform");
    drop(registry);
    let failed = scene.mistake(&format!("FROM {host}/base:v1\n"));
    failed
        .says(&host)
        .says("Connection refused")
        .says("--insecure-registry");
    scene.dockerfile("FROM scratch\nCOPY a /\n");
    let failed = scene
        .build()
        .args(["-d", &format!("{host}/app:v1")])
        .arg("--tar-path")
        .arg(scene.out("t.tar"))
        .mistake();
    failed.says("cannot push to").says("Connection refused");
    assert!(
        !scene.out("t.tar").exists(),
        "written although the push could not be"
    );
}

#[test]
fn plain_http_only_where_it_is_allowed() {
    // A name that resolves nowhere, reached through a proxy: what arrives there is what was sent without TLS.
    let Some((scene, registry, _)) = scene(Auth::Open) else {
        return;
    };
    let proxy = format!("http://{}", registry.host());
    let build = |from: &str| {
        scene.dockerfile(&format!("FROM {from}\nCOPY a /a\n"));
        scene
            .build()
            .env("http_proxy", &proxy)
            .env("https_proxy", &proxy)
    };
    let pulls = "registry.test/base:v1";
    let plain = |registry: &Registry| {
        registry.count("GET", "/v2/")
            + registry.count("HEAD", "/v2/")
            + registry.count("POST", "/v2/")
    };
    build(pulls).mistake().says("registry.test");
    assert_eq!(plain(&registry), 0, "plain HTTP without leave");
    for flag in ["--insecure-pull", "--insecure-registry=registry.test"] {
        assert_eq!(
            build(pulls).arg(flag).image().paths(),
            ["a", "base"],
            "{flag}"
        );
    }
    registry.state().requests.clear();
    build("scratch")
        .args(["-d", "registry.test/app:v1"])
        .mistake();
    build("scratch")
        .args(["-d", "registry.test/app:v1", "--insecure-pull"])
        .mistake();
    assert_eq!(plain(&registry), 0, "plain HTTP without leave");
    for flag in [
        "--insecure",
        "--insecure=true",
        "--insecure-registry=registry.test",
    ] {
        build("scratch")
            .args(["-d", "registry.test/app:v1", flag])
            .success();
        assert_eq!(
            Image::of_registry(&registry, "app", "v1").paths(),
            ["a"],
            "{flag}"
        );
        registry
            .state()
            .manifests
            .remove(&("app".to_owned(), "v1".to_owned()));
    }
}
