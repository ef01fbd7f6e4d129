//! The identities of Amazon, Google and Azure, against small servers in their place: what is asked where, with what, and
//! that a registry accepts what comes of it.

mod amazon;

use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::image::Image;
use crate::mock::{Arrived, Mock, Reply};
use crate::program::{Call, Scene};
use crate::support::registry::{Auth, IDENTITY, PASSWORD, Registry};

const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const GAR: &str = "europe-west1-docker.pkg.dev";
const ACR: &str = "example.azurecr.io";

/// The secrets of these tests: none may be seen in what the program prints.
const SECRETS: [&str; 11] = [
    PASSWORD,
    IDENTITY,
    "canary-key",
    "canary-session",
    "canary-jwt",
    "canary-request",
    "canary-pod",
    "canary-access",
    "canary-impersonated",
    "canary-client",
    "canary-refresh",
];

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn answer(value: &Value) -> Reply {
    Reply::Answer(200, value.to_string())
}

/// Everything that the three clouds offer, on one address.
fn clouds() -> Mock {
    Mock::start(|request| {
        let path = request.target.split('?').next().unwrap_or_default();
        match (request.method.as_str(), path) {
            ("POST", "/") => amazon(request),
            ("PUT", "/latest/api/token") => Reply::Answer(200, "canary-session".to_owned()),
            ("GET", "/latest/meta-data/iam/security-credentials/") => {
                Reply::Answer(200, "node-role".to_owned())
            }
            ("GET", "/latest/meta-data/iam/security-credentials/node-role" | "/pod") => {
                answer(&json!({
                    "Code": "Success", "AccessKeyId": "AKIDLENT", "SecretAccessKey": "canary-key",
                    "Token": "canary-session", "Expiration": "2999-01-01T00:00:00Z"
                }))
            }
            ("GET", "/id-token") => answer(&json!({"value": "canary-jwt"})),
            ("POST", "/v1/token" | "/google-token")
            | ("GET", "/computeMetadata/v1/instance/service-accounts/default/token") => {
                answer(&json!({"access_token": "canary-access", "expires_in": 3600}))
            }
            (
                "POST",
                "/v1/projects/-/serviceAccounts/builder@p.iam.gserviceaccount.com:generateAccessToken",
            ) => answer(
                &json!({"accessToken": "canary-impersonated", "expireTime": "2999-01-01T00:00:00Z"}),
            ),
            ("POST", "/tenant-1/oauth2/v2.0/token")
            | ("GET", "/msi" | "/metadata/identity/oauth2/token") => {
                answer(&json!({"access_token": "canary-access", "expires_in": "3600"}))
            }
            (_, _) => Reply::Answer(404, String::new()),
        }
    })
}

/// STS and ECR, which share an address in these tests.
fn amazon(request: &Arrived) -> Reply {
    if let Some(target) = request.header("x-amz-target") {
        let pair = base64(&format!("user:{PASSWORD}"));
        let entry = json!({"authorizationToken": pair, "expiresAt": 32_503_680_000_u64});
        return match target {
            "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" => {
                answer(&json!({"authorizationData": [entry]}))
            }
            "SpencerFrontendService.GetAuthorizationToken" => {
                answer(&json!({"authorizationData": entry}))
            }
            _ => Reply::Answer(400, String::new()),
        };
    }
    match request.field("RoleArn").as_deref() {
        Some("arn:aws:iam::1:role/denied") => Reply::Answer(
            403,
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not this role</Message></Error></ErrorResponse>".to_owned(),
        ),
        Some(_) => Reply::Answer(
            200,
            "<R><Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>canary-key</SecretAccessKey>\
             <SessionToken>canary-session</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></R>"
                .to_owned(),
        ),
        None => Reply::Answer(400, String::new()),
    }
}

fn write(scene: &Scene, name: &str, text: &str) -> String {
    let path = scene.root().join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(&path, text).expect("a file");
    path.to_str().expect("a path").to_owned()
}

/// All endpoints lead to the mock; nobody is anybody yet.
fn redirected(call: Call, mock: &Mock) -> Call {
    let host = mock.url().replace("http://", "");
    call.env("AWS_ENDPOINT_URL", mock.url())
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", mock.url())
        .env("GCE_METADATA_HOST", host)
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", mock.url())
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", mock.url())
        .env("AZURE_AUTHORITY_HOST", mock.url())
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", mock.url())
}

/// Asks `longshore auth` for a host with these variables; nothing secret may be in the answer.
fn explained(scene: &Scene, mock: &Mock, host: &str, variables: &[(&str, &str)]) -> Value {
    let mut call = redirected(scene.longshore(&["auth", host, "--format=json"]), mock);
    for (name, value) in variables {
        call = call.env(name, value);
    }
    let finished = call.run();
    for secret in SECRETS {
        finished.keeps(secret);
    }
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"))
}

/// The reason that a source gives.
fn reason(answer: &Value, source: &str) -> String {
    let sources = answer["sources"].as_array().expect("sources");
    let found = sources.iter().find(|verdict| verdict["source"] == source);
    found.unwrap_or_else(|| panic!("no {source} in {answer}"))["reason"]
        .as_str()
        .expect("a reason")
        .to_owned()
}

fn check(
    scene: &Scene,
    mock: &Mock,
    (host, source): (&str, &str),
    variables: &[(&str, &str)],
    expect: &str,
) -> Vec<Arrived> {
    mock.take();
    let answer = explained(scene, mock, host, variables);
    assert_eq!(answer["used"], source, "{variables:?}: {answer}");
    let said = reason(&answer, source);
    assert!(said.contains(expect), "{variables:?}: {said}");
    mock.take()
}

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

#[test]
fn azure_gives_tokens_in_every_way() {
    let scene = Scene::new();
    let Some(scene) = scene else { return };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let mock = clouds();
    // The registry answers to its own name by way of a proxy.
    let registry = Registry::start(Auth::Bearer {
        uses: 1000,
        realm: Some(format!("http://{ACR}/token")),
    });
    let host = registry.host();
    let proxy = Mock::start(move |request| {
        if request.target == format!("http://{ACR}/oauth2/exchange") {
            let knows = request.field("access_token").as_deref() == Some("canary-access");
            assert_eq!(request.field("service").as_deref(), Some(ACR));
            return if knows {
                answer(&json!({"refresh_token": IDENTITY}))
            } else {
                Reply::Answer(401, String::new())
            };
        }
        Reply::Pass(host.clone(), None)
    });
    let token = write(&scene, "token", "canary-jwt");
    let request = format!("{}/id-token?a=1", mock.url());
    let msi = format!("{}/msi", mock.url());
    let who = [
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_TENANT_ID", "tenant-1"),
    ];
    let with = |more: &[(&'static str, String)]| {
        let mut all: Vec<_> = who
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        all.extend_from_slice(more);
        all
    };
    for (variables, expect) in [
        (
            with(&[("AZURE_CLIENT_SECRET", "canary-client".to_owned())]),
            "client_secret",
        ),
        (
            with(&[(
                "AZURE_CLIENT_CERTIFICATE_PATH",
                concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/fixtures/azure/client.pem"
                )
                .to_owned(),
            )]),
            "client_assertion",
        ),
        (
            with(&[("AZURE_FEDERATED_TOKEN_FILE", token)]),
            "client_assertion",
        ),
        (
            with(&[
                ("ACTIONS_ID_TOKEN_REQUEST_URL", request),
                (
                    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
                    "canary-request".to_owned(),
                ),
            ]),
            "client_assertion",
        ),
        (
            vec![
                ("IDENTITY_ENDPOINT", msi),
                ("IDENTITY_HEADER", "canary-client".to_owned()),
            ],
            "/msi",
        ),
        (vec![], "/metadata/identity/oauth2/token"),
    ] {
        mock.take();
        proxy.take();
        registry.state().manifests.clear();
        let mut call = redirected(scene.build(), &mock)
            .args(["-d", &format!("{ACR}/app:v1"), "--insecure-registry", ACR])
            .env("HTTP_PROXY", proxy.url());
        for (name, value) in &variables {
            call = call.env(name, value);
        }
        let finished = call.success();
        for secret in SECRETS {
            finished.keeps(secret);
        }
        assert_eq!(Image::of_registry(&registry, "app", "v1").paths(), ["a"]);
        let arrived = mock.arrived();
        let last = arrived.last().expect("a request");
        assert!(
            last.target.contains(expect) || last.field(expect).is_some(),
            "{expect}: {last:?}"
        );
        // Minted once, and used for all requests of the build.
        let exchanges = proxy.arrived();
        let exchanges = exchanges
            .iter()
            .filter(|request| request.target.ends_with("/oauth2/exchange"));
        assert_eq!(exchanges.count(), 1);
    }
}

#[test]
fn a_push_to_ecr_and_to_artifact_registry_succeeds() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let mock = clouds();
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let proxy = Mock::start(move |request| {
        let google = format!("Basic {}", base64("oauth2accesstoken:canary-access"));
        let ours = format!("Basic {}", base64(&format!("user:{PASSWORD}")));
        let swapped = (request.header("authorization") == Some(&google)).then_some(ours);
        Reply::Pass(host.clone(), swapped)
    });
    for name in [ECR, GAR] {
        registry.state().manifests.clear();
        let call = redirected(scene.build(), &mock)
            .args(["-d", &format!("{name}/app:v1"), "--insecure-registry", name])
            .env("HTTP_PROXY", proxy.url());
        let finished = call.success();
        for secret in SECRETS {
            finished.keeps(secret);
        }
        assert_eq!(Image::of_registry(&registry, "app", "v1").paths(), ["a"]);
    }
}

#[test]
fn who_is_nobody_is_told_what_was_looked_at() {
    let Some(scene) = Scene::new() else { return };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let proxy = Mock::start(move |_| Reply::Pass(host.clone(), None));
    let mock = clouds();
    let push = || {
        redirected(scene.build(), &mock)
            .args(["-d", &format!("{ECR}/app:v1"), "--insecure-registry", ECR])
            .env("HTTP_PROXY", proxy.url())
    };
    let failed = push().env("AWS_EC2_METADATA_DISABLED", "true").mistake();
    failed
        .says("no identity")
        .says("AWS_ACCESS_KEY_ID is not set")
        .says("AWS_ROLE_ARN is not set")
        .says("AWS_EC2_METADATA_DISABLED is set")
        .says(&format!("longshore auth {ECR}"));
    let token = write(&scene, "token", "canary-jwt");
    let failed = push()
        .env("AWS_ROLE_ARN", "arn:aws:iam::1:role/denied")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token)
        .mistake();
    failed.says("not this role").says("403").keeps("canary-jwt");
}

#[test]
fn no_cloud_is_asked_about_a_host_that_is_not_its_own() {
    let scene = Scene::bare();
    let mock = clouds();
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDSET"),
        ("AWS_SECRET_ACCESS_KEY", "canary-key"),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_SECRET", "canary-client"),
    ];
    for host in [
        "docker.io",
        "ghcr.io",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "evil.example/123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "example.azurecr.io.evil.example",
        "exampleazurecr.io",
        "gcr.io.evil.example",
        "evilgcr.io",
        "docker.pkg.dev.evil.example",
        "localhost:5000",
    ] {
        let answer = explained(&scene, &mock, host, &keys);
        assert_eq!(answer["used"], Value::Null, "{answer}");
        assert_eq!(mock.arrived().len(), 0, "{host}: {:?}", mock.arrived());
    }
    // What is not selected is not asked either.
    let call = redirected(
        scene.longshore(&["auth", ECR, "--credential-helpers=google"]),
        &mock,
    );
    assert_eq!(call.run().code(), 1);
    assert_eq!(mock.arrived().len(), 0);
}

#[test]
fn what_was_minted_is_kept_until_it_expires() {
    use longshore::auth::cloud::{Cloud, CloudHttp, CloudOptions, Roles};
    use longshore::auth::{Files, HelperOptions, Source as _, Variables, identity::IdentityTokens};
    use longshore::http::HttpConfig;

    for (expires_at, expect) in [(32_503_680_000_u64, 1), (1, 3)] {
        let mock = Mock::start(move |_| {
            let entry = json!({"authorizationToken": base64("u:p"), "expiresAt": expires_at});
            answer(&json!({"authorizationData": [entry]}))
        });
        let variables: Variables = [
            ("AWS_ENDPOINT_URL_ECR", mock.url().as_str()),
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ]
        .into_iter()
        .collect();
        let options = CloudOptions {
            http: CloudHttp::new(&HttpConfig::default(), Files::default()).unwrap(),
            variables,
            identity: IdentityTokens::default(),
            roles: Roles::default(),
            plain_http: std::collections::BTreeSet::new(),
            now: std::time::SystemTime::now,
            helpers: HelperOptions::default(),
        };
        let cloud = Cloud::ecr(&options);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for _ in 0..3 {
            runtime.block_on(cloud.find(ECR, "app")).unwrap();
        }
        assert_eq!(mock.arrived().len(), expect);
        if expect == 1 {
            // What a registry refused is made anew.
            cloud.forget(ECR);
            runtime.block_on(cloud.find(ECR, "app")).unwrap();
            assert_eq!(mock.arrived().len(), 2);
        }
    }
}
