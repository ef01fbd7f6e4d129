//! Artifact Registry: tokens of service accounts, users, external accounts, machines and jobs.

use std::path::Path;

use super::*;

#[test]
fn google_gives_tokens_in_every_way() {
    let scene = Scene::bare();
    let mock = clouds();
    let gar = (GAR, "Google Artifact Registry");
    let url = mock.url();
    let adc = |name: &str, value: &Value| write(&scene, name, &value.to_string());
    let token = write(&scene, "token.json", r#"{"jwt":"canary-jwt"}"#);
    let key = include_str!("../../fixtures/google/service-account-key.pem");
    let account = adc(
        "account.json",
        &json!({
            "type": "service_account", "client_email": "b@p.iam.gserviceaccount.com", "private_key": key,
            "private_key_id": "k", "token_uri": format!("{url}/google-token"),
        }),
    );
    let user = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "canary-client",
        "refresh_token": "canary-refresh", "token_uri": format!("{url}/google-token"),
    });
    let impersonation = format!(
        "{url}/v1/projects/-/serviceAccounts/builder@p.iam.gserviceaccount.com:generateAccessToken"
    );
    let impersonated = adc(
        "impersonated.json",
        &json!({
            "type": "impersonated_service_account", "service_account_impersonation_url": impersonation,
            "source_credentials": user,
        }),
    );
    let external = adc(
        "external.json",
        &json!({
            "type": "external_account", "audience": "//iam.googleapis.com/projects/1/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{url}/v1/token"),
            "service_account_impersonation_url": impersonation,
            "credential_source": {"file": token, "format": {"type": "json", "subject_token_field_name": "jwt"}},
        }),
    );
    let user = adc("user.json", &user);
    let named = |path: &str| vec![("GOOGLE_APPLICATION_CREDENTIALS", path.to_owned())];
    let ask = |variables: &[(&str, String)], expect: &str| {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        check(&scene, &mock, gar, &variables, expect)
    };
    let arrived = ask(&named(&account), "GOOGLE_APPLICATION_CREDENTIALS");
    assert!(
        arrived[0]
            .field("assertion")
            .is_some_and(|jwt| jwt.split('.').count() == 3)
    );
    let arrived = ask(&named(&user), "GOOGLE_APPLICATION_CREDENTIALS");
    assert_eq!(
        arrived[0].field("refresh_token").as_deref(),
        Some("canary-refresh")
    );
    let arrived = ask(&named(&impersonated), "builder@p.iam.gserviceaccount.com");
    assert_eq!(
        arrived[1].header("authorization"),
        Some("Bearer canary-access")
    );
    let arrived = ask(&named(&external), "builder@p.iam.gserviceaccount.com");
    assert_eq!(
        arrived[0].field("subject_token").as_deref(),
        Some("canary-jwt")
    );
    assert_eq!(arrived.len(), 2);

    // gcloud's own file, and the metadata server where there is none.
    let gcloud = scene
        .root()
        .join("gcloud/application_default_credentials.json");
    fs::create_dir_all(gcloud.parent().expect("a parent")).expect("a directory");
    fs::copy(Path::new(&user), &gcloud).expect("a copy");
    let directory = scene.root().join("gcloud").display().to_string();
    ask(
        &[("CLOUDSDK_CONFIG", directory)],
        "application_default_credentials.json",
    );
    let arrived = ask(&[], "the metadata server");
    assert_eq!(arrived[0].header("metadata-flavor"), Some("Google"));

    // The identity token of a job.
    let provider = "projects/1/locations/global/workloadIdentityPools/p/providers/github";
    let variables = [
        ("LONGSHORE_GOOGLE_IDENTITY_PROVIDER", provider.to_owned()),
        (
            "LONGSHORE_GOOGLE_SERVICE_ACCOUNT",
            "builder@p.iam.gserviceaccount.com".to_owned(),
        ),
        (
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            format!("{url}/id-token?a=1"),
        ),
        (
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            "canary-request".to_owned(),
        ),
    ];
    let arrived = ask(
        &variables,
        "builder@p.iam.gserviceaccount.com by the identity token of GitHub Actions",
    );
    assert!(
        arrived[0]
            .target
            .contains("audience=https%3A%2F%2Fiam.googleapis.com%2Fprojects%2F1%2F"),
        "{arrived:?}"
    );
    let audience = arrived[1].field("audience").expect("an audience");
    assert_eq!(audience, format!("//iam.googleapis.com/{provider}"));
}

/// A context in a bucket, read by every kind of application default credentials; who pays is said, and is not anybody else.
#[test]
fn a_bucket_is_read_by_every_identity() {
    let Some(scene) = Scene::new() else { return };
    let archive = crate::image::tar_of(&[
        ("Dockerfile", 'f', "FROM scratch\nCOPY a /\n", 0o644),
        ("a", 'f', "packed", 0o644),
    ]);
    let tokens = clouds();
    let server = tokens.url().replace("http://", "");
    let mock = Mock::start(move |request| {
        let path = request.target.split('?').next().unwrap_or_default();
        if path == "/subject" {
            let is_asked_right = request.header("x-asks") == Some("canary-asks");
            let reply = if is_asked_right { "canary-jwt" } else { "" };
            return answer(&json!({ "jwt": reply }));
        }
        if path != "/storage/v1/b/bucket/o/dir%2Fcontext.tar" {
            return Reply::Pass(server.clone(), None);
        }
        let who = request.header("authorization").unwrap_or_default();
        if !["Bearer canary-access", "Bearer canary-impersonated"].contains(&who) {
            return Reply::Answer(401, String::new());
        }
        if request.target.contains("alt=media") {
            return Reply::Full(206, vec![], archive.clone());
        }
        answer(&json!({"size": archive.len().to_string(), "generation": "7"}))
    });
    let url = mock.url();
    let key = include_str!("../../fixtures/google/service-account-key.pem");
    let token = write(&scene, "token.json", r#"{"jwt":"canary-jwt"}"#);
    let impersonation = format!(
        "{url}/v1/projects/-/serviceAccounts/builder@p.iam.gserviceaccount.com:generateAccessToken"
    );
    let external = |source: Value| {
        json!({
            "type": "external_account", "audience": "//iam.googleapis.com/projects/1/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{url}/v1/token"),
            "credential_source": source,
        })
    };
    let format = json!({"type": "json", "subject_token_field_name": "jwt"});
    let account = json!({
        "type": "service_account", "client_email": "b@p.iam.gserviceaccount.com", "private_key": key,
        "private_key_id": "k", "token_uri": format!("{url}/google-token"),
    });
    let user = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "canary-client", "refresh_token": "canary-refresh",
        "token_uri": format!("{url}/google-token"), "quota_project_id": "of-the-file",
    });
    let by_file = external(json!({"file": token, "format": format}));
    let by_url = external(json!({
        "url": format!("{url}/subject"), "headers": {"x-asks": "canary-asks"}, "format": format,
    }));
    let impersonated = json!({
        "type": "impersonated_service_account", "service_account_impersonation_url": impersonation,
        "source_credentials": user,
    });
    let build = |payer: &str, credentials: Option<&Value>| {
        let context = ["build", "--no-push", "-c", "gs://bucket/dir/context.tar"];
        let mut call = redirected(scene.longshore(&context), &mock)
            .env(
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
                format!("{url}/storage/v1/"),
            )
            .env("GOOGLE_CLOUD_QUOTA_PROJECT", payer)
            .env("SOURCE_DATE_EPOCH", "1");
        if let Some(credentials) = credentials {
            let path = write(&scene, "adc.json", &credentials.to_string());
            call = call.env("GOOGLE_APPLICATION_CREDENTIALS", path);
        }
        let finished = call.success();
        for secret in SECRETS {
            finished.keeps(secret);
        }
        let arrived = mock.take();
        let asked = arrived
            .into_iter()
            .filter(|request| request.target.starts_with("/storage/"));
        let mut payers: Vec<String> = asked
            .map(|request| {
                request
                    .header("x-goog-user-project")
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        payers.dedup();
        (finished.stdout, payers.join(" "))
    };
    let (expect, payer) = build("", Some(&account));
    assert_eq!(payer, "");
    for (kind, credentials, payer, expect_payer) in [
        ("user", Some(&user), "", "of-the-file"),
        (
            "user",
            Some(&user),
            "of-the-environment",
            "of-the-environment",
        ),
        ("external by file", Some(&by_file), "", ""),
        ("external by URL", Some(&by_url), "pays", "pays"),
        ("impersonated", Some(&impersonated), "", ""),
        ("metadata server", None, "", ""),
    ] {
        let found = build(payer, credentials);
        assert_eq!(found, (expect.clone(), expect_payer.to_owned()), "{kind}");
    }
}
