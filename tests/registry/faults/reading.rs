//! Answers that are wrong, and what is right in an unusual way.

use super::*;
use support::tls::{Certificate, Says};

#[tokio::test]
async fn row_05_a_range_that_is_refused_and_an_answer_without_an_end() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let name = reference(&registry, "base:v1");
    let descriptor = &image.layers[0].descriptor;
    // All bytes came: they are verified, and nothing is asked for at their end.
    registry.fault("GET", "/blobs/", 1, Action::NoEnd);
    let bytes = download(&client, &name, descriptor).await.expect("a layer");
    assert_eq!(bytes, noise(LAYER_SIZE, 1));
    assert_eq!(registry.count("GET", "/blobs/"), 1);
    // The rest is refused: all is asked for again.
    registry.state().requests.clear();
    registry.fault("GET", "/blobs/", 1, Action::CutBody(1_000_000));
    registry.fault(
        "GET",
        "/blobs/",
        1,
        Action::Status(416, vec![], String::new()),
    );
    let bytes = download(&client, &name, descriptor).await.expect("a layer");
    assert_eq!(bytes, noise(LAYER_SIZE, 1));
    let state = registry.state();
    let ranges: Vec<bool> = state
        .requests
        .iter()
        .map(|request| request.header("range").is_some())
        .collect();
    assert_eq!(ranges, [false, true, false]);
}

#[tokio::test]
async fn row_10_a_header_that_lies_about_the_digest_is_not_believed() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    registry.state().hides_digest = true;
    let lie = Digest::of(b"a lie").to_string();
    registry.fault(
        "GET",
        "/manifests/",
        100,
        Action::Header("docker-content-digest", lie),
    );
    for name in [
        reference(&registry, "base:v1"),
        reference(&registry, &format!("base@{}", image.descriptor.digest)),
    ] {
        let found = client.resolve(&name, &platform()).await.expect("the image");
        assert_eq!(found.digest, image.descriptor.digest);
        assert_eq!(found.descriptor.digest, image.descriptor.digest);
    }
}

#[tokio::test]
async fn row_11_a_manifest_without_end_is_left_at_the_limit() {
    const LIMIT: u64 = 8 << 20;
    const IN_SOCKETS: u64 = 64 << 20;
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    // Larger than containerd takes, and still read.
    let mut padded = image.manifest.to_vec();
    padded.resize((4 << 20) + 1, b' ');
    registry.put_manifest("base", "padded", MediaType::OCI_MANIFEST, padded);
    let name = reference(&registry, "base:padded");
    let found = client.resolve(&name, &platform()).await;
    assert_eq!(found.expect("the image").config_bytes, image.config);
    // What is in memory is at most what came, and what came is what the sockets hold beyond the limit.
    for length in [None, Some(1_000_000_000)] {
        let taken = Arc::new(AtomicU64::new(0));
        let endless = Action::Endless(length, Arc::clone(&taken));
        registry.fault("GET", "/manifests/", 1, endless);
        let error = client
            .resolve(&reference(&registry, "base:v1"), &platform())
            .await
            .expect_err("too large");
        let text = error.to_string();
        assert!(text.contains("larger than 8388608 bytes"), "{text}");
        assert!(registry.state().faults.iter().all(|fault| fault.times == 0));
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < LIMIT + IN_SOCKETS, "{length:?}: {taken} bytes");
    }
    // A configuration ends where its descriptor says.
    let taken = Arc::new(AtomicU64::new(0));
    let endless = Action::Endless(None, Arc::clone(&taken));
    registry.fault("GET", "/blobs/", 1, endless);
    let error = client
        .resolve(&reference(&registry, "base:v1"), &platform())
        .await
        .expect_err("too large");
    assert!(matches!(error, Error::Size { .. }), "{error}");
    assert!(taken.load(Ordering::Relaxed) < IN_SOCKETS);
}

#[tokio::test]
async fn row_14_sha512_is_verified() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let layer = Bytes::from(noise(LAYER_SIZE, 1));
    let of = |descriptor: &Descriptor, bytes: &[u8]| {
        let digest = sha512(bytes);
        Descriptor {
            digest,
            ..descriptor.clone()
        }
    };
    let layer_descriptor = of(&image.layers[0].descriptor, &layer);
    let config_descriptor = of(&image.config_descriptor, &image.config);
    // Sent under that name.
    let target = reference(&registry, "strong:v1");
    for (descriptor, bytes) in [
        (&layer_descriptor, layer.clone()),
        (&config_descriptor, image.config.clone()),
    ] {
        let upload = BlobUpload {
            target: &target,
            descriptor,
            source: &BlobSource::Bytes(bytes.clone()),
            mount_from: &[],
            on_sent: None,
            is_forced: false,
        };
        assert_eq!(
            client.push_blob(&upload).await.expect("a push"),
            BlobPush::Uploaded
        );
        assert_eq!(registry.blob("strong", &descriptor.digest), Some(bytes));
    }
    let mut document: serde_json::Value = serde_json::from_slice(&image.manifest).expect("JSON");
    document["config"]["digest"] = config_descriptor.digest.as_str().into();
    document["layers"] = serde_json::json!([&layer_descriptor, &layer_descriptor]);
    let document = Bytes::from(document.to_string());
    let descriptor = Descriptor::new(
        MediaType::OCI_MANIFEST,
        sha512(&document),
        document.len() as u64,
    );
    client
        .push_manifest(&target, descriptor.digest.as_str(), &descriptor, &document)
        .await
        .expect("a push");
    // And read by it.
    let name = reference(&registry, &format!("strong@{}", descriptor.digest));
    let found = client.resolve(&name, &platform()).await.expect("the image");
    assert_eq!(found.digest, descriptor.digest);
    assert_eq!(found.config_bytes, image.config);
    let bytes = download(&client, &name, &layer_descriptor).await;
    assert_eq!(bytes.expect("a layer"), layer);
    registry.fault("GET", "/blobs/", 2, Action::FlipBit);
    let error = download(&client, &name, &layer_descriptor)
        .await
        .expect_err("one bit is another");
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    registry.fault("GET", "/manifests/", 1, Action::FlipBit);
    let error = client.manifest(&name).await.expect_err("not the manifest");
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[tokio::test]
async fn row_19_foreign_layers_come_from_their_own_place_and_are_not_pushed() {
    let authority = Certificate::authority("test authority");
    let server = authority.sign(Says {
        hosts: &["127.0.0.1"],
        ..Says::default()
    });
    let elsewhere = Registry::start_tls(Auth::Open, server.server(&["http/1.1"]));
    let plain = Registry::start(Auth::Open);
    let (registry, _, image, directory) = with_image(Auth::Basic).await;
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("a file");
    let client = client_of(&registry, |config| config.ca_files.push(ca));

    let layer = noise(LAYER_SIZE, 9);
    let digest = elsewhere.put_blob("store", layer.clone());
    plain.put_blob("store", layer.clone());
    let media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let foreign = Descriptor {
        urls: vec![
            format!("http://{}/v2/store/blobs/{digest}", plain.host()),
            format!("https://{}/v2/store/blobs/{digest}", elsewhere.host()),
        ],
        ..Descriptor::new(media_type, digest.clone(), layer.len() as u64)
    };
    let mut document: serde_json::Value = serde_json::from_slice(&image.manifest).expect("JSON");
    document["layers"][0] = serde_json::to_value(&foreign).expect("JSON");
    registry.put_manifest(
        "base",
        "foreign",
        MediaType::OCI_MANIFEST,
        document.to_string(),
    );
    let name = reference(&registry, "base:foreign");

    let bytes = download(&client, &name, &foreign).await.expect("a layer");
    assert_eq!(bytes, layer);
    assert!(
        registry.count("GET", digest.as_str()) > 0,
        "the registry is asked first"
    );
    assert!(
        plain.state().requests.is_empty(),
        "only what is asked by https"
    );
    assert_eq!(elsewhere.count("GET", digest.as_str()), 1);
    let text = arrived(&elsewhere);
    assert!(!text.contains("authorization"), "{text}");

    elsewhere.fault("GET", "/blobs/", 2, Action::FlipBit);
    let error = download(&client, &name, &foreign)
        .await
        .expect_err("not that layer");
    assert!(matches!(error, Error::Digest { .. }), "{error}");

    let base = client.resolve(&name, &platform()).await.expect("the image");
    let derived = assemble(Assembly {
        config: base.config.clone(),
        layers: remote_layers(&base).expect("its layers"),
        format: Format::Oci,
        annotations: BTreeMap::new(),
    })
    .expect("an image");
    let other = Registry::start(Auth::Open);
    push(&derived, &client, &[reference(&other, "copy:v1")])
        .await
        .expect("a push");
    assert!(other.blob("copy", &digest).is_none(), "it is not sent");
    let pushed = other.manifest("copy", "v1").expect("a manifest");
    let pushed: serde_json::Value = serde_json::from_slice(&pushed).expect("JSON");
    assert_eq!(
        pushed["layers"][0],
        serde_json::to_value(&foreign).expect("JSON")
    );
}

#[tokio::test]
async fn row_33_answers_without_end_are_cut() {
    let endless = "x".repeat(4 << 20);
    let registry = Registry::start(Auth::Bearer {
        uses: 1000,
        realm: None,
    });
    registry.fault(
        "GET",
        "/token",
        100,
        Action::Status(200, vec![], endless.clone()),
    );
    let error = client(&registry)
        .manifest(&reference(&registry, "a:v1"))
        .await
        .expect_err("no token");
    let text = error.to_string();
    assert!(
        text.contains("larger than 65536 bytes") && text.len() < 500,
        "{text}"
    );
    for (body, expect) in [
        (endless, "xxx..."),
        (
            "<html>\n<h1>Bad \u{1b}[31mGateway</h1></html>".to_owned(),
            r"<html>\n<h1>Bad \u{1b}[31mGateway</h1></html>",
        ),
    ] {
        let registry = Registry::start(Auth::Open);
        registry.fault("GET", "/manifests/", 1, Action::Status(403, vec![], body));
        let error = client(&registry)
            .manifest(&reference(&registry, "a:v1"))
            .await
            .expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains("403") && text.contains(expect) && text.len() < 700,
            "{text}"
        );
    }
}

#[tokio::test]
async fn row_55_a_warning_is_told_once_escaped_and_cut() {
    use longshore::registry::Note;
    let (registry, client, _, _directory) = with_image(Auth::Open).await;
    let _ = client.take_notes();
    let long = format!("299 - \"{}\"", "x".repeat(5000));
    for text in [
        "299 - \"::error::old \u{9b}31m\"",
        &long,
        "199 - \"no\"",
        "nonsense",
    ] {
        registry.fault(
            "GET",
            "/manifests/",
            2,
            Action::Header("warning", text.to_owned()),
        );
    }
    for _ in 0..8 {
        let name = reference(&registry, "base:v1");
        client.manifest(&name).await.expect("a manifest");
    }
    let notes = client.take_notes();
    let texts: Vec<String> = notes
        .into_iter()
        .map(|note| match note {
            Note::Warning { registry: of, text } => {
                assert_eq!(of, registry.host());
                text
            }
            other @ Note::Credential { .. } => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        !texts[0].contains('\u{9b}') && !texts[0].contains("::"),
        "{texts:?}"
    );
    assert!(texts[1].len() < 600, "{texts:?}");
    assert!(client.take_notes().is_empty());
}
