//! Images to registries, layouts and archives.

use super::*;

#[tokio::test]
async fn base_layers_are_mounted_or_streamed_from_registry_to_registry() {
    let (registry, client, image, directory) = with_image(Auth::Bearer {
        uses: 1000,
        realm: None,
    })
    .await;
    let base = client
        .resolve(&reference(&registry, "base:v1"), &platform())
        .await
        .expect("the base");
    let derived = assemble(Assembly {
        config: base.config.clone(),
        layers: remote_layers(&base).expect("its layers"),
        format: Format::Docker,
        annotations: BTreeMap::new(),
    })
    .expect("an image");
    push(&derived, &client, &[reference(&registry, "derived:v1")])
        .await
        .expect("a push");
    assert_eq!(
        registry.count("GET", "/blobs/sha256"),
        1,
        "only the configuration of the base is read"
    );
    assert_eq!(registry.count("POST", "mount="), 2);

    for refuses_mounts in [true, false] {
        let other = Registry::start(Auth::Open);
        other.state().refuses_mounts = refuses_mounts;
        registry.fault("GET", "/blobs/", 2, Action::CutBody(1_000_000));
        push(&derived, &client, &[reference(&other, "copy:v1")])
            .await
            .expect("a push");
        for layer in &image.layers {
            assert!(other.blob("copy", &layer.descriptor.digest).is_some());
        }
    }
    registry.state().refuses_mounts = true;
    registry.state().requests.clear();
    push(&derived, &client, &[reference(&registry, "again:v1")])
        .await
        .expect("a push");
    assert_eq!(
        registry.count("POST", "again/blobs/uploads/"),
        3,
        "a refused mount's upload is used"
    );

    let small = Registry::start(Auth::Open);
    small.state().largest_upload = Some(1 << 20);
    push(&derived, &client, &[reference(&small, "pieces:v1")])
        .await
        .expect("a push in pieces");
    drop(directory);
}

#[tokio::test]
async fn files_hold_the_image() {
    let (registry, client, image, directory) = with_image(Auth::Open).await;
    let base = client
        .resolve(&reference(&registry, "base:v1"), &platform())
        .await
        .expect("the base");
    let derived = assemble(Assembly {
        config: base.config.clone(),
        layers: remote_layers(&base).expect("its layers"),
        format: Format::Oci,
        annotations: BTreeMap::new(),
    })
    .expect("an image");
    let names = vec![
        reference(&registry, "x:v1"),
        "app".parse().expect("a reference"),
    ];
    let (layout, archive) = (
        directory.path().join("out/layout"),
        directory.path().join("out/image.tar"),
    );
    std::fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    std::fs::write(layout.join("blobs/sha256/foreign"), "kept").expect("a file");
    let broken = layout
        .join("blobs/sha256")
        .join(image.layers[0].descriptor.digest.hex());
    std::fs::write(broken, "not the layer").expect("a file");
    for image in [&image, &derived] {
        let outputs = [
            Output::Layout {
                path: layout.clone(),
                names: names.clone(),
            },
            Output::Archive {
                path: archive.clone(),
                names: names.clone(),
            },
        ];
        let published = publish(image, &outputs, &client, None)
            .await
            .expect("files");
        check_layout(&layout, image);
        check_archive(&archive, image);
        let digest = directory.path().join("digest");
        let reports = Reports {
            digest: Some(Report::File(digest.clone())),
            ..Reports::default()
        };
        write_reports(&reports, &published, &names, client.http())
            .await
            .expect("a file");
        assert_eq!(
            std::fs::read_to_string(digest).expect("a file"),
            image.descriptor.digest.as_str()
        );
    }
}

fn check_layout(layout: &Path, image: &Image) {
    let read = |path: &str| std::fs::read(layout.join(path)).expect(path);
    assert_eq!(read("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Index = serde_json::from_slice(&read("index.json")).expect("an index");
    assert_eq!(index.manifests.len(), 1);
    assert_eq!(index.manifests[0].digest, image.descriptor.digest);
    assert_eq!(
        index.manifests[0].annotations["org.opencontainers.image.ref.name"],
        "v1"
    );
    let layers = image.layers.iter().map(|layer| &layer.descriptor);
    for descriptor in layers.chain([&image.descriptor, &image.config_descriptor]) {
        let bytes = read(&format!("blobs/sha256/{}", descriptor.digest.hex()));
        assert_eq!(Digest::of(&bytes), descriptor.digest);
    }
    assert_eq!(read("blobs/sha256/foreign"), b"kept");
    let count = std::fs::read_dir(layout.join("blobs/sha256"))
        .expect("the blobs")
        .count();
    assert!(count <= 7, "nothing unfinished is left");
}

fn check_archive(path: &Path, image: &Image) {
    use std::io::Read as _;
    let mut archive = tar::Archive::new(std::fs::File::open(path).expect("an archive"));
    let mut entries = BTreeMap::new();
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        assert_eq!(
            (entry.header().mtime().ok(), entry.header().mode().ok()),
            (Some(0), Some(0o644))
        );
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        entries.insert(name, bytes);
    }
    let manifest: serde_json::Value =
        serde_json::from_slice(&entries["manifest.json"]).expect("JSON");
    let host = manifest[0]["RepoTags"][0].as_str().expect("a tag");
    assert!(host.ends_with("/x:v1"), "{host}");
    assert_eq!(manifest[0]["RepoTags"][1], "app:latest");
    assert_eq!(
        entries[manifest[0]["Config"].as_str().expect("a name")],
        image.config
    );
    let layers = manifest[0]["Layers"].as_array().expect("layers");
    assert_eq!(layers.len(), image.layers.len());
    for (name, layer) in layers.iter().zip(&image.layers) {
        assert_eq!(
            Digest::of(&entries[name.as_str().expect("a name")]),
            layer.descriptor.digest
        );
    }
}

#[tokio::test]
async fn a_layer_file_that_changed_is_not_published() {
    let (registry, client, image, directory) = with_image(Auth::Open).await;
    std::fs::write(directory.path().join("layer1"), noise(LAYER_SIZE, 9)).expect("a file");
    let layout = directory.path().join("layout");
    let output = Output::Layout {
        path: layout.clone(),
        names: Vec::new(),
    };
    publish(&image, &[output], &client, None)
        .await
        .expect_err("changed");
    assert!(!layout.join("index.json").exists());
    let error = push(&image, &client, &[reference(&registry, "changed:v1")])
        .await
        .expect_err("changed");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    assert_eq!(registry.manifest("changed", "v1"), None);
}
