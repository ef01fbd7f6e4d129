//! The identities of Amazon, Google and Azure, against small servers in their place: what is asked where, with what, and
//! that a registry accepts what comes of it.

mod azure;
mod google;

use std::fs;

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
fn amazon_gives_keys_in_every_way() {
    let scene = Scene::bare();
    let mock = clouds();
    let token = write(&scene, "token", "canary-jwt\n");
    let pod = write(&scene, "pod-token", "canary-pod");
    let config = write(
        &scene,
        "aws/config",
        "[profile ci]\nrole_arn = arn:aws:iam::1:role/ci\nsource_profile = keys\n\
         [profile process]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"AKIDP\",\"SecretAccessKey\":\"canary-key\"}'\n",
    );
    let credentials = write(
        &scene,
        "aws/credentials",
        "[keys]\naws_access_key_id = AKIDFILE\naws_secret_access_key = canary-key\n",
    );
    let ecr = (ECR, "Amazon ECR");
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDSET"),
        ("AWS_SECRET_ACCESS_KEY", "canary-key"),
    ];
    let files = [
        ("AWS_CONFIG_FILE", config.as_str()),
        ("AWS_SHARED_CREDENTIALS_FILE", &credentials),
    ];
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::1:role/ci");
    let full = format!("{}/pod", mock.url());
    let request = format!("{}/id-token?a=1", mock.url());

    let arrived = check(&scene, &mock, ecr, &keys, "AWS_ACCESS_KEY_ID");
    let signature = arrived[0].header("authorization").expect("a signature");
    assert!(
        signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIDSET/")
            && signature.contains("/eu-west-1/ecr/aws4_request"),
        "{signature}"
    );
    check(
        &scene,
        &mock,
        ("public.ecr.aws", "Amazon ECR"),
        &keys,
        "AWS_ACCESS_KEY_ID",
    );

    // A pod's role (IRSA), and the role of a job by GitHub's identity token.
    let variables = [role, ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str())];
    let arrived = check(
        &scene,
        &mock,
        ecr,
        &variables,
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    );
    assert_eq!(
        arrived[0].field("Action").as_deref(),
        Some("AssumeRoleWithWebIdentity")
    );
    assert_eq!(
        arrived[0].field("WebIdentityToken").as_deref(),
        Some("canary-jwt")
    );
    assert_eq!(arrived[0].header("authorization"), None);
    assert_eq!(
        arrived[1].header("x-amz-security-token"),
        Some("canary-session")
    );
    let variables = [
        role,
        ("ACTIONS_ID_TOKEN_REQUEST_URL", request.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "canary-request"),
    ];
    let arrived = check(&scene, &mock, ecr, &variables, "GitHub Actions");
    assert_eq!(
        arrived[0].target,
        "/id-token?a=1&audience=sts.amazonaws.com"
    );
    assert_eq!(
        arrived[0].header("authorization"),
        Some("Bearer canary-request")
    );
    let variables = [role, ("OCI_ID_TOKEN", "canary-jwt")];
    check(&scene, &mock, ecr, &variables, "OCI_ID_TOKEN");

    // Profiles.
    let mut variables = files.to_vec();
    variables.push(("AWS_PROFILE", "ci"));
    let arrived = check(
        &scene,
        &mock,
        ecr,
        &variables,
        "role arn:aws:iam::1:role/ci",
    );
    assert_eq!(arrived[0].field("Action").as_deref(), Some("AssumeRole"));
    let signature = arrived[0].header("authorization").expect("a signature");
    assert!(
        signature.contains("Credential=AKIDFILE/") && signature.contains("/sts/"),
        "{signature}"
    );
    variables[2].1 = "process";
    check(&scene, &mock, ecr, &variables, "credential_process");

    // Pod Identity, and the machine.
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &pod),
    ];
    let arrived = check(
        &scene,
        &mock,
        ecr,
        &variables,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    );
    assert_eq!(arrived[0].header("authorization"), Some("canary-pod"));
    let arrived = check(
        &scene,
        &mock,
        ecr,
        &[],
        "the role node-role of this machine",
    );
    assert_eq!(
        arrived[1].header("x-aws-ec2-metadata-token"),
        Some("canary-session")
    );
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
