//! Waiting as asked, tokens and passwords that expire, and who else asks for one.

use super::*;
use futures_util::future::BoxFuture;
use longshore::auth::{self, Keychain};
use std::time::Instant;

#[tokio::test]
async fn row_21_the_time_that_a_registry_asks_for_is_waited() {
    let seconds = |text: &str| vec![("retry-after", text.to_owned())];
    let date = vec![
        ("date", "Sun, 06 Nov 1994 08:49:30 GMT".to_owned()),
        ("retry-after", "Sun, 06 Nov 1994 08:49:31 GMT".to_owned()),
    ];
    let cases = [
        ("seconds", seconds("1"), Some(1.0..1.9)),
        ("a date", date, Some(1.0..1.9)),
        ("absent", vec![], Some(0.0..0.9)),
        ("nonsense", seconds("soon"), Some(0.0..0.9)),
        // Two minutes at most, and those are more than this client may wait in all.
        ("30 years", seconds("1000000000"), None),
    ];
    let runs = cases.map(|(case, headers, expect)| async move {
        let (registry, _, _, _directory) = with_image(Auth::Open).await;
        let client = client_of(&registry, |config| {
            config.retry.budget = Duration::from_secs(119);
        });
        let name = reference(&registry, "base:v1");
        client.manifest(&name).await.expect("a manifest");
        registry.state().requests.clear();
        registry.fault(
            "GET",
            "/manifests/",
            1,
            Action::Status(429, headers, String::new()),
        );
        let begin = Instant::now();
        let result = client.manifest(&name).await;
        let took = begin.elapsed().as_secs_f64();
        if let Some(range) = expect {
            result.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(range.contains(&took), "{case}: {took} s");
            assert_eq!(registry.count("GET", "/manifests/"), 2, "{case}");
        } else {
            let error = result.expect_err(case).to_string();
            assert!(error.contains("429"), "{case}: {error}");
            assert!(took < 0.9, "{case}: {took} s");
        }
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn row_25_tokens_are_renewed_before_they_expire_and_not_more_often() {
    let cases = [
        (r#""expires_in":1"#, 2),
        ("", 1),
        (r#""expires_in":1e300"#, 1),
        (r#""expires_in":0"#, 1),
        (r#""expires_in":-60"#, 1),
        // Clocks that differ do not matter: the time is counted from the answer on.
        (r#""expires_in":300,"issued_at":"1994-11-06T08:49:30Z""#, 1),
        (r#""expires_in":300,"issued_at":"2999-11-06T08:49:30Z""#, 1),
    ];
    let runs = cases.map(|(lifetime, expect)| async move {
        let bearer = Auth::Bearer {
            uses: 1000,
            realm: None,
        };
        let (registry, _, _, _directory) = with_image(bearer).await;
        registry.state().token_lifetime = Some(lifetime.to_owned());
        let client = client(&registry);
        let name = reference(&registry, "base:v1");
        for _ in 0..5 {
            client.manifest(&name).await.expect("a manifest");
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for _ in 0..5 {
            client.manifest(&name).await.expect("a manifest");
        }
        let tokens = registry.count("GET", "/token");
        assert!(
            // On a slow machine the first five take longer than a second.
            tokens == expect || (expect == 2 && tokens > 2),
            "{lifetime}: {tokens} tokens"
        );
        // None was refused: nothing was asked for twice.
        assert_eq!(registry.count("GET", "/manifests/"), 10, "{lifetime}");
    });
    futures_util::future::join_all(runs).await;
}

/// Knows an old password, and the right one once the old one was refused.
#[derive(Debug, Default)]
struct Rotating {
    is_forgotten: std::sync::atomic::AtomicBool,
    asked: AtomicU64,
}

impl Keychain for Rotating {
    fn resolve<'a>(
        &'a self,
        _registry: &'a str,
        _repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, auth::Error>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let password = if self.is_forgotten.load(Ordering::Relaxed) {
            PASSWORD
        } else {
            "the-password-of-yesterday"
        };
        let credential = Credential {
            kind: CredentialKind::Password {
                username: "user".to_owned(),
                password: Secret::new(password),
            },
            source: "the test".to_owned(),
        };
        Box::pin(std::future::ready(Ok(Some(credential))))
    }

    fn forget(&self, _registry: &str) {
        self.is_forgotten.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn row_28_credentials_that_have_expired_are_made_anew() {
    for (case, auth) in [
        ("401", Auth::Basic),
        (
            "401 of the token server",
            Auth::Bearer {
                uses: 1000,
                realm: None,
            },
        ),
        ("403 that says expired", Auth::Basic),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let registry = Registry::start(auth);
        let keychain = Arc::new(Rotating::default());
        if case.starts_with("403") {
            keychain.is_forgotten.store(true, Ordering::Relaxed);
            registry.fault(
                "PUT",
                "/blobs/uploads/",
                1,
                Action::Status(
                    403,
                    vec![],
                    r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#.to_owned(),
                ),
            );
        }
        let http = HttpConfig {
            retry: RetryPolicy {
                first_wait: Duration::from_millis(5),
                ..RetryPolicy::default()
            },
            ..HttpConfig::default()
        };
        let client = Client::new(
            Http::new(http).expect("HTTP clients"),
            Arc::clone(&keychain) as Arc<dyn Keychain>,
            RegistryOptions::default(),
        );
        let image = image(directory.path(), Format::Oci);
        let name = reference(&registry, "a:v1");
        client
            .check_push(&name)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        push(&image, &client, std::slice::from_ref(&name))
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(registry.manifest("a", "v1"), Some(image.manifest.clone()));
        let asked = keychain.asked.load(Ordering::Relaxed);
        assert!((2..=6).contains(&asked), "{case}: asked {asked} times");
    }
}

#[tokio::test]
async fn row_30_where_a_redirect_leads_a_token_of_nobody_is_asked_for() {
    let (registry, client, image, _directory) = with_image(Auth::Basic).await;
    let name = reference(&registry, "base:v1");
    let config = &image.config_descriptor;
    let elsewhere = Registry::start(Auth::Bearer {
        uses: 1000,
        realm: None,
    });
    elsewhere.put_blob("store", image.config.clone());
    let lead = || {
        let location = format!(
            "http://{}/v2/store/blobs/{}",
            elsewhere.host(),
            config.digest
        );
        registry.fault(
            "GET",
            "/blobs/",
            2,
            Action::Status(307, vec![("location", location)], String::new()),
        );
    };
    let challenge = |realm: &str| {
        let value =
            format!(r#"Bearer realm="{realm}",service="there",scope="repository:store:pull""#);
        elsewhere.fault(
            "GET",
            "/blobs/",
            1,
            Action::Status(401, vec![("www-authenticate", value)], String::new()),
        );
    };
    lead();
    challenge(&format!("http://{}/token", elsewhere.host()));
    let bytes = client.blob(&name, config, 1 << 20).await.expect("a blob");
    assert_eq!(bytes, image.config);
    assert_eq!(elsewhere.count("GET", "/token?service=there"), 1);
    assert_eq!(elsewhere.count("GET", "/blobs/"), 2);
    let text = arrived(&elsewhere);
    for secret in [PASSWORD, &basic(), "Basic"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(
        !arrived(&registry).contains("Bearer"),
        "the token of there stays there"
    );

    // The token server of there must be there, or be reached by https.
    let third = Registry::start(Auth::Open);
    registry.state().faults.clear();
    lead();
    challenge(&format!("http://{}/token", third.host()));
    let error = client
        .blob(&name, config, 1 << 20)
        .await
        .expect_err("another realm");
    assert!(
        error.to_string().contains("another host without TLS"),
        "{error}"
    );
    assert!(third.state().requests.is_empty());
}
