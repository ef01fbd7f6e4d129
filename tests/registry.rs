//! The registry room against registries: one inside the test with scripted faults, and the real docker-registry.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longshore::auth::{Credential, CredentialKind, Fixed};
use longshore::http::{Http, HttpConfig, RetryPolicy, Secret};
use longshore::oci::{
    Compression, Descriptor, Digest, ImageConfig, Index, MediaType, Platform, Reference,
};
use longshore::output::{
    Assembly, Format, Image, ImageLayer, LayerSource, Output, Reports, assemble, publish,
    remote_layers, write_reports,
};
use longshore::registry::{
    Action as For, BlobPush, BlobSource, BlobUpload, Client, Error, OnBytes, RegistryOptions,
};
use support::registry::{Action, Auth, IDENTITY, PASSWORD, Registry};

const LAYER_SIZE: usize = 3 << 20;

fn client_with(credentials: &[(String, CredentialKind)], options: RegistryOptions) -> Client {
    let credential = |kind: &CredentialKind| Credential {
        kind: kind.clone(),
        source: "the test".to_owned(),
    };
    let fixed = credentials
        .iter()
        .map(|(host, kind)| (host.clone(), credential(kind)))
        .collect();
    let config = HttpConfig {
        hosts: options.host_tls(),
        stall_timeout: Duration::from_millis(700),
        retry: RetryPolicy {
            first_wait: Duration::from_millis(5),
            ..RetryPolicy::default()
        },
        ..HttpConfig::default()
    };
    Client::new(
        Http::new(config).expect("HTTP clients"),
        Arc::new(Fixed(fixed)),
        options,
    )
}

fn client(registry: &Registry) -> Client {
    let password = CredentialKind::Password {
        username: "user".to_owned(),
        password: Secret::new(PASSWORD),
    };
    client_with(&[(registry.host(), password)], RegistryOptions::default())
}

fn reference(registry: &Registry, rest: &str) -> Reference {
    format!("{}/{rest}", registry.host())
        .parse()
        .expect("a reference")
}

/// Bytes that are not all alike.
fn noise(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn platform() -> Platform {
    "linux/amd64".parse().expect("a platform")
}

/// An image of two layers, whose bytes need not be a tar for a registry.
fn image(directory: &Path, format: Format) -> Image {
    let layers = [1, 2].map(|number| {
        let bytes = noise(LAYER_SIZE, number);
        let path = directory.join(format!("layer{number}"));
        std::fs::write(&path, &bytes).expect("a file");
        ImageLayer {
            descriptor: Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes),
            diff_id: Digest::of(&[number]),
            source: LayerSource::File(path),
        }
    });
    assemble(Assembly {
        config: ImageConfig::scratch(&platform()),
        layers: layers.into(),
        format,
        annotations: BTreeMap::new(),
    })
    .expect("an image")
}

async fn push(
    image: &Image,
    client: &Client,
    destinations: &[Reference],
) -> Result<(), longshore::output::Error> {
    let output = Output::Registry {
        destinations: destinations.into(),
        mount_from: Vec::new(),
    };
    publish(image, &[output], client, None).await.map(|_| ())
}

/// A registry with one image in `base`, and a client.
async fn with_image(auth: Auth) -> (Registry, Client, Image, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(auth);
    let client = client(&registry);
    let image = image(directory.path(), Format::Oci);
    push(&image, &client, &[reference(&registry, "base:v1")])
        .await
        .expect("a push");
    registry.state().requests.clear();
    (registry, client, image, directory)
}

async fn download(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("blob");
    let result = client
        .blob_to_file(reference, descriptor, &path, None)
        .await;
    let left = std::fs::read_dir(directory.path())
        .expect("the directory")
        .count();
    match result {
        Ok(()) => {
            assert_eq!(left, 1);
            Ok(std::fs::read(&path).expect("the blob"))
        }
        Err(error) => {
            assert_eq!(left, 0, "a failed download leaves nothing");
            Err(error)
        }
    }
}

#[tokio::test]
async fn what_is_pushed_is_pulled() {
    for auth in [
        Auth::Open,
        Auth::Basic,
        Auth::Bearer {
            uses: 1000,
            realm: None,
        },
    ] {
        for format in [Format::Oci, Format::Docker] {
            let directory = tempfile::tempdir().expect("a directory");
            let registry = Registry::start(auth.clone());
            let client = client(&registry);
            let image = image(directory.path(), format);
            let names = ["a/b:v1", "a/b:v2", "c:v1"].map(|name| reference(&registry, name));
            client
                .check_push(&names[0])
                .await
                .expect("the right to push");
            push(&image, &client, &names).await.expect("a push");
            for name in &names {
                let found = client.resolve(name, &platform()).await.expect("the image");
                assert_eq!(found.manifest_bytes, image.manifest);
                assert_eq!(found.config_bytes, image.config);
                assert_eq!(found.digest, image.descriptor.digest);
                assert_eq!(
                    client
                        .manifest_digest(name, For::Pull)
                        .await
                        .expect("an answer"),
                    Some(found.digest)
                );
            }
            let bytes = download(&client, &names[2], &image.layers[1].descriptor)
                .await
                .expect("a layer");
            assert_eq!(bytes, noise(LAYER_SIZE, 2));
            assert_eq!(registry.count("PUT", "a/b/blobs/uploads"), 3);
            assert_eq!(
                registry.count("PUT", "c/blobs/uploads"),
                0,
                "the second repository mounts from the first"
            );
        }
    }
}

#[tokio::test]
async fn tags_come_last() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (Registry::start(Auth::Open), Registry::start(Auth::Open));
    let client = client(&one);
    let image = image(directory.path(), Format::Oci);
    let names = [reference(&one, "a:v1"), reference(&two, "b:v1")];
    two.fault(
        "PUT",
        "/blobs/uploads/",
        1000,
        Action::Status(403, vec![], String::new()),
    );
    let error = push(&image, &client, &names).await.expect_err("refused");
    assert!(error.to_string().contains("403"), "{error}");
    for registry in [&one, &two] {
        assert!(
            registry.state().manifests.is_empty(),
            "nothing is tagged when a destination fails"
        );
    }
    two.state().faults.clear();
    push(&image, &client, &names).await.expect("a push");
    let requests = &one.state().requests;
    let tag = requests
        .iter()
        .position(|request| request.path.ends_with("/manifests/v1"))
        .expect("a tag");
    assert_eq!(tag, requests.len() - 1);
}

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
                assert_eq!(found.descriptor.digest, image.descriptor.digest, "{wanted}")
            }
            (Err(error), Some(expect)) => {
                assert!(error.to_string().contains(expect), "{wanted}: {error}")
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

#[tokio::test]
async fn uploads_survive_what_passes() {
    type Prepare = fn(&Registry);
    let cases: Vec<(&str, Prepare)> = vec![
        ("503 at the start", |r| {
            r.fault(
                "POST",
                "/blobs/uploads/",
                2,
                Action::Status(503, vec![], String::new()),
            )
        }),
        ("503 at the blob", |r| {
            r.fault(
                "PUT",
                "/blobs/uploads/",
                2,
                Action::Status(503, vec![], String::new()),
            )
        }),
        ("lost session", |r| {
            r.fault(
                "PUT",
                "/blobs/uploads/",
                1,
                Action::Status(404, vec![], String::new()),
            )
        }),
        ("no answer to the blob", |r| {
            r.fault("PUT", "/blobs/uploads/", 2, Action::DropAnswer)
        }),
        ("429", |r| {
            r.fault(
                "PUT",
                "/blobs/",
                1,
                Action::Status(429, vec![("retry-after", "0".to_owned())], String::new()),
            );
        }),
        ("no answer to the tag", |r| {
            r.fault("PUT", "/manifests/v1", 1, Action::DropAnswer)
        }),
        ("503 at the tag", |r| {
            r.fault(
                "PUT",
                "/manifests/v1",
                2,
                Action::Status(503, vec![], String::new()),
            )
        }),
        ("no HEAD", |r| {
            r.fault(
                "HEAD",
                "/blobs/",
                100,
                Action::Status(405, vec![], String::new()),
            )
        }),
        ("HEAD denied", |r| {
            r.fault(
                "HEAD",
                "/blobs/",
                100,
                Action::Status(403, vec![], String::new()),
            )
        }),
        ("HEAD lies", |r| {
            r.fault(
                "HEAD",
                "/blobs/",
                3,
                Action::Status(200, vec![], String::new()),
            )
        }),
        ("no upload at once", |r| {
            r.fault(
                "PUT",
                "/blobs/uploads/",
                1,
                Action::Status(405, vec![], String::new()),
            )
        }),
        ("1 MiB at most", |r| {
            r.state().largest_upload = Some(1 << 20)
        }),
        ("lost piece", |r| {
            r.state().largest_upload = Some(1 << 20);
            r.fault("PATCH", "/blobs/uploads/", 3, Action::DropAnswer);
        }),
    ];
    for (case, prepare) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::start(Auth::Open);
        prepare(&registry);
        let image = image(directory.path(), Format::Oci);
        let client = client(&registry);
        let name = reference(&registry, "a:v1");
        push(&image, &client, std::slice::from_ref(&name))
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        registry.state().faults.clear();
        for layer in &image.layers {
            let found = registry.blob("a", &layer.descriptor.digest);
            assert_eq!(
                found.map(|bytes| Digest::of(&bytes)),
                Some(layer.descriptor.digest.clone()),
                "{case}"
            );
        }
        assert_eq!(
            registry.manifest("a", "v1"),
            Some(image.manifest.clone()),
            "{case}"
        );
    }
}

#[tokio::test]
async fn what_does_not_pass_is_told_at_once() {
    let body = r#"{"errors":[{"code":"DENIED","message":"no \u001b[31m::error::rights"}]}"#;
    for status in [400, 403, 405, 412] {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::start(Auth::Open);
        registry.fault(
            "PUT",
            "/manifests/",
            100,
            Action::Status(status, vec![], body.to_owned()),
        );
        let image = image(directory.path(), Format::Oci);
        let error = push(&image, &client(&registry), &[reference(&registry, "a:v1")])
            .await
            .expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains(&status.to_string()) && text.contains("DENIED"),
            "{text}"
        );
        assert!(
            !text.contains('\u{1b}') && !text.contains("::error"),
            "{text}"
        );
        assert_eq!(
            registry.count("PUT", "/manifests/"),
            1,
            "{status} is not tried again"
        );
    }
    let registry = Registry::start(Auth::Open);
    registry.fault(
        "GET",
        "/manifests/",
        100,
        Action::Status(503, vec![], "x".repeat(1 << 20)),
    );
    let error = client(&registry)
        .manifest(&reference(&registry, "a:v1"))
        .await
        .expect_err("unavailable");
    let text = error.to_string();
    assert!(
        text.contains("503") && text.contains("tried 6 times") && text.len() < 1000,
        "{text}"
    );
}

#[tokio::test]
async fn a_tag_that_must_not_change_and_is_right_is_no_failure() {
    let (registry, client, image, directory) = with_image(Auth::Open).await;
    let name = [reference(&registry, "base:v1")];
    let refusal = r#"{"errors":[{"code":"TAG_INVALID","message":"the tag is immutable"}]}"#;
    registry.fault(
        "PUT",
        "/manifests/v1",
        100,
        Action::Status(400, vec![], refusal.to_owned()),
    );
    push(&image, &client, &name)
        .await
        .expect("the tag stands for this image already");
    let other = self::image(directory.path(), Format::Docker);
    let error = push(&other, &client, &name)
        .await
        .expect_err("the tag stands for another image");
    assert!(error.to_string().contains("TAG_INVALID"), "{error}");
}

#[tokio::test]
async fn tokens_are_shared_and_renewed() {
    let (registry, client, image, _directory) = with_image(Auth::Bearer {
        uses: 4,
        realm: None,
    })
    .await;
    let name = reference(&registry, "base:v1");
    for layer in &image.layers {
        for _ in 0..10 {
            download(&client, &name, &layer.descriptor)
                .await
                .expect("a layer");
        }
    }
    let renewed = registry.count("GET", "/token");
    assert!(
        (4..=7).contains(&renewed),
        "20 requests with 4 uses a token took {renewed} tokens"
    );

    let (registry, client, image, _directory) = with_image(Auth::Bearer {
        uses: 1000,
        realm: None,
    })
    .await;
    let name = reference(&registry, "base:v1");
    let descriptor = &image.layers[0].descriptor;
    let downloads = (0..8).map(|_| download(&client, &name, descriptor));
    for result in futures_util::future::join_all(downloads).await {
        result.expect("a layer");
    }
    assert_eq!(
        registry.count("GET", "/token"),
        1,
        "those who wait share one token"
    );
}

#[tokio::test]
async fn a_token_that_expires_during_a_push_is_renewed() {
    for uses in 1..6 {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::start(Auth::Bearer { uses, realm: None });
        let image = image(directory.path(), Format::Oci);
        let name = reference(&registry, "a:v1");
        let password = CredentialKind::Password {
            username: "user".to_owned(),
            password: Secret::new(PASSWORD),
        };
        let options = RegistryOptions {
            parallel_transfers: 1,
            ..RegistryOptions::default()
        };
        let client = client_with(&[(registry.host(), password)], options);
        push(&image, &client, &[name])
            .await
            .unwrap_or_else(|error| panic!("{uses} uses: {error}"));
    }
}

#[tokio::test]
async fn identity_tokens_are_exchanged() {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(Auth::Bearer {
        uses: 1000,
        realm: None,
    });
    let identity = CredentialKind::IdentityToken(Secret::new(IDENTITY));
    let client = client_with(&[(registry.host(), identity)], RegistryOptions::default());
    push(
        &image(directory.path(), Format::Oci),
        &client,
        &[reference(&registry, "a:v1")],
    )
    .await
    .expect("a push");
    assert_eq!(registry.count("POST", "/token"), 1);
    let leaked = |text: &str| text.contains(IDENTITY);
    let state = registry.state();
    let others = state
        .requests
        .iter()
        .filter(|request| !request.path.starts_with("/token"));
    assert!(
        !others
            .map(support::registry::Recorded::text)
            .any(|text| leaked(&text))
    );
}

#[tokio::test]
async fn refused_credentials_name_their_source_and_not_themselves() {
    for auth in [
        Auth::Basic,
        Auth::Bearer {
            uses: 1000,
            realm: None,
        },
    ] {
        let registry = Registry::start(auth);
        let wrong = CredentialKind::Password {
            username: "user".to_owned(),
            password: Secret::new("wrong-pa55"),
        };
        let client = client_with(&[(registry.host(), wrong)], RegistryOptions::default());
        let error = client
            .check_push(&reference(&registry, "a:v1"))
            .await
            .expect_err("refused");
        assert!(error.is_denied());
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("the credentials from the test") && !text.contains("wrong-pa55"),
            "{text}"
        );
        let tried = registry.state().requests.len();
        assert!(tried <= 5, "{tried} requests");

        let anonymous = client_with(&[], RegistryOptions::default());
        let error = anonymous
            .check_push(&reference(&registry, "a:v1"))
            .await
            .expect_err("refused");
        assert!(
            error.to_string().contains("refused anonymous access"),
            "{error}"
        );
    }
}

/// Everything that arrived at a server, as one text.
fn arrived(registry: &Registry) -> String {
    registry
        .state()
        .requests
        .iter()
        .map(|request| request.text() + "\n")
        .collect()
}

#[tokio::test]
async fn no_credential_goes_to_another_place() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"));
    let elsewhere = Registry::start(Auth::Basic);
    let place = format!("http://{}", elsewhere.host());
    let to = |path: &str| vec![("location", format!("{place}{path}"))];
    for auth in [
        Auth::Basic,
        Auth::Bearer {
            uses: 1000,
            realm: None,
        },
    ] {
        let (registry, client, image, directory) = with_image(auth.clone()).await;
        let name = reference(&registry, "base:v1");
        for status in [301, 302, 303, 307, 308] {
            registry.fault(
                "GET",
                "/blobs/",
                1,
                Action::Status(status, to("/blob"), String::new()),
            );
            client
                .blob(&name, &image.config_descriptor, 1 << 20)
                .await
                .expect_err("another place");
            registry.fault(
                "GET",
                "/manifests/",
                1,
                Action::Status(status, to("/v2/manifest"), String::new()),
            );
            client.manifest(&name).await.expect_err("another place");
            registry.fault(
                "POST",
                "/blobs/uploads/",
                1,
                Action::Status(status, to("/v2/x"), String::new()),
            );
            let _ = client.check_push(&name).await;
        }
        registry.fault(
            "POST",
            "/blobs/uploads/",
            1,
            Action::Status(202, to("/upload?_state=x"), String::new()),
        );
        let target = reference(&registry, "other:v1");
        let source = BlobSource::Bytes(Bytes::from_static(b"new"));
        let descriptor = Descriptor::of(MediaType::OCI_CONFIG, b"new");
        let upload = BlobUpload {
            target: &target,
            descriptor: &descriptor,
            source: &source,
            mount_from: &[],
            on_sent: None,
            is_forced: true,
        };
        let _ = client.push_blob(&upload).await;
        drop(directory);
    }
    let realm = Some(format!("{place}/token"));
    let registry = Registry::start(Auth::Bearer { uses: 1000, realm });
    let error = client(&registry)
        .check_push(&reference(&registry, "a:v1"))
        .await
        .expect_err("another realm");
    assert!(
        error.to_string().contains("another host without TLS"),
        "{error}"
    );

    let text = arrived(&elsewhere);
    assert!(
        elsewhere.state().requests.len() > 10,
        "the redirects were followed"
    );
    for secret in ["authorization", "Bearer", "token-", &encoded, PASSWORD] {
        assert!(!text.contains(secret), "{secret} arrived: {text}");
    }
}

#[tokio::test]
async fn redirects_are_followed_to_storage_and_end() {
    let (registry, client, image, _directory) = with_image(Auth::Basic).await;
    let name = reference(&registry, "base:v1");
    let storage = Registry::start(Auth::Open);
    let config = &image.config_descriptor;
    storage.put_blob("store", image.config.clone());
    let location = format!(
        "http://{}/v2/store/blobs/{}?X-Signature=abc",
        storage.host(),
        config.digest
    );
    registry.fault(
        "GET",
        "/blobs/",
        1,
        Action::Status(307, vec![("location", location)], String::new()),
    );
    assert_eq!(
        client.blob(&name, config, 1 << 20).await.expect("the blob"),
        image.config
    );
    assert_eq!(storage.count("GET", "X-Signature=abc"), 1);

    let around = vec![("location", "/v2/base/blobs/x".to_owned())];
    registry.fault(
        "GET",
        "/blobs/",
        100,
        Action::Status(302, around, String::new()),
    );
    let error = client
        .blob(&name, config, 1 << 20)
        .await
        .expect_err("a loop");
    assert!(
        error.to_string().contains("redirects more than 10 times"),
        "{error}"
    );
    registry.state().faults.clear();

    for (target, expect) in [
        ("http://169.254.169.254/latest/meta-data", "private address"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://[", "unusable location"),
    ] {
        let location = vec![("location", target.to_owned())];
        registry.fault(
            "GET",
            "/blobs/",
            1,
            Action::Status(302, location, String::new()),
        );
        let error = client.blob(&name, config, 1 << 20).await.expect_err(target);
        assert!(error.to_string().contains(expect), "{target}: {error}");
    }
}

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
            digest: Some(digest.clone()),
            ..Reports::default()
        };
        write_reports(&reports, &published, &names).expect("a file");
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

#[tokio::test]
async fn blobs_come_in_one_of_three_ways() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let (base, other) = (reference(&registry, "base"), reference(&registry, "other"));
    let source = BlobSource::Bytes(image.config.clone());
    let descriptor = &image.config_descriptor;
    let put = |target, from| {
        let upload = BlobUpload {
            target,
            descriptor,
            source: &source,
            mount_from: from,
            on_sent: None,
            is_forced: false,
        };
        let client = client.clone();
        async move { client.push_blob(&upload).await.expect("a blob") }
    };
    assert_eq!(put(&base, &[]).await, BlobPush::Existed);
    assert_eq!(
        put(&other, std::slice::from_ref(&base)).await,
        BlobPush::Mounted
    );
    assert_eq!(
        put(&reference(&registry, "third"), &[]).await,
        BlobPush::Uploaded
    );
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_a_clear_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let client = client_with(&[], RegistryOptions::default());
    let name: Reference = format!("{host}/a:v1").parse().expect("a reference");
    let error = client.check_push(&name).await.expect_err("nobody listens");
    let text = error.to_string();
    assert!(
        text.contains("cannot connect") && text.contains(&host) && text.contains("refused"),
        "{text}"
    );
}

/// The real docker-registry, run on a port of this machine; it ends when it is dropped.
struct RealRegistry {
    process: std::process::Child,
    host: String,
    directory: tempfile::TempDir,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl RealRegistry {
    /// Starts it with additional configuration, in which `DIR` stands for its directory; `None` if there is none.
    fn start(http: &str, rest: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let program = [
            "/usr/bin/docker-registry",
            "/usr/local/bin/registry",
            "/bin/registry",
        ]
        .into_iter()
        .find(|program| Path::new(program).exists());
        let Some(program) = program else {
            eprintln!("SKIPPED: docker-registry is not installed");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        prepare(directory.path());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let here = directory.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: DIR/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n  secret: x\n{http}{rest}"
        );
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config.replace("DIR", &here)).expect("a file");
        let process = std::process::Command::new(program)
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("docker-registry");
        let registry = Self {
            process,
            host: format!("127.0.0.1:{port}"),
            directory,
        };
        for _ in 0..200 {
            if std::net::TcpStream::connect(&registry.host).is_ok() {
                return Some(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not listen");
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host)
            .parse()
            .expect("a reference")
    }
}

/// Pushes an image to a real registry, pulls it back, and does so again with nothing to send.
async fn round_trip(client: &Client, registry: &RealRegistry) {
    let directory = tempfile::tempdir().expect("a directory");
    for format in [Format::Oci, Format::Docker] {
        let image = image(directory.path(), format);
        let names = ["a/b:v1", "a/b:v2", "c:v1"].map(|name| registry.reference(name));
        client
            .check_push(&names[0])
            .await
            .expect("the right to push");
        push(&image, client, &names).await.expect("a push");
        push(&image, client, &names)
            .await
            .expect("a push of what is there");
        for name in &names {
            let found = client.resolve(name, &platform()).await.expect("the image");
            assert_eq!(found.manifest_bytes, image.manifest);
            for (number, layer) in (1..).zip(&image.layers) {
                let bytes = download(client, name, &layer.descriptor)
                    .await
                    .expect("a layer");
                assert_eq!(bytes, noise(LAYER_SIZE, number));
            }
        }
        let missing = client
            .resolve(&registry.reference("a/b:absent"), &platform())
            .await
            .expect_err("absent");
        assert!(missing.is_not_found(), "{missing}");
    }
}

#[tokio::test]
async fn the_real_registry_takes_and_gives_images() {
    let Some(registry) = RealRegistry::start("", "", |_| {}) else {
        return;
    };
    round_trip(&client_with(&[], RegistryOptions::default()), &registry).await;
}

#[tokio::test]
async fn the_real_registry_asks_for_a_password() {
    // bcrypt of the test's password, cost 5.
    let Some(hash) = htpasswd() else { return };
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: DIR/htpasswd\n";
    let file = |directory: &Path| std::fs::write(directory.join("htpasswd"), hash).expect("a file");
    let Some(registry) = RealRegistry::start("", auth, file) else {
        return;
    };
    let password = |text: &str| CredentialKind::Password {
        username: "user".to_owned(),
        password: Secret::new(text),
    };
    let client = client_with(
        &[(registry.host.clone(), password(PASSWORD))],
        RegistryOptions::default(),
    );
    round_trip(&client, &registry).await;
    for credentials in [vec![], vec![(registry.host.clone(), password("wrong"))]] {
        let client = client_with(&credentials, RegistryOptions::default());
        let error = client
            .check_push(&registry.reference("a:v1"))
            .await
            .expect_err("refused");
        assert!(error.is_denied(), "{error}");
    }
}

/// A line of an htpasswd file for `user`.
fn htpasswd() -> Option<String> {
    let made = std::process::Command::new("htpasswd")
        .args(["-nbB", "user", PASSWORD])
        .output();
    match made {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).expect("text"))
        }
        _ => {
            eprintln!("SKIPPED: htpasswd is not installed");
            None
        }
    }
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    let script = "cd \"$1\" && \
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.pem \
            -subj /CN=test-ca -addext basicConstraints=critical,CA:TRUE && \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.csr -subj /CN=127.0.0.1 && \
        printf 'subjectAltName=IP:127.0.0.1' > ext && \
        openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out tls.pem";
    let mut is_made = false;
    let make = |directory: &Path| {
        let made = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(directory)
            .output();
        is_made = made.is_ok_and(|output| output.status.success());
    };
    if std::process::Command::new("openssl")
        .arg("version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED: openssl is not installed");
        return;
    }
    let tls = "  tls:\n    certificate: DIR/tls.pem\n    key: DIR/tls.key\n";
    let Some(registry) = RealRegistry::start(tls, "", make) else {
        return;
    };
    assert!(is_made, "openssl makes certificates");
    let authority = registry.directory.path().join("ca.pem");
    let host = registry.host.clone();
    let trusting = [
        RegistryOptions {
            certificates: [(host.clone(), vec![authority.clone()])].into(),
            ..RegistryOptions::default()
        },
        RegistryOptions {
            certificates: [("127.0.0.1".to_owned(), vec![authority])].into(),
            ..RegistryOptions::default()
        },
        RegistryOptions {
            skip_tls_verify: true,
            ..RegistryOptions::default()
        },
        RegistryOptions {
            skip_tls_verify_registries: [host].into(),
            ..RegistryOptions::default()
        },
    ];
    for options in trusting {
        round_trip(&client_with(&[], options), &registry).await;
    }
    let pull_only = client_with(
        &[],
        RegistryOptions {
            skip_tls_verify_pull: true,
            ..RegistryOptions::default()
        },
    );
    pull_only
        .resolve(&registry.reference("c:v1"), &platform())
        .await
        .expect("the image");
    for client in [pull_only, client_with(&[], RegistryOptions::default())] {
        client
            .check_push(&registry.reference("c:v1"))
            .await
            .expect_err("an unknown authority");
    }
}
