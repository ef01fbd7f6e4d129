//! Amazon: keys in every way.

use super::{ECR, check, clouds, write};
use crate::program::Scene;
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
