//! Registries behind TLS, through a proxy, with a certificate of their own, and with a password that changes.

use serde_json::json;

use crate::image::Image;
use crate::program::Scene;
use crate::running::SHELL;
use crate::support::front::{Front, Wire};
use crate::support::registry::{Auth, PASSWORD, Registry};
use crate::support::tls::{Certificate, Says};

#[test]
fn a_build_through_a_proxy_and_a_registry_with_its_own_authority() {
    let Some(scene) = Scene::new() else { return };
    let authority = Certificate::authority("test authority");
    let server = authority.sign(Says {
        hosts: &["registry.test"],
        ..Says::default()
    });
    let registry = Registry::start_tls(Auth::Basic, server.server(&["h2", "http/1.1"]));
    // It knows the way to the name; nobody else does.
    let front = Front::start(registry.address(), |_| Wire::Proxy {
        password: Some("Basic cHJveHktdXNlcjpwcm94eS1jYW5hcnk=".to_owned()),
        cut_after: None,
    });
    let host = format!("registry.test:{}", registry.address().port());
    let ca = scene.root().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let trust = format!("{host}={}", ca.display());
    let proxy = format!("http://proxy-user:proxy-canary@{}", front.host());
    let auth = json!({"auths": {&host: {"username": "user", "password": PASSWORD}}}).to_string();
    let call = |tag: &str| {
        scene
            .build()
            .args(["-d", &format!("{host}/app:{tag}")])
            .args(["--registry-certificate", &trust])
            .env("HTTPS_PROXY", &proxy)
            .env("DOCKER_AUTH_CONFIG", &auth)
    };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let finished = call("v1").success();
    finished.keeps("proxy-canary").keeps(PASSWORD);
    scene
        .file("b", "2")
        .dockerfile(&format!("FROM {host}/app:v1\nCOPY b /b\n"));
    call("v2").success().keeps("proxy-canary").keeps(PASSWORD);
    let image = Image::of_registry(&registry, "app", "v2");
    assert_eq!(image.paths(), ["a", "b"]);
    for head in front.heads() {
        assert!(head.starts_with(&format!("CONNECT {host} ")), "{head}");
        assert!(!head.to_ascii_lowercase().contains("\nauthorization:"));
    }
    for request in &registry.state().requests {
        let text = request.text();
        assert!(!text.contains("proxy-"), "{text}");
    }

    // A wrong password of the proxy is told as such, and not shown.
    let failed = call("v3")
        .env("HTTPS_PROXY", proxy.replace("canary", "wrong-canary"))
        .mistake();
    failed.says("proxy").keeps("wrong-canary");
    // Without the authority there is no trust.
    let failed = scene
        .build()
        .args(["-d", &format!("{host}/app:v4")])
        .env("HTTPS_PROXY", &proxy)
        .mistake();
    failed.says("no trusted TLS connection");
}

#[test]
fn a_password_that_changes_during_a_build_is_read_again() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let path = scene.root().join("docker/config.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let set = |password: &str| {
        let auth = json!({"auths": {&host: {"username": "user", "password": password}}});
        std::fs::write(&path, auth.to_string()).unwrap();
        registry.state().password = Some(password.to_owned());
    };
    set("of-yesterday-canary");
    scene.dockerfile(&format!(
        "{SHELL}RUN echo wait''ing; sleep 3\nRUN echo 1 > /one\n"
    ));
    let mut running = scene
        .build()
        .args(["-d", &format!("{host}/app:v1")])
        .env("DOCKER_CONFIG", path.parent().unwrap())
        .start();
    running.wait_for("\nwaiting\n");
    set("of-today-canary");
    let finished = running.wait();
    assert_eq!(finished.code(), 0, "{finished}");
    finished.keeps("canary").says("docker/config.json");
    let image = Image::of_registry(&registry, "app", "v1");
    assert_eq!(image.file("one").text(), "1\n");
}
