//! `index create` and `push`: what exists already, under further names.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::image::{Image, digest, put_base, tar_of};
use crate::program::{Call, Scene};
use crate::support::registry::{Action, Auth, Registry};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Puts an image for a platform into a registry; gives its digest.
fn put(registry: &Registry, repository: &str, tag: &str, os: &str, architecture: &str) -> String {
    let content = format!("{os} on {architecture}");
    let tar = tar_of(&[("about", 'f', &content, 0o644)]);
    put_base(registry, repository, tag, &tar, &json!({}));
    let manifest = registry
        .manifest(repository, tag)
        .expect("an image of the test");
    let mut manifest: Value = serde_json::from_slice(&manifest).expect("an image of the test");
    let config = manifest["config"]["digest"]
        .as_str()
        .expect("an image of the test")
        .to_owned();
    let config = registry.state().blobs[&(repository.to_owned(), config)].clone();
    let mut config: Value = serde_json::from_slice(&config).expect("an image of the test");
    config["os"] = os.into();
    config["architecture"] = architecture.into();
    let config = config.to_string();
    manifest["config"]["size"] = config.len().into();
    manifest["config"]["digest"] = registry.put_blob(repository, config).to_string().into();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let put = registry.put_manifest(repository, tag, media_type, manifest.to_string());
    put.to_string()
}

fn create(scene: &Scene, registry: &Registry, name: &str, images: &[&str]) -> Call {
    let mut call = scene.longshore(&["index", "create"]);
    call = call.arg(format!("{}/{name}", registry.host()));
    for image in images {
        let image = image.replace("HOST", &registry.host());
        call = call.args(["--image", &image]);
    }
    call
}

/// Reads an index, and checks that all that it names is in the repository.
fn index(registry: &Registry, repository: &str, tag: &str) -> Value {
    let bytes = registry.manifest(repository, tag).expect("an index");
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    let state = registry.state();
    for descriptor in index["manifests"].as_array().expect("manifests") {
        let name = descriptor["digest"].as_str().expect("a digest").to_owned();
        let (media_type, bytes) = &state.manifests[&(repository.to_owned(), name.clone())];
        assert_eq!(digest(bytes), name);
        assert_eq!(descriptor["mediaType"], media_type.as_str());
        assert_eq!(descriptor["size"], bytes.len());
        let manifest: Value = serde_json::from_slice(bytes).expect("JSON");
        let layers = manifest["layers"].as_array().expect("layers");
        for blob in layers.iter().chain([&manifest["config"]]) {
            let name = blob["digest"].as_str().expect("a digest").to_owned();
            assert!(
                state
                    .blobs
                    .contains_key(&(repository.to_owned(), name.clone())),
                "{name} is not in {repository}"
            );
        }
    }
    index
}

fn platforms(index: &Value) -> Vec<String> {
    let name = |descriptor: &Value| {
        let platform = &descriptor["platform"];
        let part = |name: &str| platform[name].as_str().map(str::to_owned);
        [part("os"), part("architecture"), part("variant")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("/")
    };
    index["manifests"]
        .as_array()
        .expect("an image of the test")
        .iter()
        .map(name)
        .collect()
}

#[test]
fn images_of_one_repository_get_one_name() {
    let scene = Scene::bare();
    let registry = Registry::start(Auth::Open);
    let amd64 = put(&registry, "app", "amd64", "linux", "amd64");
    put(&registry, "app", "arm64", "linux", "arm64");
    put(&registry, "app", "armv6", "linux", "arm");
    registry.state().requests.clear();
    let images = [
        &format!("HOST/app@{amd64}"),
        "HOST/app:arm64",
        "linux/arm/v6=HOST/app:armv6",
    ];
    let done = create(&scene, &registry, "app:1.0", &images)
        .arg(format!("{}/app:latest", registry.host()))
        .args(["--platform", "linux/amd64,linux/arm64"])
        .args(["--annotation", "org.opencontainers.image.version=1.0"])
        .arg("--digest-file")
        .arg(scene.out("digest"))
        .arg("--image-name-tag-with-digest-file")
        .arg(scene.out("names"))
        .arg("--metadata-file")
        .arg(scene.out("metadata"))
        .success();
    let made = index(&registry, "app", "1.0");
    assert_eq!(
        platforms(&made),
        ["linux/amd64", "linux/arm64", "linux/arm/v6"]
    );
    assert_eq!(made["mediaType"], OCI_INDEX);
    assert_eq!(
        made["annotations"],
        json!({"org.opencontainers.image.version": "1.0"})
    );
    let bytes = registry.manifest("app", "1.0").unwrap();
    assert_eq!(registry.manifest("app", "latest"), Some(bytes.clone()));
    let read = |name: &str| fs::read_to_string(scene.out(name)).unwrap();
    assert_eq!(read("digest"), digest(&bytes));
    let host = registry.host();
    assert_eq!(
        read("names"),
        format!(
            "{host}/app:1.0@{d}\n{host}/app:latest@{d}\n",
            d = digest(&bytes)
        )
    );
    let metadata: Value = serde_json::from_str(&read("metadata")).unwrap();
    assert_eq!(metadata["containerimage.digest"], digest(&bytes));
    assert_eq!(
        metadata["containerimage.descriptor"]["mediaType"],
        OCI_INDEX
    );
    assert!(metadata.get("containerimage.config.digest").is_none());
    assert_eq!(
        done.stdout,
        format!(
            "{host}/app:1.0@{d}\n{host}/app:latest@{d}\n",
            d = digest(&bytes)
        )
    );
    let sent = registry.count("PUT", "/blobs/") + registry.count("HEAD", "/blobs/");
    assert_eq!(sent, 0, "what is there is left alone");
    // The same images give the same index.
    create(&scene, &registry, "app:again", &images)
        .args(["--annotation", "org.opencontainers.image.version=1.0"])
        .success();
    assert_eq!(registry.manifest("app", "again"), Some(bytes));
}

#[test]
fn images_of_other_places_are_brought_along() {
    let scene = Scene::bare();
    let (registry, other) = (Registry::start(Auth::Open), Registry::start(Auth::Open));
    put(&registry, "amd64/app", "v1", "linux", "amd64");
    put(&other, "app", "v1", "linux", "arm64");
    let images = ["HOST/amd64/app:v1", &format!("{}/app:v1", other.host())];
    create(&scene, &registry, "app:v1", &images).success();
    assert_eq!(
        platforms(&index(&registry, "app", "v1")),
        ["linux/amd64", "linux/arm64"]
    );
    assert_eq!(registry.count("POST", "from=amd64%2Fapp"), 2, "mounted");
    assert_eq!(registry.count("PUT", "/v2/app/blobs/"), 2, "copied");
    // An index gives its images, and several destinations are served.
    put(&registry, "s390x", "v1", "linux", "s390x");
    let images = ["HOST/app:v1", "HOST/s390x:v1"];
    create(&scene, &registry, "all:v1", &images)
        .arg(format!("{}/all/here:v1", other.host()))
        .success();
    let expect = ["linux/amd64", "linux/arm64", "linux/s390x"];
    assert_eq!(platforms(&index(&registry, "all", "v1")), expect);
    assert_eq!(platforms(&index(&other, "all/here", "v1")), expect);
}

#[test]
fn docker_images_get_a_manifest_list() {
    let scene = Scene::bare();
    let registry = Registry::start(Auth::Open);
    for architecture in ["amd64", "arm64"] {
        put(&registry, "app", architecture, "linux", architecture);
        let manifest = registry.manifest("app", architecture).unwrap();
        let text = String::from_utf8(manifest.to_vec()).unwrap();
        let text = text.replace(
            "application/vnd.oci.image.manifest.v1+json",
            DOCKER_MANIFEST,
        );
        registry.put_manifest("app", architecture, DOCKER_MANIFEST, text);
    }
    let images = ["HOST/app:amd64", "HOST/app:arm64"];
    create(&scene, &registry, "app:v1", &images).success();
    assert_eq!(index(&registry, "app", "v1")["mediaType"], DOCKER_INDEX);
    create(&scene, &registry, "app:v2", &images)
        .arg("--image-format=oci")
        .success();
    assert_eq!(index(&registry, "app", "v2")["mediaType"], OCI_INDEX);
    create(&scene, &registry, "app:v3", &images)
        .args(["--image-format=docker", "--annotation=a=b"])
        .mistake()
        .says("no annotations");
}

#[test]
fn what_is_wrong_with_an_index_is_told_before_a_tag_is_written() {
    let scene = Scene::bare();
    let registry = Registry::start(Auth::Open);
    put(&registry, "app", "one", "linux", "arm64");
    put(&registry, "app", "two", "linux", "amd64");
    put(&registry, "app", "none", "", "");
    let host = registry.host();
    let check = |images: &[&str], more: &[&str], expect: &str| {
        let failed = create(&scene, &registry, "app:v1", images)
            .args(more)
            .mistake();
        failed.says(expect);
        assert!(registry.manifest("app", "v1").is_none(), "{expect}");
    };
    check(
        &["HOST/app:one", "linux/arm64=HOST/app:two"],
        &[],
        "are both for linux/arm64",
    );
    check(
        &["HOST/app:none"],
        &[],
        &format!("say it as PLATFORM={host}/app:none"),
    );
    check(
        &["HOST/app:one"],
        &["--platform", "linux/arm64,linux/s390x"],
        "no image is for linux/s390x",
    );
    check(&["HOST/app:absent"], &[], "404");
    check(&["HOST/app:UPPER/x"], &[], "--image");
    check(&["nonsense=HOST/app:one"], &[], "is not a platform");
    check(&["./nowhere"], &[], "nowhere");
    let denied = Action::Status(403, vec![], String::new());
    registry.fault("POST", "/blobs/uploads/", 1, denied);
    check(&["HOST/app:one"], &[], "403");
}

/// Builds an image for a platform.
fn build(scene: &Scene, platform: &str) -> Call {
    scene
        .file("a", platform)
        .dockerfile("FROM scratch\nCOPY a /a\n");
    scene.build().args(["--custom-platform", platform])
}

#[test]
fn layouts_become_an_index() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    for platform in ["amd64", "arm64"] {
        let layout = scene.out(platform);
        build(&scene, &format!("linux/{platform}"))
            .arg("--oci-layout-path")
            .arg(&layout)
            .success();
    }
    let images = [
        scene.out("amd64").display().to_string(),
        format!("oci:{}", scene.out("arm64").display()),
    ];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    create(&scene, &registry, "app:v1", &images).success();
    let made = index(&registry, "app", "v1");
    assert_eq!(platforms(&made), ["linux/amd64", "linux/arm64"]);
    let first: Value =
        serde_json::from_slice(&fs::read(scene.out("amd64").join("index.json")).unwrap()).unwrap();
    assert_eq!(
        made["manifests"][0]["digest"],
        first["manifests"][0]["digest"]
    );
}

/// `longshore push`.
fn push(scene: &Scene, source: &Path, destinations: &[&str]) -> Call {
    scene.longshore(&["push"]).arg(source).args(destinations)
}

#[test]
fn layouts_and_archives_are_pushed() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let host = registry.host();
    let (layout, archive) = (scene.out("layout"), scene.out("image.tar"));
    build(&scene, "linux/arm64")
        .args(["-d", "example.com/app:v1", "--no-push", "--oci-layout-path"])
        .arg(&layout)
        .arg("--tar-path")
        .arg(&archive)
        .success();
    let built = Image::of_layout(&layout);
    let done = push(
        &scene,
        &layout,
        &[&format!("{host}/a:v1"), &format!("{host}/b/c:v2")],
    )
    .arg("--digest-file")
    .arg(scene.out("digest"))
    .success();
    for (repository, tag) in [("a", "v1"), ("b/c", "v2")] {
        let image = Image::of_registry(&registry, repository, tag);
        assert_eq!(image.digest, built.digest);
        assert_eq!(image.file("a").text(), "linux/arm64");
        assert!(
            done.stdout
                .contains(&format!("{host}/{repository}:{tag}@{}", built.digest))
        );
    }
    assert_eq!(
        fs::read_to_string(scene.out("digest")).unwrap(),
        built.digest
    );

    push(&scene, &archive, &["-d", &format!("{host}/archive:v1")]).success();
    let image = Image::of_registry(&registry, "archive", "v1");
    assert_eq!(image.document, built.document);
    assert_eq!(image.layers[0].digest, built.layers[0].digest);

    // The same layout in a tar.
    let tar = scene.out("layout.tar");
    let mut builder = tar::Builder::new(fs::File::create(&tar).unwrap());
    builder.append_dir_all(".", &layout).unwrap();
    builder.finish().unwrap();
    push(&scene, &tar, &[&format!("{host}/tarred:v1")]).success();
    assert_eq!(
        Image::of_registry(&registry, "tarred", "v1").digest,
        built.digest
    );
    // By its tag, and by one that is not there.
    let tagged = |tag: &str| Path::new(&format!("{}:{tag}", layout.display())).to_owned();
    push(&scene, &tagged("v1"), &[&format!("{host}/tagged:v1")]).success();
    push(&scene, &tagged("v2"), &[&format!("{host}/tagged:v2")])
        .mistake()
        .says("no image with the tag");
    assert!(registry.manifest("tagged", "v2").is_none());
}

#[test]
fn what_docker_saves_is_compressed_and_pushed() {
    let scene = Scene::bare();
    let registry = Registry::start(Auth::Open);
    let tar = tar_of(&[("about", 'f', &"saved ".repeat(1000), 0o644)]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "history": [{"created_by": "one"}, {"created_by": "two"}],
        "rootfs": {"type": "layers", "diff_ids": [digest(&tar), digest(&tar)]},
    })
    .to_string();
    let name = format!("{}.json", &digest(config.as_bytes())[7..]);
    let manifest = json!([{
        "Config": name, "RepoTags": ["app:v1"], "Layers": ["one/layer.tar", "two/layer.tar"],
    }])
    .to_string();
    let save = |layer: &[u8]| {
        let path = scene.out("saved.tar");
        let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
        let mut append = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        append("one/layer.tar", layer);
        append(&name, config.as_bytes());
        append("manifest.json", manifest.as_bytes());
        // Docker links a layer that it has written already.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "two/layer.tar", "../one/layer.tar")
            .unwrap();
        builder.finish().unwrap();
        path
    };
    let destination = format!("{}/saved:v1", registry.host());
    push(&scene, &save(&tar), &[&destination]).success();
    let image = Image::of_registry(&registry, "saved", "v1");
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.layers[1].entry("about").text(), "saved ".repeat(1000));
    assert_eq!(image.document["rootfs"]["diff_ids"][0], digest(&tar));
    let config_digest = image.manifest["config"]["digest"].as_str().unwrap();
    assert_eq!(
        config_digest,
        digest(config.as_bytes()),
        "the image's id stays"
    );
    assert_eq!(fs::read_dir(scene.state()).unwrap().count(), 0, "copies go");

    let mut damaged = tar;
    damaged[600] ^= 1;
    let destination = format!("{}/damaged:v1", registry.host());
    push(&scene, &save(&damaged), &[&destination])
        .mistake()
        .says("digest mismatch");
    assert!(registry.manifest("damaged", "v1").is_none());
}

#[test]
fn files_that_are_no_image_are_not_pushed() {
    let scene = Scene::bare();
    let registry = Registry::start(Auth::Open);
    let destination = format!("{}/app:v1", registry.host());
    scene.file("text", "no image").dir("empty");
    for (source, expect) in [
        ("text", "it is no image"),
        ("empty", "it is no image"),
        ("nowhere", "No such file"),
    ] {
        push(&scene, &scene.path(source), &[&destination])
            .mistake()
            .says(expect);
    }
    push(&scene, &scene.path("empty"), &[])
        .mistake()
        .says("say where to push to");
    assert_eq!(registry.state().requests.len(), 0);
}

#[test]
fn a_damaged_layout_leaves_no_tag() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let layout = scene.out("layout");
    build(&scene, "linux/amd64")
        .arg("--oci-layout-path")
        .arg(&layout)
        .success();
    let image = Image::of_layout(&layout);
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let destination = format!("{}/app:v1", registry.host());
    let config = image.manifest["config"]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in [image.digest.clone(), config, image.layers[0].digest.clone()] {
        let whole = fs::read(blob(&name)).unwrap();
        let mut damaged = whole.clone();
        damaged[10] ^= 1;
        fs::write(blob(&name), damaged).unwrap();
        push(&scene, &layout, &[&destination]).mistake();
        fs::write(blob(&name), &whole[1..]).unwrap();
        push(&scene, &layout, &[&destination]).mistake();
        fs::write(blob(&name), whole).unwrap();
        assert!(registry.manifest("app", "v1").is_none(), "{name}");
    }
    push(&scene, &layout, &[&destination]).success();
}
