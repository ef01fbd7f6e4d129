//! Writing to a registry that fails, refuses or has limits.

use super::*;

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
async fn registries_do_not_wait_for_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let (slow, quick) = (Registry::start(Auth::Open), Registry::start(Auth::Open));
    slow.state().delay = Duration::from_millis(250);
    let image = image(directory.path(), Format::Oci);
    let names = [reference(&slow, "a:v1"), reference(&quick, "a:v1")];
    push(&image, &client(&slow), &names).await.expect("a push");
    let last = |registry: &Registry, path: &str| {
        let state = registry.state();
        let mut puts = state.requests.iter().rev();
        puts.find(|request| request.method == "PUT" && request.path.contains(path))
            .expect("a write")
            .at
    };
    let blobs = "/blobs/uploads/";
    assert!(last(&quick, blobs) < last(&slow, blobs), "it has waited");
    // And still no name before all is everywhere.
    assert!(last(&quick, "/manifests/v1") > last(&slow, blobs));
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
            );
        }),
        ("503 at the blob", |r| {
            r.fault(
                "PUT",
                "/blobs/uploads/",
                2,
                Action::Status(503, vec![], String::new()),
            );
        }),
        ("lost session", |r| {
            r.fault(
                "PUT",
                "/blobs/uploads/",
                1,
                Action::Status(404, vec![], String::new()),
            );
        }),
        ("no answer to the blob", |r| {
            r.fault("PUT", "/blobs/uploads/", 2, Action::DropAnswer);
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
            r.fault("PUT", "/manifests/v1", 1, Action::DropAnswer);
        }),
        ("503 at the tag", |r| {
            r.fault(
                "PUT",
                "/manifests/v1",
                2,
                Action::Status(503, vec![], String::new()),
            );
        }),
        ("no HEAD", |r| {
            r.fault(
                "HEAD",
                "/blobs/",
                100,
                Action::Status(405, vec![], String::new()),
            );
        }),
        ("HEAD denied", |r| {
            r.fault(
                "HEAD",
                "/blobs/",
                100,
                Action::Status(403, vec![], String::new()),
            );
        }),
        ("HEAD lies", |r| {
            r.fault(
                "HEAD",
                "/blobs/",
                3,
                Action::Status(200, vec![], String::new()),
            );
        }),
        ("no upload at once", |r| {
            r.fault(
                "PUT",
                "/blobs/uploads/",
                1,
                Action::Status(405, vec![], String::new()),
            );
        }),
        ("1 MiB at most", |r| {
            r.state().largest_upload = Some(1 << 20);
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
