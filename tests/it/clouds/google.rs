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
