//! Images from maps and mirrors, through the flags and variables that kaniko has.

use serde_json::json;

use crate::image::{Image, put_base, tar_of};
use crate::program::{Call, Scene};
use crate::support::registry::{Action, Auth, Recorded, Registry};

/// A registry that holds an image of one file, which says where it is from.
fn registry(repository: &str, content: &str) -> Registry {
    let registry = Registry::start(Auth::Open);
    put(&registry, repository, content);
    registry
}

fn put(registry: &Registry, repository: &str, content: &str) {
    let tar = tar_of(&[("from", 'f', content, 0o644)]);
    put_base(registry, repository, "v1", &tar, &json!({}));
}

/// A build of `from` with a file of its own on it.
fn build(scene: &Scene, from: &str) -> Call {
    scene
        .file("a", "1")
        .dockerfile(&format!("FROM {from}\nCOPY a /a\n"));
    scene.build()
}

fn source(call: Call) -> String {
    call.image().file("from").text().to_owned()
}

/// All that arrived at a registry, as one text.
fn arrived(registry: &Registry) -> String {
    let state = registry.state();
    state.requests.iter().map(Recorded::text).collect()
}

fn refuses(registry: &Registry, status: u16) {
    let action = Action::Status(status, vec![("retry-after", "0".to_owned())], String::new());
    registry.fault("*", "/manifests/", 1000, action);
}

#[test]
fn images_come_from_the_first_place_that_has_them() {
    let Some(scene) = Scene::new() else { return };
    let original = registry("team/base", "original");
    let mirror = registry("cache/x/team/base", "mirror");
    let empty = Registry::start(Auth::Open);
    let from = format!("{}/team/base:v1", original.host());
    let map = |to: &str| format!("--registry-map={}={to}", original.host());
    let mapped = |flags: &[String]| build(&scene, &from).args(flags);
    let path = format!("{}/cache/x", mirror.host());

    assert_eq!(source(mapped(&[])), "original");
    assert_eq!(source(mapped(&[map(&path)])), "mirror");
    assert_eq!(original.count("GET", "/blobs/"), 2, "of the first build");
    // Those that do not have it are passed over, in order.
    assert_eq!(source(mapped(&[map(&empty.host()), map(&path)])), "mirror");
    let both = format!(
        "--registry-map={host}={};{host}={path}/",
        empty.host(),
        host = original.host()
    );
    assert_eq!(source(mapped(&[both])), "mirror");
    assert_eq!(source(mapped(&[map(&empty.host())])), "original");
    let failed = mapped(&[
        map(&empty.host()),
        "--skip-default-registry-fallback".to_owned(),
    ])
    .mistake();
    failed.says("404").says(&empty.host()).says("1 | FROM");
    // One that is not there costs the build nothing but time, whatever is wrong with it.
    for status in [401, 403, 503] {
        let broken = registry("team/base", "broken");
        refuses(&broken, status);
        let call = mapped(&[map(&broken.host())]);
        assert_eq!(source(call), "original", "{status}");
    }
}

#[test]
fn a_mirror_that_loses_a_layer_is_left() {
    let Some(scene) = Scene::new() else { return };
    let original = registry("team/base", "the same");
    let mirror = registry("team/base", "the same");
    let from = format!("{}/team/base:v1", original.host());
    let layer = Image::of_registry(&mirror, "team/base", "v1").layers[0]
        .digest
        .clone();
    let map = format!("--registry-map={}={}", original.host(), mirror.host());
    for action in [
        Action::Status(404, vec![], String::new()),
        Action::Status(403, vec![], String::new()),
        Action::FlipBit,
    ] {
        mirror.state().faults.clear();
        mirror.fault("GET", &format!("/blobs/{layer}"), 1000, action.clone());
        let fresh = scene
            .root()
            .join(format!("state-{action:?}").replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        std::fs::create_dir(&fresh).unwrap();
        let call = build(&scene, &from).arg(&map).arg("--state-dir").arg(fresh);
        assert_eq!(source(call), "the same", "{action:?}");
    }
    assert_eq!(original.count("GET", &format!("/blobs/{layer}")), 3);
}

#[test]
fn variables_add_to_the_flags() {
    let Some(scene) = Scene::new() else { return };
    let original = registry("team/base", "original");
    let (one, two) = (registry("team/base", "one"), registry("team/base", "two"));
    let from = format!("{}/team/base:v1", original.host());
    let map = |to: &Registry| format!("{}={}", original.host(), to.host());
    let call = build(&scene, &from).env("KANIKO_REGISTRY_MAP", map(&one));
    assert_eq!(source(call), "one");
    let call = build(&scene, &from)
        .env("KANIKO_REGISTRY_MAP", map(&one))
        .env("LONGSHORE_REGISTRY_MAP", map(&two));
    assert_eq!(source(call), "two");
    let call = build(&scene, &from)
        .env("KANIKO_REGISTRY_MAP", map(&one))
        .arg("--registry-map")
        .arg(map(&two));
    assert_eq!(source(call), "two");
    build(&scene, &from)
        .env("KANIKO_REGISTRY_MAP", "nonsense")
        .mistake()
        .says("KANIKO_REGISTRY_MAP")
        .says("nonsense");
}

#[test]
fn docker_hub_has_mirrors() {
    let Some(scene) = Scene::new() else { return };
    let mirror = registry("hub/library/base", "mirror");
    put(&mirror, "hub/team/base", "of a team");
    put(&mirror, "library/base", "at the top");
    let hub = format!("{}/hub", mirror.host());
    let only = |call: Call| call.arg("--skip-default-registry-fallback");
    for from in [
        "base:v1",
        "docker.io/base:v1",
        "index.docker.io/library/base:v1",
    ] {
        let call = only(build(&scene, from)).args(["--registry-mirror", &hub]);
        assert_eq!(source(call), "mirror", "{from}");
    }
    let call = only(build(&scene, "team/base:v1")).env("KANIKO_REGISTRY_MIRROR", &hub);
    assert_eq!(source(call), "of a team");
    let call = only(build(&scene, "base:v1")).env("LONGSHORE_REGISTRY_MIRROR", mirror.host());
    assert_eq!(source(call), "at the top");
    for name in ["docker.io", "index.docker.io"] {
        let call = only(build(&scene, "base:v1")).arg(format!("--registry-map={name}={hub}"));
        assert_eq!(source(call), "mirror", "{name}");
    }
    build(&scene, "base:v1")
        .args(["--registry-mirror", "https://mirror.io"])
        .mistake()
        .says("has a scheme");
}

#[test]
fn what_is_pushed_goes_where_its_name_says() {
    let Some(scene) = Scene::new() else { return };
    let original = registry("team/base", "original");
    let mirror = registry("team/base", "mirror");
    let from = format!("{}/team/base:v1", original.host());
    let to = format!("{}/app:v1", original.host());
    build(&scene, &from)
        .arg(format!(
            "--registry-map={}={}",
            original.host(),
            mirror.host()
        ))
        .args(["-d", &to])
        .success();
    let image = Image::of_registry(&original, "app", "v1");
    assert_eq!(image.file("from").text(), "mirror");
    for method in ["POST", "PUT", "PATCH"] {
        assert_eq!(mirror.count(method, "/"), 0, "{method} at the mirror");
    }
}

#[test]
fn credentials_are_those_of_the_mirror() {
    let Some(scene) = Scene::new() else { return };
    let original = Registry::start(Auth::Open);
    let mirror = registry("team/base", "mirror");
    mirror.state().auth = Auth::Basic;
    let from = format!("{}/team/base:v1", original.host());
    let map = format!("--registry-map={}={}", original.host(), mirror.host());
    let auth = |registry: &Registry| {
        use base64::Engine as _;
        let pair = format!("user:{}", crate::support::registry::PASSWORD);
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        json!({"auths": {registry.host(): {"auth": pair}}}).to_string()
    };
    let call = |of: &Registry| {
        build(&scene, &from)
            .arg(&map)
            .env("DOCKER_AUTH_CONFIG", auth(of))
    };
    assert_eq!(source(call(&mirror)), "mirror");
    call(&original).mistake();
    let found = arrived(&mirror);
    assert!(found.contains("Basic "), "the mirror's own credential");
    mirror.state().requests.clear();
    call(&original).mistake();
    let found = arrived(&mirror);
    assert!(!found.contains("Basic "), "another registry's credential");
}
