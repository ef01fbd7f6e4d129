//! Where credentials come from: every source, its order, `login`, `auth`, and that nothing of them is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::image::Image;
use crate::program::{Call, Scene};
use crate::support::registry::{Auth, PASSWORD, Registry};

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn auths(host: &str, password: &str) -> String {
    json!({"auths": {host: {"auth": base64(&format!("user:{password}"))}}}).to_string()
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(path, text).expect("a file");
}

/// `127.0.0.1:5000` as variables have it.
fn stem(host: &str) -> String {
    host.replace(['.', ':'], "_")
}

/// What `longshore auth` says as JSON.
fn explained(call: Call) -> Value {
    let finished = call.arg("--format=json").run();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"))
}

#[test]
fn each_source_is_enough_to_push() {
    let Some(scene) = Scene::new() else {
        return;
    };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let pushed = |change: &dyn Fn(Call) -> Call| {
        registry.state().manifests.clear();
        let call = scene.build().args(["-d", &format!("{host}/app:v1")]);
        let finished = change(call).success();
        finished.keeps(PASSWORD);
        finished.says(&format!("credentials for {host}: "));
        assert_eq!(Image::of_registry(&registry, "app", "v1").paths(), ["a"]);
    };
    let file = scene.root().join("secret");
    write(&file, format!("user:{PASSWORD}\n"));
    let entry = format!("{host}=@{}", file.display());
    pushed(&|call| call.args(["--registry-auth", &entry]));
    let entry = format!("{host}=user:{PASSWORD}");
    pushed(&|call| call.env("LONGSHORE_REGISTRY_AUTH", &entry));
    for prefix in ["LONGSHORE", "KANIKO"] {
        pushed(&|call| {
            call.env(&format!("{prefix}_{}_USER", stem(&host)), "user")
                .env(&format!("{prefix}_{}_PASSWORD", stem(&host)), PASSWORD)
        });
    }
    pushed(&|call| {
        call.env("CI_REGISTRY", &host)
            .env("CI_REGISTRY_USER", "user")
            .env("CI_REGISTRY_PASSWORD", PASSWORD)
    });
    pushed(&|call| {
        call.env("CI_DEPENDENCY_PROXY_SERVER", &host)
            .env("CI_DEPENDENCY_PROXY_USER", "user")
            .env("CI_DEPENDENCY_PROXY_PASSWORD", PASSWORD)
    });
    pushed(&|call| {
        call.env("HARBOR_HOST", &host)
            .env("HARBOR_USERNAME", "user")
            .env("HARBOR_PASSWORD", PASSWORD)
    });
    let podman = scene.root().join("run/containers/auth.json");
    write(&podman, auths(&host, PASSWORD));
    pushed(&|call| call.env("REGISTRY_AUTH_FILE", &podman));
    pushed(&|call| call.env("XDG_RUNTIME_DIR", scene.root().join("run")));
    let variable = scene.root().join("variable-of-type-file");
    write(&variable, auths(&host, PASSWORD));
    pushed(&|call| call.env("DOCKER_AUTH_CONFIG", &variable));
    let mounted = scene.root().join("mounted/.dockerconfigjson");
    write(&mounted, auths(&host, PASSWORD));
    pushed(&|call| call.env("DOCKER_CONFIG", mounted.parent().unwrap()));

    // A password that is typed works, and is warned of.
    let entry = format!("{host}=user:{PASSWORD}");
    let call = scene
        .build()
        .args(["-d", &format!("{host}/app:v1"), "--registry-auth", &entry]);
    let finished = call.success();
    finished.says("can be read by every process");
    assert!(!finished.stderr.contains(PASSWORD), "{finished}");
}

#[test]
fn what_is_selected_is_asked_and_the_rest_is_not() {
    let Some(scene) = Scene::new() else {
        return;
    };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let push = |helpers: &[&str]| {
        let flags = helpers
            .iter()
            .map(|name| format!("--credential-helpers={name}"));
        scene
            .build()
            .args(["-d", &format!("{host}/app:v1")])
            .args(flags)
            .env(&format!("KANIKO_{}_USER", stem(&host)), "user")
            .env(&format!("KANIKO_{}_PASSWORD", stem(&host)), PASSWORD)
    };
    push(&["env"]).success();
    push(&["gitlab", "env"]).success();
    push(&["gitlab"]).mistake().keeps(PASSWORD);
    push(&[""]).mistake().keeps(PASSWORD);
    push(&["nonsense"]).mistake().says("is not one of env");
}

#[test]
fn login_writes_a_file_for_its_owner_only() {
    let Some(scene) = Scene::new() else {
        return;
    };
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let directory = scene.root().join("docker");
    let login = |host: &str| {
        scene
            .longshore(&["login", host, "-u", "user", "--password-stdin"])
            .env("DOCKER_CONFIG", &directory)
            .stdin(format!("{PASSWORD}\n").into_bytes())
    };
    login(&host).success().keeps(PASSWORD);
    login("index.docker.io").success();
    let path = directory.join("config.json");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entry = json!({"auth": base64(&format!("user:{PASSWORD}"))});
    assert_eq!(
        written,
        json!({"auths": {host.clone(): entry, "https://index.docker.io/v1/": entry}})
    );
    scene
        .build()
        .args(["-d", &format!("{host}/app:v1")])
        .env("DOCKER_CONFIG", &directory)
        .success();
    // Without DOCKER_CONFIG it is the home's.
    scene
        .longshore(&["login", "--username=user", "--password-stdin", &host])
        .stdin(PASSWORD.as_bytes().to_vec())
        .success();
    let home = scene.root().join("home/.docker/config.json");
    assert_eq!(
        fs::metadata(&home).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // What is no configuration stays as it is.
    fs::write(&path, "not json").unwrap();
    login(&host).mistake().keeps(PASSWORD);
    assert_eq!(fs::read(&path).unwrap(), b"not json");
    scene
        .longshore(&["login", &host, "-u", "user", "--password-stdin"])
        .mistake()
        .says("holds no password");
}

#[test]
fn auth_explains_in_the_order_of_asking_and_shows_no_secret() {
    let scene = Scene::bare();
    // A secret of its own for every source: none of them may be seen anywhere.
    let secret = |number: usize| format!("canary-{number}-{number}");
    let root = scene.root();
    write(
        &root.join("docker/config.json"),
        auths("docker.example", &secret(1)),
    );
    write(
        &root.join("home/.docker/config.json"),
        auths("home.example", &secret(2)),
    );
    write(
        &root.join("run/containers/auth.json"),
        auths("podman.example", &secret(3)),
    );
    write(&root.join("typed"), format!("user:{}", secret(4)));
    let helper = root.join("bin/docker-credential-planted");
    write(
        &helper,
        format!(
            "#!/bin/sh\nprintf '{{\"Username\":\"u\",\"Secret\":\"{}\"}}'\n",
            secret(5)
        ),
    );
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let inline = json!({
        "auths": {"inline.example": {"identitytoken": secret(6)}, "broken.example": {"auth": "!!"}},
        "credHelpers": {"helper.example": "planted", "absent.example": "absent"},
    });
    let typed = format!("typed.example=@{}", root.join("typed").display());
    let search = format!("{}:/usr/bin:/bin", root.join("bin").display());
    let ask = |name: &str| {
        scene
            .longshore(&["auth", name, "--registry-auth", &typed])
            .env("PATH", &search)
            .env("DOCKER_AUTH_CONFIG", inline.to_string())
            .env("DOCKER_CONFIG", root.join("docker"))
            .env("XDG_RUNTIME_DIR", root.join("run"))
            .env(
                "LONGSHORE_REGISTRY_AUTH",
                format!("set.example/team=user:{}", secret(7)),
            )
            .env("KANIKO_VARIABLE_EXAMPLE_USER", "user")
            .env("KANIKO_VARIABLE_EXAMPLE_PASSWORD", secret(8))
            .env("CI_REGISTRY", "gitlab.example")
            .env("CI_JOB_TOKEN", secret(9))
            .env("GITHUB_TOKEN", secret(10))
            .env("HARBOR_HOST", "harbor.example")
            .env("HARBOR_USERNAME", "robot$x")
            .env("HARBOR_PASSWORD", secret(11))
    };
    let docker = root.join("docker/config.json").display().to_string();
    let home = root.join("home/.docker/config.json").display().to_string();
    let podman = root.join("run/containers/auth.json").display().to_string();
    let variables = "LONGSHORE_<HOST>_USER and _PASSWORD, KANIKO_<HOST>_USER and _PASSWORD";
    for (name, used) in [
        ("typed.example/a/b", Some("--registry-auth")),
        ("set.example/team/b", Some("LONGSHORE_REGISTRY_AUTH")),
        ("set.example/other", None),
        ("variable.example", Some(variables)),
        ("inline.example", Some("DOCKER_AUTH_CONFIG")),
        ("helper.example", Some("DOCKER_AUTH_CONFIG")),
        ("docker.example", Some(&docker)),
        ("home.example", Some(&home)),
        ("podman.example", Some(&podman)),
        ("gitlab.example", Some("GitLab CI")),
        ("ghcr.io/org/app", Some("GITHUB_TOKEN")),
        ("harbor.example", Some("HARBOR_HOST")),
        ("ghcr.io.evil.example", None),
        ("broken.example", None),
        ("absent.example", None),
    ] {
        let answer = explained(ask(name));
        assert_eq!(answer["used"].as_str(), used, "{name}: {answer}");
        let sources = answer["sources"].as_array().unwrap();
        let position = |source: &str| {
            sources
                .iter()
                .position(|verdict| verdict["source"] == source)
                .unwrap_or_else(|| panic!("no {source} in {answer}"))
        };
        let order = [
            "--registry-auth",
            "LONGSHORE_REGISTRY_AUTH",
            variables,
            "DOCKER_AUTH_CONFIG",
            &docker,
            &home,
            &podman,
            "GitLab CI",
            "GITHUB_TOKEN",
            "HARBOR_HOST",
        ];
        let positions: Vec<_> = order.iter().map(|source| position(source)).collect();
        assert!(positions.is_sorted(), "{answer}");
        assert!(
            sources.iter().all(|verdict| verdict["reason"] != ""),
            "{answer}"
        );
        let finished = ask(name).run();
        let failed = ["broken.example", "absent.example"].contains(&name);
        assert_eq!(finished.code(), i32::from(used.is_none()), "{finished}");
        assert_eq!(
            finished.stdout.contains("a build would end"),
            failed,
            "{finished}"
        );
        for number in 1..=11 {
            finished.keeps(&secret(number));
            finished.keeps(&base64(&format!("user:{}", secret(number))));
            assert!(!answer.to_string().contains(&secret(number)), "{answer}");
        }
    }
}
