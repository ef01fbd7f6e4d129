//! Manifests, indexes and digests that are not what they should be.

use super::*;

/// Puts documents in the place of a manifest and expects each to be refused with a text; no blob is ever asked for.
async fn refused(cases: Vec<(&str, &str, String, &str)>) {
    let (registry, client, _, _directory) = with_image(Auth::Open).await;
    for (case, media_type, document, expect) in cases {
        registry.put_manifest("base", "bad", media_type, document);
        let result = client
            .resolve(&reference(&registry, "base:bad"), &platform())
            .await;
        let error = result.expect_err(case).to_string();
        assert!(error.contains(expect), "{case}: {error}");
        assert!(error.len() < 1000, "{case}: {} bytes of text", error.len());
    }
    assert_eq!(registry.count("GET", "/blobs/"), 0);
}

async fn right_manifest() -> (String, Image) {
    let (_, _, image, _directory) = with_image(Auth::Open).await;
    let document: serde_json::Value = serde_json::from_slice(&image.manifest).expect("JSON");
    // Without blanks between.
    (document.to_string(), image)
}

#[tokio::test]
async fn row_12_json_that_is_no_manifest_is_refused() {
    let (manifest, image) = right_manifest().await;
    let size = format!("\"size\":{}", image.config_descriptor.size);
    let with_size = |text: &str| manifest.replacen(&size, &format!("\"size\":{text}"), 1);
    let without = |key: &str| {
        let mut document: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        document.as_object_mut().expect("an object").remove(key);
        document.to_string()
    };
    let twice = manifest.replacen('{', r#"{"config":{},"#, 1);
    let cases = [
        ("depth", "[".repeat(100_000)),
        (
            "depth in a field",
            format!(r#"{{"schemaVersion":2,"x":{}"#, "{\"x\":".repeat(100_000)),
        ),
        ("a key twice", twice),
        ("NaN", with_size("NaN")),
        ("negative", with_size("-1")),
        ("2^63", with_size("9223372036854775808")),
        ("1e400", with_size("1e400")),
        ("a text as size", with_size("\"12\"")),
        ("no layers", without("layers")),
        ("no configuration", without("config")),
        ("a byte order mark", format!("\u{feff}{manifest}")),
        ("cut", manifest[..manifest.len() / 2].to_owned()),
        ("nothing", String::new()),
    ];
    let cases = cases.map(|(case, document)| {
        (
            case,
            MediaType::OCI_MANIFEST,
            document,
            "not a valid manifest",
        )
    });
    refused(cases.into()).await;
    refused(vec![(
        "no version",
        MediaType::OCI_MANIFEST,
        without("schemaVersion"),
        "schema version 0",
    )])
    .await;
}

#[tokio::test]
async fn row_13_a_text_that_is_no_digest_gets_into_no_url() {
    let (manifest, image) = right_manifest().await;
    let right = image.config_descriptor.digest.as_str();
    let long = "a".repeat(65);
    let texts = [
        right.to_uppercase(),
        right.replace("sha256:", "sha256:A")[..right.len()].to_owned(),
        right[..70].to_owned(),
        format!("sha256:{long}"),
        "sha256:../../x".to_owned(),
        "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        right.replace("sha256", "sha384"),
        right.replace("sha256:", ""),
        String::new(),
    ];
    for text in &texts {
        let document = manifest.replace(right, text);
        refused(vec![(
            text.as_str(),
            MediaType::OCI_MANIFEST,
            document,
            "not a valid manifest",
        )])
        .await;
        if !text.is_empty() {
            assert!(
                format!("registry.test/a@{text}")
                    .parse::<Reference>()
                    .is_err()
            );
        }
    }
}

#[tokio::test]
async fn row_15_a_document_of_two_kinds_is_refused() {
    let (manifest, _) = right_manifest().await;
    let own_type = format!("\"mediaType\":\"{}\"", MediaType::OCI_MANIFEST);
    assert!(manifest.contains(&own_type), "{manifest}");
    let cases = vec![
        (
            "served as an index",
            MediaType::OCI_INDEX,
            manifest.clone(),
            "ambiguous",
        ),
        (
            "calls itself an index",
            MediaType::OCI_MANIFEST,
            manifest.replace(
                &own_type,
                &format!("\"mediaType\":\"{}\"", MediaType::OCI_INDEX),
            ),
            "ambiguous",
        ),
        (
            "has layers and manifests",
            MediaType::OCI_MANIFEST,
            manifest.replacen('{', r#"{"manifests":[],"#, 1),
            "ambiguous",
        ),
        (
            "is an index with layers",
            MediaType::OCI_INDEX,
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"layers":[]}}"#,
                MediaType::OCI_INDEX
            ),
            "ambiguous",
        ),
    ];
    refused(cases).await;
}

#[tokio::test]
async fn row_20_embedded_content_is_verified() {
    use base64::Engine as _;
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    for (data, is_right) in [
        (encode(&image.config), true),
        (encode(b"something else"), false),
        (encode(&image.config[1..]), false),
        ("no base64".to_owned(), false),
    ] {
        let mut document: serde_json::Value =
            serde_json::from_slice(&image.manifest).expect("JSON");
        document["config"]["data"] = data.into();
        registry.put_manifest(
            "base",
            "carrying",
            MediaType::OCI_MANIFEST,
            document.to_string(),
        );
        let result = client
            .resolve(&reference(&registry, "base:carrying"), &platform())
            .await;
        match result {
            Ok(found) => {
                assert!(is_right);
                assert_eq!(found.config_bytes, image.config);
            }
            Err(error) => {
                assert!(!is_right, "{error}");
                assert!(error.to_string().contains("is other content"), "{error}");
            }
        }
    }
}

/// An index with these manifests.
fn index_of(manifests: Vec<Descriptor>) -> Vec<u8> {
    let index = Index {
        schema_version: 2,
        media_type: Some(MediaType::OCI_INDEX.into()),
        manifests,
        annotations: BTreeMap::new(),
    };
    serde_json::to_vec(&index).expect("JSON")
}

#[tokio::test]
async fn row_16_indexes_may_be_large_and_deep_up_to_a_limit() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let put = |tag: &str, manifests: Vec<Descriptor>| {
        let bytes = index_of(manifests);
        let size = bytes.len() as u64;
        let digest = registry.put_manifest("base", tag, MediaType::OCI_INDEX, bytes);
        Descriptor::new(MediaType::OCI_INDEX, digest, size)
    };
    let resolve = async |tag: &str| {
        let name = reference(&registry, &format!("base:{tag}"));
        client.resolve(&name, &platform()).await
    };
    let on = |architecture: &str, descriptor: &Descriptor| Descriptor {
        platform: Some(format!("linux/{architecture}").parse().expect("a platform")),
        ..descriptor.clone()
    };

    // Four levels are read, each by its digest; a fifth is not.
    let mut inner = on("amd64", &image.descriptor);
    for level in 1..=5 {
        inner = put(&format!("level{level}"), vec![inner]);
        let found = resolve(&format!("level{level}")).await;
        if level == 5 {
            let error = found.expect_err("too deep");
            assert!(matches!(error, Error::NestedIndex { .. }), "{error}");
            assert!(error.to_string().contains('4'), "{error}");
        } else {
            let found = found.expect("the image");
            assert_eq!(found.descriptor.digest, image.descriptor.digest);
            assert_eq!(found.indexes.len(), level);
        }
    }

    // Ten thousand entries, of which the last is ours, or none.
    let mut many: Vec<Descriptor> = (0..10_000)
        .map(|number| on(&format!("cpu{number}"), &image.descriptor))
        .collect();
    put("none", many.clone());
    many.push(on("amd64", &image.descriptor));
    put("many", many);
    let found = resolve("many").await.expect("the image");
    assert_eq!(found.descriptor.digest, image.descriptor.digest);
    let error = resolve("none").await.expect_err("not ours").to_string();
    assert!(
        error.contains("linux/cpu0") && error.contains("more") && error.len() < 1000,
        "{error}"
    );

    // One that names itself cannot have the digest that it names: it is read twice, not for ever.
    let own = Digest::of(b"no index has this digest");
    let mut entry = on(
        "amd64",
        &Descriptor::new(MediaType::OCI_INDEX, own.clone(), 0),
    );
    for _ in 0..3 {
        entry.size = index_of(vec![entry.clone()]).len() as u64;
    }
    let bytes = index_of(vec![entry]);
    registry.put_manifest("base", "self", MediaType::OCI_INDEX, bytes.clone());
    let key = ("base".to_owned(), own.to_string());
    let served = (MediaType::OCI_INDEX.to_owned(), bytes.into());
    registry.state().manifests.insert(key, served);
    registry.state().requests.clear();
    let error = resolve("self").await.expect_err("not what it says");
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert_eq!(registry.count("GET", "/manifests/"), 2);
}

#[tokio::test]
async fn row_18_what_is_no_image_is_told_apart_from_one_without_layers() {
    let (manifest, image) = right_manifest().await;
    let with = |key: &str, value: serde_json::Value| {
        let mut document: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
        document[key] = value;
        document.to_string()
    };
    let first = "application/vnd.docker.distribution.manifest.v1";
    let signed = format!("{first}+prettyjws");
    let unsigned = format!("{first}+json");
    let schema1 = r#"{"schemaVersion":1,"name":"a","tag":"v1","architecture":"amd64",
        "fsLayers":[{"blobSum":"sha256:aaaa"}],"history":[{"v1Compatibility":"{}"}],"signatures":[{}]}"#;
    let empty = serde_json::json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
        "digest": Digest::of(b"{}").as_str()});
    let cases = [
        ("signed", signed.as_str(), schema1.to_owned(), "schema"),
        ("not signed", &unsigned, schema1.to_owned(), "schema"),
        (
            "an artifact",
            MediaType::OCI_MANIFEST,
            with("config", empty),
            "which is no image's",
        ),
    ];
    refused(cases.into()).await;

    // A configuration of no bytes is none.
    let (registry, client, _, _directory) = with_image(Auth::Open).await;
    registry.put_blob("base", Bytes::new());
    let nothing = Descriptor::of(MediaType::OCI_CONFIG, b"");
    let document = with("config", serde_json::to_value(&nothing).expect("JSON"));
    registry.put_manifest("base", "zero", MediaType::OCI_MANIFEST, document);
    let name = reference(&registry, "base:zero");
    let error = client.resolve(&name, &platform()).await.expect_err("none");
    assert!(matches!(error, Error::Config { .. }), "{error}");

    // An image without layers is an image.
    let mut config: serde_json::Value = serde_json::from_slice(&image.config).expect("JSON");
    config["rootfs"]["diff_ids"] = serde_json::json!([]);
    config["history"] = serde_json::json!([]);
    let config = config.to_string();
    let descriptor = Descriptor::of(MediaType::OCI_CONFIG, config.as_bytes());
    registry.put_blob("base", config);
    let mut document: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    document["config"] = serde_json::to_value(&descriptor).expect("JSON");
    document["layers"] = serde_json::json!([]);
    let document = document.to_string();
    registry.put_manifest("base", "bare", MediaType::OCI_MANIFEST, document);
    let name = reference(&registry, "base:bare");
    let found = client.resolve(&name, &platform()).await.expect("an image");
    assert!(found.manifest.layers.is_empty());
    assert_eq!(found.descriptor.media_type, MediaType::OCI_MANIFEST);
}
