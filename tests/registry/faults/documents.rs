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
