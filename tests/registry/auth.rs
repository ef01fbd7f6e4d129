//! Credentials: tokens, their renewal, and that none goes to another place.

use super::*;

#[tokio::test]
async fn tokens_are_shared_and_renewed() {
    let (registry, _, image, _directory) = with_image(Auth::Bearer {
        uses: 1000,
        realm: None,
    })
    .await;
    registry.state().auth = Auth::Bearer {
        uses: 4,
        realm: None,
    };
    let client = client(&registry);
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
