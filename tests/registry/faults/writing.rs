//! Uploads that are lied to, and many of them.

use super::*;

fn in_pieces(registry: &Registry) {
    registry.state().largest_upload = Some(1 << 20);
}

/// Pushes one blob in pieces; gives how it ended.
async fn push_layer(registry: &Registry, client: &Client) -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("layer");
    let bytes = noise(LAYER_SIZE, 1);
    std::fs::write(&path, &bytes).expect("a file");
    let descriptor = Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes);
    let target = reference(registry, "a:v1");
    let upload = BlobUpload {
        target: &target,
        descriptor: &descriptor,
        source: &BlobSource::File(path),
        mount_from: &[],
        on_sent: None,
        is_forced: false,
    };
    client.push_blob(&upload).await?;
    assert_eq!(
        registry.blob("a", &descriptor.digest),
        Some(Bytes::from(bytes)),
        "what is there is what was sent"
    );
    Ok(())
}

#[tokio::test]
async fn row_36_an_upload_whose_state_is_a_lie_is_begun_anew() {
    for (case, range) in [
        ("ahead", "0-2097151"),
        ("far ahead", "0-99999999999"),
        ("behind", "0-99"),
        ("nonsense", "bytes"),
        ("backwards", "100-50"),
    ] {
        let registry = Registry::start(Auth::Open);
        in_pieces(&registry);
        registry.fault("PATCH", "/blobs/uploads/", 2, Action::DropAnswer);
        registry.fault(
            "GET",
            "/blobs/uploads/",
            2,
            Action::Status(204, vec![("range", range.to_owned())], String::new()),
        );
        push_layer(&registry, &client(&registry))
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
    }
    // A registry that always loses something is told as such, after some tries.
    let registry = Registry::start(Auth::Open);
    in_pieces(&registry);
    let refusal = r#"{"errors":[{"code":"DIGEST_INVALID","message":"not what was sent"}]}"#;
    registry.fault(
        "PUT",
        "digest=",
        1000,
        Action::Status(400, vec![], refusal.to_owned()),
    );
    let error = push_layer(&registry, &client(&registry))
        .await
        .expect_err("always refused");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    let tries = registry.count("PUT", "digest=");
    assert!((5..=14).contains(&tries), "{tries} tries");
}

#[tokio::test]
async fn row_37_a_piece_at_the_wrong_place_is_sent_at_the_right_one() {
    let registry = Registry::start(Auth::Open);
    in_pieces(&registry);
    let client = client(&registry);
    // The first three are too large.
    registry.fault(
        "PATCH",
        "/blobs/uploads/",
        1,
        Action::Status(416, vec![], String::new()),
    );
    push_layer(&registry, &client).await.expect("a push");
    assert!(
        registry.count("GET", "/blobs/uploads/") > 0,
        "the registry was asked where it is"
    );
}

#[tokio::test]
async fn row_46_the_digest_that_was_pushed_is_told_whoever_writes_last() {
    let (registry, client, image, directory) = with_image(Auth::Open).await;
    let other = self::image(directory.path(), Format::Docker);
    let name = reference(&registry, "base:v1");
    let output = Output::Registry {
        destinations: vec![name.clone()],
        mount_from: Vec::new(),
        ignores_immutable: false,
    };
    // Two jobs at the same time, again and again: each is told what it pushed, and the tag is one of them, whole.
    for _ in 0..10 {
        let outputs = [output.clone()];
        let (one, two) = tokio::join!(
            publish(&image, &outputs, &client, None),
            publish(&other, &outputs, &client, None),
        );
        assert_eq!(one.expect("a push").descriptor, image.descriptor);
        assert_eq!(two.expect("a push").descriptor, other.descriptor);
        let tagged = client.manifest(&name).await.expect("a manifest");
        assert!(
            [&image.manifest, &other.manifest].contains(&&tagged.bytes),
            "the tag stands for one of both"
        );
    }
}

#[tokio::test]
async fn row_50_an_upload_that_stalls_is_noticed_and_sent_again() {
    let registry = Registry::start(Auth::Open);
    let directory = tempfile::tempdir().expect("a directory");
    // More than what fits into the buffers of a connection.
    let bytes = noise(48 << 20, 1);
    let path = directory.path().join("layer");
    std::fs::write(&path, &bytes).expect("a file");
    let descriptor = Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes);
    let target = reference(&registry, "a:v1");
    let client = client_of(&registry, |config| {
        config.stall_timeout = Duration::from_secs(1);
        // The time for an answer after the last byte is not what ends it.
        config.commit_timeout = Duration::from_mins(5);
    });
    registry.fault(
        "PUT",
        "/blobs/uploads/",
        2,
        Action::NoRead(Duration::from_mins(5)),
    );
    let upload = BlobUpload {
        target: &target,
        descriptor: &descriptor,
        source: &BlobSource::File(path),
        mount_from: &[],
        on_sent: None,
        is_forced: false,
    };
    let begin = std::time::Instant::now();
    client.push_blob(&upload).await.expect("a push");
    let took = begin.elapsed();
    assert!(took < Duration::from_mins(1), "{took:?}");
    assert!(registry.blob("a", &descriptor.digest).is_some());
    assert_eq!(registry.count("POST", "/blobs/uploads/"), 3);
}

#[tokio::test]
async fn row_58_many_jobs_with_many_layers_keep_to_the_limit() {
    const LAYERS: u8 = 50;
    let registry = Registry::start(Auth::Open);
    registry.state().delay = Duration::from_millis(10);
    let blobs: Vec<(Descriptor, Bytes)> = (0..LAYERS)
        .map(|number| {
            let bytes = Bytes::from(noise(2000, number));
            (
                Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes),
                bytes,
            )
        })
        .collect();
    let job = |number: usize, client: Client| {
        let (registry, blobs) = (&registry, &blobs);
        async move {
            let target = reference(registry, &format!("job{number}:v1"));
            let pushes = blobs.iter().map(|(descriptor, bytes)| {
                let (client, target) = (&client, &target);
                async move {
                    let upload = BlobUpload {
                        target,
                        descriptor,
                        source: &BlobSource::Bytes(bytes.clone()),
                        mount_from: &[],
                        on_sent: None,
                        is_forced: false,
                    };
                    client.push_blob(&upload).await.expect("a push");
                    download(client, target, descriptor).await.expect("a layer");
                }
            });
            futures_util::future::join_all(pushes).await;
        }
    };
    let client_of_job = || client_with(&[], RegistryOptions::default());
    job(0, client_of_job()).await;
    let alone = registry.state().most_in_flight;
    assert!(
        (2..=4).contains(&alone),
        "{alone} transfers at the same time"
    );
    let jobs = (1..=20).map(|number| job(number, client_of_job()));
    futures_util::future::join_all(jobs).await;
    let together = registry.state().most_in_flight;
    assert!(together <= 80, "{together} transfers of 20 jobs");
    assert_eq!(
        registry.state().blobs.len(),
        21 * usize::from(LAYERS),
        "all is there"
    );
}

#[tokio::test]
async fn row_27_a_mount_that_is_denied_is_an_upload() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    for status in [401, 403, 404, 500] {
        registry.state().faults.clear();
        registry.fault(
            "POST",
            "mount=",
            100,
            Action::Status(status, vec![], String::new()),
        );
        registry.fault(
            "HEAD",
            "/blobs/",
            100,
            Action::Status(status.min(403), vec![], String::new()),
        );
        let target = reference(&registry, &format!("other{status}:v1"));
        let from = [reference(&registry, "base:v1")];
        let upload = BlobUpload {
            target: &target,
            descriptor: &image.config_descriptor,
            source: &BlobSource::Bytes(image.config.clone()),
            mount_from: &from,
            on_sent: None,
            is_forced: false,
        };
        let pushed = client.push_blob(&upload).await;
        assert_eq!(pushed.expect("a push"), BlobPush::Uploaded, "{status}");
    }
    registry.state().faults.clear();
    registry.fault(
        "POST",
        "/blobs/uploads/",
        100,
        Action::Status(403, vec![], String::new()),
    );
    let error = push(&image, &client, &[reference(&registry, "last:v1")])
        .await
        .expect_err("the upload itself is denied");
    assert!(error.to_string().contains("403"), "{error}");
}

#[tokio::test]
async fn row_34_what_a_server_says_shows_no_secret_and_commands_nothing() {
    let tokens: Vec<String> = (0..40).map(|number| format!("<token-{number}>")).collect();
    let said = format!(
        "::add-mask::x \u{1b}[2J##[error]y you sent {} which is {PASSWORD}, or {}",
        basic(),
        tokens.join("")
    );
    let body = serde_json::json!({"errors": [{"code": "DENIED", "message": said}]}).to_string();
    let bearer = Auth::Bearer {
        uses: 1000,
        realm: None,
    };
    for (auth, path) in [
        (Auth::Basic, "/manifests/"),
        (bearer.clone(), "/token"),
        (bearer, "/manifests/"),
    ] {
        let (registry, _, _, _directory) = with_image(auth).await;
        registry.fault("GET", path, 100, Action::Status(403, vec![], body.clone()));
        let error = client(&registry)
            .manifest(&reference(&registry, "base:v1"))
            .await
            .expect_err("refused");
        let sent: Vec<String> = {
            let state = registry.state();
            let asked = state.requests.iter().filter(|r| r.path.contains(path));
            let values = asked.filter_map(|request| request.header("authorization"));
            values
                .filter_map(|value| Some(value.split_once(' ')?.1.to_owned()))
                .collect()
        };
        assert!(!sent.is_empty(), "{path}");
        let text = format!("{error} {error:?}");
        for secret in sent {
            // The whole of it: `token-1` is a part of `token-12`.
            let secret = match secret.strip_prefix("token-") {
                Some(number) => format!("<token-{number}>"),
                None => secret,
            };
            assert!(!text.contains(&secret), "{secret}: {text}");
            if secret == basic() {
                assert!(!text.contains(PASSWORD), "{text}");
            }
        }
        for command in ["::add-mask", "##[", "\u{1b}"] {
            assert!(!error.to_string().contains(command), "{command}: {error}");
        }
    }
}

#[tokio::test]
async fn row_38_pieces_are_as_large_as_the_registry_wants_them() {
    const LEAST: u64 = 3 << 20;
    let source = Registry::start(Auth::Open);
    let bytes = noise(10 << 20, 1);
    source.put_blob("base", bytes.clone());
    let descriptor = Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("layer");
    std::fs::write(&path, &bytes).expect("a file");
    for (case, from, least, most) in [
        ("a file", BlobSource::File(path), LEAST, 4 << 20),
        // More than what is held of a remote blob when nothing is said.
        (
            "another registry's",
            BlobSource::Remote(reference(&source, "base:v1")),
            5 << 20,
            6 << 20,
        ),
    ] {
        let registry = Registry::start(Auth::Open);
        registry.state().largest_upload = Some(most);
        registry.fault(
            "POST",
            "/blobs/uploads/",
            100,
            Action::Header("oci-chunk-min-length", least.to_string()),
        );
        let target = reference(&registry, "a:v1");
        let upload = BlobUpload {
            target: &target,
            descriptor: &descriptor,
            source: &from,
            mount_from: &[],
            on_sent: None,
            is_forced: false,
        };
        client(&registry)
            .push_blob(&upload)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(registry.blob("a", &descriptor.digest).is_some());
        let sizes: Vec<usize> = {
            let state = registry.state();
            let pieces = state.requests.iter().filter(|r| r.method == "PATCH");
            let taken = pieces.map(|r| r.body.len()).filter(|size| *size <= most);
            taken.collect()
        };
        let (last, others) = sizes.split_last().expect("pieces");
        assert!(*last > 0 && !others.is_empty(), "{case}: {sizes:?}");
        for size in others {
            assert!(*size as u64 >= least, "{case}: {sizes:?}");
        }
    }
}
