//! ACR: an application by secret, certificate or identity token, and managed identities.

use super::*;

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
fn a_certificate_that_cannot_be_used_is_told_with_the_way_out() {
    let scene = Scene::bare();
    let mock = clouds();
    let pem = include_str!("../../fixtures/azure/client.pem");
    let (key, certificate) = pem.split_once("-----BEGIN CERT").expect("both parts");
    let encrypted = pem.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let old = pem.replacen(
        '\n',
        "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
        1,
    );
    let pkcs12 = [
        b"\x30\x82\x09\xff\x02\x01\x03\xff canary-client".as_slice(),
        &[0xff; 2000],
    ]
    .concat();
    let encrypts = "openssl pkey -in FILE";
    for (name, content, expect) in [
        (
            "client.pfx",
            pkcs12.as_slice(),
            "openssl pkcs12 -in FILE -nodes",
        ),
        ("text", b"canary-client", "openssl pkcs12 -in FILE -nodes"),
        ("encrypted.pem", encrypted.as_bytes(), encrypts),
        ("old.pem", old.as_bytes(), encrypts),
        ("key.pem", key.as_bytes(), "no certificate"),
        (
            "certificate.pem",
            format!("-----BEGIN CERT{certificate}").as_bytes(),
            "no private key",
        ),
    ] {
        let path = scene.root().join(name);
        fs::write(&path, content).expect("a file");
        let path = path.to_str().expect("a path");
        let variables = [
            ("AZURE_CLIENT_ID", "client-1"),
            ("AZURE_TENANT_ID", "tenant-1"),
            ("AZURE_CLIENT_CERTIFICATE_PATH", path),
        ];
        mock.take();
        let answer = explained(&scene, &mock, ACR, &variables);
        assert_eq!(answer["used"], Value::Null, "{name}: {answer}");
        let said = reason(&answer, "Azure ACR");
        assert!(
            said.contains("AZURE_CLIENT_CERTIFICATE_PATH"),
            "{name}: {said}"
        );
        assert!(said.contains(expect), "{name}: {said}");
        assert!(mock.take().is_empty(), "{name}: nobody is asked");
    }
}
