//! Reading from a registry that fails, lies or is hostile.

use super::*;

#[tokio::test]
async fn downloads_survive_what_passes() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let name = reference(&registry, "base:v1");
    let descriptor = &image.layers[0].descriptor;
    let cases: Vec<(&str, Vec<(usize, Action)>)> = vec![
        ("cut", vec![(1, Action::CutBody(1_000_000))]),
        ("cut ten times", vec![(10, Action::CutBody(300_000))]),
        (
            "cut, then the range is ignored",
            vec![(1, Action::CutBody(1_000_000)), (1, Action::IgnoreRange)],
        ),
        (
            "cut, then the wrong range",
            vec![(1, Action::CutBody(1_000_000)), (1, Action::WrongRange)],
        ),
        ("stalled", vec![(1, Action::Stall(Duration::from_secs(20)))]),
        ("one flipped bit", vec![(1, Action::FlipBit)]),
        ("no answer", vec![(2, Action::DropAnswer)]),
        ("503", vec![(3, Action::Status(503, vec![], String::new()))]),
        ("408", vec![(1, Action::Status(408, vec![], String::new()))]),
        ("522", vec![(1, Action::Status(522, vec![], String::new()))]),
    ];
    for (case, faults) in cases {
        for (times, action) in faults {
            registry.fault("GET", "/blobs/", times, action);
        }
        let bytes = download(&client, &name, descriptor)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(bytes, noise(LAYER_SIZE, 1), "{case}");
        registry.state().faults.clear();
    }
}

#[tokio::test]
async fn a_cut_download_is_resumed_not_repeated() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    registry.fault("GET", "/blobs/", 1, Action::CutBody(1_000_000));
    let received = Arc::new(AtomicU64::new(0));
    let on_bytes: OnBytes = {
        let received = Arc::clone(&received);
        Arc::new(move |count| {
            received.fetch_add(count, Ordering::Relaxed);
        })
    };
    let directory = tempfile::tempdir().expect("a directory");
    let descriptor = &image.layers[0].descriptor;
    let path = directory.path().join("blob");
    client
        .blob_to_file(
            &reference(&registry, "base"),
            descriptor,
            &path,
            Some(&on_bytes),
        )
        .await
        .expect("a layer");
    assert_eq!(received.load(Ordering::Relaxed), LAYER_SIZE as u64);
    let state = registry.state();
    let ranges: Vec<_> = state
        .requests
        .iter()
        .filter_map(|request| request.header("range"))
        .collect();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert_ne!(ranges[0], "bytes=0-");
}

#[tokio::test]
async fn wrong_content_is_refused() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let name = reference(&registry, "base:v1");
    let right = &image.layers[0].descriptor;
    let mut cases: Vec<(&str, Option<Action>, Descriptor, &str)> = vec![
        (
            "flipped",
            Some(Action::FlipBit),
            right.clone(),
            "digest mismatch",
        ),
        (
            "longer",
            Some(Action::Longer(1)),
            right.clone(),
            "size mismatch",
        ),
    ];
    for (case, size) in [
        ("size too small", right.size - 1),
        ("size too large", right.size + 1),
    ] {
        cases.push((
            case,
            None,
            Descriptor {
                size,
                ..right.clone()
            },
            "size mismatch",
        ));
    }
    for (case, fault, descriptor, expect) in cases {
        if let Some(action) = fault {
            registry.fault("GET", "/blobs/", 100, action);
        }
        let error = download(&client, &name, &descriptor).await.expect_err(case);
        assert!(error.to_string().contains(expect), "{case}: {error}");
        registry.state().faults.clear();
    }
}

#[tokio::test]
async fn wrong_manifests_are_refused() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let pinned = reference(&registry, &format!("base@{}", image.descriptor.digest));
    registry.fault("GET", "/manifests/", 1, Action::FlipBit);
    let error = client
        .resolve(&pinned, &platform())
        .await
        .expect_err("not what was asked for");
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    let manifest = String::from_utf8(image.manifest.to_vec()).expect("text");
    let digest = image.config_descriptor.digest.as_str();
    let cases = [
        (
            "schema 1",
            MediaType::OCI_MANIFEST,
            r#"{"schemaVersion":1}"#.to_owned(),
            "schema version 1",
        ),
        (
            "not JSON",
            MediaType::OCI_MANIFEST,
            "<html>".to_owned(),
            "not a valid manifest",
        ),
        (
            "deep",
            MediaType::OCI_MANIFEST,
            "[".repeat(100_000),
            "not a valid manifest",
        ),
        (
            "another type",
            MediaType::OCI_INDEX,
            manifest.clone(),
            "media type",
        ),
        (
            "bad digest",
            MediaType::OCI_MANIFEST,
            manifest.replace(digest, "sha256:../../x"),
            "not a valid manifest",
        ),
        (
            "both",
            MediaType::OCI_MANIFEST,
            manifest.replacen('{', r#"{"manifests":[],"#, 1),
            "ambiguous",
        ),
        (
            "artifact",
            MediaType::OCI_MANIFEST,
            manifest.replace(MediaType::OCI_CONFIG, "application/x"),
            "configuration",
        ),
        (
            "too large",
            MediaType::OCI_MANIFEST,
            " ".repeat((8 << 20) + 1),
            "larger than",
        ),
        (
            "config of 1 GB",
            MediaType::OCI_MANIFEST,
            huge_config(&manifest),
            "more than",
        ),
    ];
    for (case, media_type, document, expect) in cases {
        registry.put_manifest("base", "bad", media_type, document);
        let result = client
            .resolve(&reference(&registry, "base:bad"), &platform())
            .await;
        let error = result.expect_err(case).to_string();
        assert!(error.contains(expect), "{case}: {error}");
    }
}

fn huge_config(manifest: &str) -> String {
    let mut document: serde_json::Value = serde_json::from_str(manifest).expect("JSON");
    document["config"]["size"] = 1_000_000_000_u64.into();
    document.to_string()
}

#[tokio::test]
async fn indexes_lead_to_the_platforms_image() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let on = |text: &str| {
        let platform = (!text.is_empty()).then(|| {
            let mut parts = text.split('/').map(str::to_owned);
            let mut platform = platform();
            platform.os = parts.next().expect("an os");
            platform.architecture = parts.next().expect("an architecture");
            platform.variant = parts.next();
            platform
        });
        Descriptor {
            platform,
            ..image.descriptor.clone()
        }
    };
    let elsewhere = |text: &str| Descriptor {
        digest: Digest::of(text.as_bytes()),
        ..on(text)
    };
    let index = |manifests: Vec<Descriptor>| {
        let media_type = Some(MediaType::OCI_INDEX.into());
        let index = Index {
            schema_version: 2,
            media_type,
            manifests,
            annotations: BTreeMap::new(),
        };
        serde_json::to_vec(&index).expect("JSON")
    };
    let cases = [
        (
            "linux/amd64",
            vec![
                elsewhere("linux/arm64"),
                elsewhere("unknown/unknown"),
                on("linux/amd64"),
            ],
            None,
        ),
        (
            "linux/arm64",
            vec![elsewhere("linux/amd64"), on("linux/arm64/v8")],
            None,
        ),
        (
            "linux/arm64/v8",
            vec![elsewhere("linux/amd64"), on("linux/arm64")],
            None,
        ),
        (
            "linux/arm/v7",
            vec![elsewhere("linux/arm/v6"), on("linux/arm/v7")],
            None,
        ),
        ("linux/amd64", vec![on("")], None),
        (
            "linux/s390x",
            vec![on("linux/amd64"), on("linux/arm64")],
            Some("it has linux/amd64, linux/arm64"),
        ),
        ("linux/amd64", vec![], Some("has no image for linux/amd64")),
        (
            "linux/amd64",
            vec![elsewhere("unknown/unknown")],
            Some("has no image for linux/amd64"),
        ),
    ];
    for (wanted, manifests, expect) in cases {
        registry.put_manifest("base", "multi", MediaType::OCI_INDEX, index(manifests));
        let wanted: Platform = wanted.parse().expect("a platform");
        let result = client
            .resolve(&reference(&registry, "base:multi"), &wanted)
            .await;
        match (result, expect) {
            (Ok(found), None) => {
                assert_eq!(found.descriptor.digest, image.descriptor.digest, "{wanted}");
            }
            (Err(error), Some(expect)) => {
                assert!(error.to_string().contains(expect), "{wanted}: {error}");
            }
            (Ok(_), Some(_)) => panic!("{wanted}: found"),
            (Err(error), None) => panic!("{wanted}: {error}"),
        }
    }
    let mut nested = index(vec![on("linux/amd64")]);
    for _ in 0..10 {
        let digest = registry.put_manifest("base", "nested", MediaType::OCI_INDEX, nested.clone());
        let inner = Descriptor::new(MediaType::OCI_INDEX, digest, nested.len() as u64);
        nested = index(vec![inner]);
    }
    let error = client
        .resolve(&reference(&registry, "base:nested"), &platform())
        .await
        .expect_err("too deep");
    assert!(matches!(error, Error::NestedIndex { .. }), "{error}");
}
