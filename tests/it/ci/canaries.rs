//! Credentials of every kind around a build, and none of them anywhere afterwards: not in the log, the image, the outputs, the files of the
//! build, nor in the arguments or environments of any process while a command runs.

use std::fs;
use std::path::Path;

use base64::Engine as _;

use super::InCi as _;
use crate::image::Image;
use crate::program::Scene;
use crate::support::registry::{Auth, PASSWORD, Registry};

/// Variables that hold a credential as it is: of the CI systems, of clouds, of registries, of git.
const VARIABLES: [&str; 24] = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCESS_KEY",
    "CIRCLE_OIDC_TOKEN_V2",
    "CI_DEPENDENCY_PROXY_PASSWORD",
    "CI_DEPLOY_PASSWORD",
    "CI_JOB_TOKEN",
    "CI_REGISTRY_PASSWORD",
    "GITHUB_TOKEN",
    "GIT_PASSWORD",
    "GIT_SSH_KEY_PASSPHRASE",
    "GIT_TOKEN",
    "HARBOR_PASSWORD",
    "IDENTITY_HEADER",
    "INPUT_GITHUB-TOKEN",
    "KANIKO_QUAY_IO_PASSWORD",
    "LONGSHORE_IDENTITY_TOKEN",
    "NPM_TOKEN",
    "OCI_ID_TOKEN",
    "VAULT_TOKEN",
];

fn basic(user: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// The files below a directory that hold one of the texts.
fn holders(directory: &Path, texts: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(kind) = fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) else {
            continue;
        };
        if kind.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        } else if kind.is_file()
            && let Some(text) = held(&fs::read(&path).unwrap_or_default(), texts)
        {
            found.push(format!("{}: {text}", path.display()));
        }
    }
    found
}

/// The first of the texts that some bytes hold.
fn held<'a>(bytes: &[u8], texts: &'a [String]) -> Option<&'a String> {
    // All that is looked for is ASCII.
    let bytes = String::from_utf8_lossy(bytes);
    texts.iter().find(|text| bytes.contains(text.as_str()))
}

/// The processes whose arguments or environment hold one of the texts, as far as they can be read.
fn processes(texts: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    for process in all.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()) {
        for name in ["cmdline", "environ"] {
            let bytes = fs::read(process.path().join(name)).unwrap_or_default();
            if let Some(text) = held(&bytes, texts) {
                found.push(format!("{}/{name}: {text}", process.path().display()));
            }
        }
    }
    found
}

#[test]
fn twenty_credentials_appear_nowhere() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY busybox /bin/env\nCOPY busybox /bin/sleep\n\
         RUN --mount=type=secret,id=token --mount=type=secret,id=file \
         cat /run/secrets/token /run/secrets/file; env; env > /variables; \
         cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline > /processes 2>/dev/null; echo all is begun; sleep 2\n",
    );
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    let mut canaries: Vec<String> = Vec::new();
    let mut plant = |name: &str| {
        // Of this run: others may go on at the same time, and their processes are seen, too.
        let run = std::process::id();
        let canary = format!(
            "planted-{run}-{:02}-{}",
            canaries.len(),
            name.to_lowercase()
        );
        canaries.push(canary.clone());
        canary
    };
    let mut call = scene
        .longshore(&["action"])
        .github(&scene)
        .current_dir(scene.path(""))
        .env("LONGSHORE_STATE_DIR", scene.state())
        .env("GIT_USERNAME", "someone")
        .env("HARBOR_HOST", "harbor.test")
        .env("HARBOR_USERNAME", "someone")
        .env("KANIKO_QUAY_IO_USER", "someone");
    for name in VARIABLES {
        call = call.env(name, plant(name));
    }
    // In a file, in a variable with a file's content, in an input, and as what the build may use: one of its own.
    let config = |password: &str| {
        let auth = basic("someone", password);
        format!(r#"{{"auths": {{"other.test": {{"auth": "{auth}"}}}}}}"#)
    };
    let (file, variable) = (plant("config.json"), plant("DOCKER_AUTH_CONFIG"));
    let (list, secret) = (plant("registry-auth"), plant("secret"));
    let ssh_key = plant("ssh-key");
    let (secret_file, lines, proxy) = (plant("secret-file"), plant("lines"), plant("proxy"));
    let mut texts = canaries.clone();
    texts.push(PASSWORD.to_owned());
    assert!(texts.len() >= 30);
    texts.push(basic("user", PASSWORD));
    texts.extend(
        [&file, &variable, &list, &lines, &proxy].map(|password| basic("someone", password)),
    );
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("config.json"), config(&file)).expect("a file");
    fs::write(directory.path().join("secret"), &secret_file).expect("a file");

    let mut running = call
        .env("DOCKER_CONFIG", directory.path())
        .env("DOCKER_AUTH_CONFIG", config(&variable))
        .env(
            "INPUT_REGISTRY-AUTH",
            format!("- registry: more.test\n  username: someone\n  password: '{list}'\n- registry: {host}\n  username: user\n  password: {PASSWORD}\n"),
        )
        .env("INPUT_SECRETS", format!("token={secret}"))
        .env("INPUT_SECRET-FILES", format!("file={}", directory.path().join("secret").display()))
        .env("LONGSHORE_REGISTRY_AUTH", format!("lines.test=someone:{lines}"))
        .env("GIT_SSH_KEY", format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{ssh_key}\n-----END OPENSSH PRIVATE KEY-----"))
        .env("HTTPS_PROXY", format!("http://someone:{proxy}@127.0.0.1:9"))
        .env("INPUT_TAGS", format!("{host}/team/app:1"))
        .env("INPUT_PUSH", "true")
        .env("INPUT_VERBOSITY", "trace")
        .start();
    running.wait_for("all is begun");
    assert_eq!(processes(&canaries), [""; 0]);
    let finished = running.wait();
    assert_eq!(finished.code(), 0, "{finished}");

    // The runner is told first what to mask, and what tells it is no part of the log.
    let (mut masked, mut log) = (Vec::new(), String::new());
    for line in finished.stderr.lines() {
        if let Some(text) = line.strip_prefix("::add-mask::") {
            assert!(log.is_empty(), "{text} is masked too late");
            masked.push(text.to_owned());
        } else {
            log.push_str(line);
            log.push('\n');
        }
    }
    assert_eq!(held(log.as_bytes(), &texts), None, "{finished}");
    assert_eq!(held(finished.stdout.as_bytes(), &texts), None, "{finished}");
    let token = canaries
        .iter()
        .find(|text| text.ends_with("input_github-token"));
    for text in [
        &secret,
        &list,
        token.expect("planted"),
        &basic("user", PASSWORD),
    ] {
        assert!(masked.contains(text), "{text} is not masked");
    }

    // The image as the registry has it, and every file that the build wrote.
    let built = Image::of_registry(&registry, "team/app", "1");
    let parts = format!("{:?} {:?}", built.config(), built.history());
    assert_eq!(held(parts.as_bytes(), &texts), None);
    for (path, entry) in built.tree() {
        assert_eq!(held(&entry.content, &texts), None, "{path}");
    }
    assert!(!built.file("variables").content.is_empty());
    assert_eq!(holders(scene.root(), &texts), [""; 0]);
}

/// What it is, arguments, variables.
type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, String)]);

#[test]
fn what_goes_wrong_tells_no_credential() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let planted = format!("planted-{}-password", std::process::id());
    let with_user = format!("someone:{planted}@127.0.0.1:9");
    let auth = basic("someone", &planted);
    let registry = Registry::start(Auth::Basic);
    let destination = format!("{}/app:1", registry.host());
    let texts = [planted.clone(), auth.clone()];
    let cases: [Case; 10] = [
        (
            "a git context",
            &[&format!("https://{with_user}/app.git")],
            &[],
        ),
        (
            "an archive",
            &[&format!("https://{with_user}/app.tar.gz")],
            &[],
        ),
        (
            "a named context",
            &[&format!("--build-context=a=https://{with_user}/a.tar")],
            &[],
        ),
        (
            "a Dockerfile",
            &["-f", &format!("https://{with_user}/Dockerfile")],
            &[],
        ),
        (
            "a proxy",
            &["-d", "registry.test/app:1"],
            &[("HTTPS_PROXY", format!("http://{with_user}"))],
        ),
        (
            "a proxy that is no URL",
            &["-d", "registry.test/app:1"],
            &[("HTTPS_PROXY", format!("http://someone:{planted}@[:9"))],
        ),
        (
            "a wrong password",
            &["-d", &destination],
            &[(
                "LONGSHORE_REGISTRY_AUTH",
                format!("{}=someone:{planted}", registry.host()),
            )],
        ),
        (
            "a line that is no credential",
            &["-d", &destination],
            &[("LONGSHORE_REGISTRY_AUTH", format!("someone:{planted}"))],
        ),
        (
            "a config.json that breaks off",
            &["-d", &destination],
            &[(
                "DOCKER_AUTH_CONFIG",
                format!("{{\"auths\": {{\"a.test\": {{\"auth\": \"{auth}\""),
            )],
        ),
        (
            "a config.json of another shape",
            &["-d", &destination],
            &[("DOCKER_AUTH_CONFIG", format!("{{\"auths\": \"{auth}\"}}"))],
        ),
    ];
    for (what, arguments, variables) in cases {
        // A context that is named takes the place of the directory.
        let call = if arguments.len() == 1 && !arguments[0].starts_with('-') {
            scene
                .longshore(&["build", "--verbosity=trace"])
                .args(arguments)
        } else {
            let context = scene.path("");
            scene
                .longshore(&["build", "--verbosity=trace"])
                .arg(context)
                .args(arguments)
        };
        let call = call
            .env("LONGSHORE_STATE_DIR", scene.state())
            .github(&scene);
        let call = variables
            .iter()
            .fold(call, |call, (name, value)| call.env(name, value));
        let finished = call.run();
        let is_optional = what == "a named context";
        assert!(
            is_optional || !finished.status.success(),
            "{what}: {finished}"
        );
        for log in [&finished.stderr, &finished.stdout] {
            assert_eq!(held(log.as_bytes(), &texts), None, "{what}: {finished}");
        }
        assert_eq!(holders(scene.root(), &texts), [""; 0], "{what}");
    }
}
