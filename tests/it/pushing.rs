//! How images are pushed: their format and annotations, tags that must not change, connections, what passes.

use serde_json::Value;

use crate::image::Image;
use crate::program::{Call, Scene};
use crate::support::registry::{Action, Auth, Registry};

fn scene() -> Option<(Scene, Registry)> {
    let scene = Scene::new()?;
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    Some((scene, Registry::start(Auth::Open)))
}

fn push(scene: &Scene, registry: &Registry, name: &str) -> Call {
    let destination = format!("{}/{name}", registry.host());
    scene.build().args(["-d", &destination])
}

#[test]
fn annotations_are_those_of_the_manifest() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    push(&scene, &registry, "app:v1")
        .args(["--annotation", "a.b/c=d=e", "--annotation=x=1"])
        .arg("--annotation=x=2")
        .success();
    let image = Image::of_registry(&registry, "app", "v1");
    assert_eq!(
        image.manifest["annotations"],
        serde_json::json!({"a.b/c": "d=e", "x": "2"})
    );
    push(&scene, &registry, "app:v2")
        .arg("--annotation=x")
        .mistake()
        .says("--annotation");
}

#[test]
fn the_format_is_the_one_that_was_asked_for() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    push(&scene, &registry, "app:v1")
        .arg("--image-format=docker")
        .success();
    let (media_type, bytes) =
        registry.state().manifests[&("app".to_owned(), "v1".to_owned())].clone();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(
        (media_type.as_str(), &manifest["mediaType"]),
        (docker, &docker.into())
    );
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.docker.container.image.v1+json"
    );
    assert_eq!(
        manifest["layers"][0]["mediaType"],
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    );
    push(&scene, &registry, "app:v2")
        .arg("--image-format=oci")
        .success();
    let oci = registry.state().manifests[&("app".to_owned(), "v2".to_owned())]
        .0
        .clone();
    assert_eq!(oci, "application/vnd.oci.image.manifest.v1+json");
    for more in ["--annotation=a=b", "--compression=zstd"] {
        let failed = push(&scene, &registry, "app:v3")
            .args(["--image-format=docker", more])
            .mistake();
        assert_eq!(failed.code(), 2, "{failed}");
        failed.says("docker's format");
    }
    // A layer of the base that the format cannot hold is told before the build.
    push(&scene, &registry, "zstd:v1")
        .arg("--compression=zstd")
        .success();
    scene.dockerfile(&format!("FROM {}/zstd:v1\nCOPY a /b\n", registry.host()));
    push(&scene, &registry, "app:v3")
        .arg("--image-format=docker")
        .mistake()
        .says("zstd");
    assert!(registry.manifest("app", "v3").is_none());
    assert_eq!(registry.count("PUT", "/v2/app/manifests/v3"), 0);
}

/// What registries say when a tag must not change.
const IMMUTABLE: &[(u16, &str, &str)] = &[
    // Elastic Container Registry, and as it said before.
    (
        400,
        "TAG_INVALID",
        "The image tag 'v1' already exists in the 'app' repository and cannot be overwritten because the tag is immutable.",
    ),
    (
        400,
        "TAG_INVALID",
        "The image tag 'v1' already exists in the 'app' repository and cannot be overwritten because the repository is immutable.",
    ),
    // Artifact Registry.
    (
        409,
        "ALREADY_EXISTS",
        "cannot update tag v1. The repository has enabled tag immutability",
    ),
    (
        400,
        "MANIFEST_INVALID",
        "The repository has enabled tag immutability",
    ),
    // Harbor.
    (
        412,
        "PRECONDITION",
        "Failed to process request due to 'app:v1' configured as immutable.",
    ),
    // Azure Container Registry.
    (
        405,
        "UNSUPPORTED",
        "The operation is disallowed on this registry, repository or image.",
    ),
    // Quay, GitLab, Docker Hub, Artifactory, Nexus.
    (409, "TAG_IMMUTABLE", "tag is immutable"),
    (403, "DENIED", "tag v1 is immutable"),
    (403, "DENIED", "requested tag cannot be overwritten"),
    (
        403,
        "DENIED",
        "not enough permissions to overwrite artifact",
    ),
    (400, "UNKNOWN", "Repository does not allow updating assets"),
];

#[test]
fn tags_that_must_not_change_may_be_left() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    push(&scene, &registry, "app:v1").success();
    let before = registry.manifest("app", "v1");
    scene.file("a", "2");
    for (status, code, message) in IMMUTABLE {
        registry.state().faults.clear();
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        let refusal = Action::Status(*status, vec![], body.to_string());
        registry.fault("PUT", "/v2/app/manifests/v1", 1000, refusal);
        let failed = push(&scene, &registry, "app:v1").mistake();
        failed.says(code);
        let is_told = failed
            .stderr
            .contains("--push-ignore-immutable-tag-errors leaves it");
        assert_eq!(is_told, *code != "UNKNOWN", "{failed}");
        let done = push(&scene, &registry, "app:v1")
            .arg("--push-ignore-immutable-tag-errors")
            .success();
        done.says("must not change and stays at");
        let digest = done.stdout.trim().rsplit_once('@').unwrap().1.to_owned();
        assert_eq!(registry.manifest("app", "v1"), before);
        assert!(registry.manifest("app", &digest).is_some(), "{message}");
    }
    // What is not about a tag that is there is a failure all the same.
    for (status, name) in [
        (403, "app:v1"),
        (401, "app:v1"),
        (400, "app:v9"),
        (500, "app:v1"),
    ] {
        registry.state().faults.clear();
        let path = format!("/v2/app/manifests/{}", &name[4..]);
        let refusal = Action::Status(status, vec![("retry-after", "0".to_owned())], String::new());
        registry.fault("PUT", &path, 1000, refusal);
        push(&scene, &registry, name)
            .arg("--push-ignore-immutable-tag-errors")
            .mistake()
            .says(&status.to_string());
    }
}

#[test]
fn row_47_a_destination_that_fails_is_told_with_those_that_did_not() {
    let Some((scene, first)) = scene() else {
        return;
    };
    let second = Registry::start(Auth::Open);
    let (one, two) = (
        format!("{}/app:v1", first.host()),
        format!("{}/app:v1", second.host()),
    );
    let third = format!("{}/app:v3", first.host());
    let build = || {
        let call = scene.build().env("SOURCE_DATE_EPOCH", "5");
        let call = call.args(["-d", &one, "-d", &two, "-d", &third]);
        call.arg("--digest-file").arg(scene.out("digest"))
    };
    let has_tag = |registry: &Registry, tag: &str| registry.manifest("app", tag).is_some();
    let refuse = |method, path| {
        second.state().faults.clear();
        let refusal = Action::Status(403, vec![], String::new());
        second.fault(method, path, 1000, refusal);
    };
    // Refused before the build, at a blob, or at the manifest: no tag at all.
    for (method, path) in [
        ("POST", "/v2/app/blobs/uploads/"),
        ("PUT", "/v2/app/blobs/uploads/"),
        ("PUT", "/v2/app/manifests/sha256"),
    ] {
        refuse(method, path);
        let failed = build().mistake();
        assert_eq!(failed.code(), 1, "{failed}");
        failed.says("403").says(&second.host());
        failed.keeps("already pushed");
        assert!(!has_tag(&first, "v1") && !has_tag(&first, "v3"), "{failed}");
        assert!(!has_tag(&second, "v1"), "{failed}");
    }
    // Refused at the tag: the one before it is there and named, and none is written after it.
    refuse("PUT", "/v2/app/manifests/v1");
    let failed = build().mistake();
    assert_eq!(failed.code(), 1, "{failed}");
    failed.says(&format!("already pushed: {one}")).says("403");
    failed.says(&second.host());
    assert!(has_tag(&first, "v1") && !has_tag(&first, "v3"), "{failed}");
    assert!(!has_tag(&second, "v1"), "{failed}");
    assert!(!scene.out("digest").exists(), "{failed}");
    // Once more, when the reason is gone: nothing is sent twice.
    second.state().faults.clear();
    for registry in [&first, &second] {
        registry.state().requests.clear();
    }
    build().success();
    assert!(has_tag(&first, "v3") && has_tag(&second, "v1"));
    assert!(scene.out("digest").exists());
    for registry in [&first, &second] {
        assert_eq!(registry.count("PUT", "/blobs/uploads/"), 0);
    }
}

#[test]
fn a_push_is_tried_again_as_a_whole_when_that_was_asked_for() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    // A refusal is not tried again by itself.
    let refuse = |times| {
        registry.state().faults.clear();
        let refusal = Action::Status(403, vec![], String::new());
        registry.fault("PUT", "/v2/app/manifests/v1", times, refusal);
    };
    refuse(1);
    push(&scene, &registry, "app:v1").mistake().says("403");
    refuse(2);
    let begun = std::time::Instant::now();
    push(&scene, &registry, "app:v1")
        .arg("--push-retry=2")
        .success();
    assert!(begun.elapsed().as_secs() >= 3, "a second, then two");
    refuse(2);
    push(&scene, &registry, "app:v1")
        .arg("--push-retry=1")
        .mistake();
}

#[test]
fn a_base_is_asked_for_again_when_that_was_asked_for() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    push(&scene, &registry, "base:v1").success();
    let layer = Image::of_registry(&registry, "base", "v1").layers[0]
        .digest
        .clone();
    scene.dockerfile(&format!("FROM {}/base:v1\nCOPY a /b\n", registry.host()));
    let refuse = |path: &str| {
        registry.state().faults.clear();
        let refusal = Action::Status(404, vec![], String::new());
        registry.fault("GET", path, 1, refusal);
    };
    refuse("/v2/base/manifests/v1");
    scene.build().mistake().says("404");
    refuse("/v2/base/manifests/v1");
    scene.build().arg("--image-download-retry=1").image();
    let blob = format!("/v2/base/blobs/{layer}");
    for flag in ["--image-fs-extract-retry=1", "--image-download-retry=1"] {
        refuse(&blob);
        let fresh = |name: &str| {
            let state = scene.root().join(name);
            std::fs::create_dir_all(&state).unwrap();
            scene.build().arg("--state-dir").arg(state)
        };
        fresh("one").mistake().says("404");
        refuse(&blob);
        fresh("two").arg(flag).image();
        for state in ["one", "two"] {
            std::fs::remove_dir_all(scene.root().join(state)).unwrap();
        }
    }
}

#[test]
fn connections_are_used_again() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    push(&scene, &registry, "base:v1").success();
    let lines = [
        "COPY a /0",
        "COPY a /1",
        "COPY a /2",
        "COPY a /3",
        "COPY a /4",
    ]
    .join("\n");
    scene.dockerfile(&format!("FROM {}/base:v1\n{lines}", registry.host()));
    registry.state().requests.clear();
    registry.state().connections = 0;
    let destinations = (0..4).flat_map(|number| {
        [
            "-d".to_owned(),
            format!("{}/app{number}:v1", registry.host()),
        ]
    });
    scene.build().args(destinations).success();
    let (requests, connections) = {
        let state = registry.state();
        (state.requests.len(), state.connections)
    };
    assert!(requests > 60, "{requests} requests");
    // HTTP/1.1: as many as there are transfers at the same time, not one for each request or destination.
    assert!(
        connections <= 20,
        "{connections} connections for {requests} requests"
    );
}
