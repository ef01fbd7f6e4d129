//! Cache mounts that survive the machine: what one build downloaded, the next one has, on a machine that has nothing.

use std::fs;

use crate::actions_cache::{Service, token};
use crate::image::Image;
use crate::program::{Call, Finished, Scene};
use crate::running::SHELL;
use crate::support::registry::{Auth, Registry};

/// A command that downloads a package unless its cache has it, as a package manager does.
fn dockerfile(url: &str, mount: &str) -> String {
    format!(
        "{SHELL}RUN --mount=type=cache,target=/c{mount} if [ -f /c/pkg/one ]; then echo have > /how; else mkdir -p /c/pkg && wget -q -O /c/pkg/one {url} && echo fetched > /how; fi; \
         cp /c/pkg/one /pkg && stat -c '%a %u:%g' /c /c/pkg /c/pkg/one > /facts\n"
    )
}

/// A machine that has nothing.
fn fresh(scene: &Scene) -> Call {
    for place in ["state", "out"] {
        let path = scene.root().join(place);
        if fs::remove_dir_all(&path).is_err() {
            // A mount of another owner, which an ordinary user's build made by a subordinate id.
            let aside = (0..).map(|number| scene.root().join(format!("{place}-{number}")));
            let aside = aside.filter(|aside| !aside.exists()).take(1);
            aside.for_each(|aside| fs::rename(&path, aside).expect("a directory"));
        }
        fs::create_dir(&path).expect("a directory");
    }
    scene.build()
}

fn built(scene: &Scene, call: Call) -> (Image, Finished) {
    let layout = scene.out("image");
    let finished = call.arg("--oci-layout-path").arg(&layout).success();
    (Image::of_layout(&layout), finished)
}

fn how(image: &Image) -> String {
    image.file("how").text().trim().to_owned()
}

/// A place for cache mounts, as the flags name it.
fn places(scene: &Scene, registry: &Registry) -> [(String, String); 2] {
    let directory = scene.root().join("mounts");
    let directory = directory.display();
    let reference = format!("{}/cache", registry.host());
    let registry = format!("type=registry,ref={reference}");
    [
        (
            format!("type=local,src={directory}"),
            format!("type=local,dest={directory}"),
        ),
        (registry.clone(), registry),
    ]
}

/// A server with a package; gives its URL and what to count its downloads by.
fn package(registry: &Registry) -> (String, String) {
    let digest = registry.put_blob("files", "package ".repeat(10_000));
    let url = format!("http://{}/v2/files/blobs/{digest}", registry.host());
    (url, digest.to_string())
}

#[test]
fn a_package_is_downloaded_once() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let (url, digest) = package(&registry);
    scene.dockerfile(&dockerfile(&url, ",id=pkg"));
    let downloads = || registry.count("GET", &format!("files/blobs/{digest}"));
    // A job of GitHub's, whose service is a place as well.
    let service = Service::start();
    let job = token(&[("refs/heads/main", 3)]);
    let github = ("type=gha".to_owned(), "type=gha".to_owned());
    for (from, to) in places(&scene, &registry).into_iter().chain([github]) {
        let before = downloads();
        let build = || {
            let call = fresh(&scene).args(["--cache-mounts-from", &from]);
            built(
                &scene,
                service.job(call.args(["--cache-mounts-to", &to]), &job),
            )
        };
        let (first, log) = build();
        assert_eq!((how(&first).as_str(), downloads()), ("fetched", before + 1));
        log.says("cache mount pkg: saved, ");
        let (second, log) = build();
        assert_eq!((how(&second).as_str(), downloads()), ("have", before + 1));
        log.says("cache mount pkg: restored, ")
            .says("cache mount pkg: unchanged");
        assert_eq!(second.file("pkg").text(), first.file("pkg").text());
        assert_eq!(second.file("facts").text(), first.file("facts").text());
        // Without a place to restore from, the machine has nothing.
        let (third, _) = built(&scene, fresh(&scene));
        assert_eq!((how(&third).as_str(), downloads()), ("fetched", before + 2));
    }
}

#[test]
fn the_places_of_layers_keep_mounts_too() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let (url, digest) = package(&registry);
    let place = format!("{}/cache", registry.host());
    let build = |command: &str, args: &[&str]| {
        scene.dockerfile(&format!("{}RUN {command}\n", dockerfile(&url, "")));
        let call = fresh(&scene).args(["--cache", "--cache-mounts", "--cache-repo", &place]);
        built(&scene, call.args(args))
    };
    let (first, _) = build("true", &[]);
    assert_eq!(how(&first), "fetched");
    // A step that is in the cache needs no mount, and saves none.
    let (_, log) = build("echo", &[]);
    assert!(!log.stderr.contains("cache mount"), "{log}");
    // One that is carried out again has what the first one left.
    let (again, log) = build("true", &["--cache-run-layers=false"]);
    assert_eq!(how(&again), "have", "{log}");
    assert_eq!(registry.count("GET", &format!("files/blobs/{digest}")), 1);
    scene
        .build()
        .arg("--cache-mounts")
        .mistake()
        .says("--cache-mounts: needs a place");
}

#[test]
fn what_tells_mounts_apart_and_what_is_not_saved() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let (url, _) = package(&registry);
    let [(from, to), _] = places(&scene, &registry);
    let build = |mount: &str, args: &[&str]| {
        scene.dockerfile(&dockerfile(&url, mount));
        let call = fresh(&scene).args(["--cache-mounts-from", &from]);
        call.args(["--cache-mounts-to", &to]).args(args)
    };
    let made = |mount: &str, args: &[&str]| built(&scene, build(mount, args));
    assert_eq!(how(&made(",id=a", &["--no-push-cache"]).0), "fetched");
    assert_eq!(
        how(&made(",id=a", &[]).0),
        "fetched",
        "it was saved where nothing is kept"
    );
    assert_eq!(how(&made(",id=a", &["--no-push-cache"]).0), "have");
    assert_eq!(how(&made(",id=b", &[]).0), "fetched");
    let scope = ["--cache-mounts-scope", "branch"];
    assert_eq!(how(&made(",id=a", &scope).0), "fetched");
    assert_eq!(how(&made(",id=a", &scope).0), "have");
    // Scopes after the first are read and not written; one without a name is that of all.
    let both = ["--cache-mounts-scope=other", "--cache-mounts-scope=branch"];
    assert_eq!(how(&made(",id=a", &both).0), "have");
    assert_eq!(how(&made(",id=a", &both[..1]).0), "fetched");
    let shared = ["--cache-mounts-scope=none", "--cache-mounts-scope="];
    assert_eq!(how(&made(",id=a", &shared).0), "have");
    assert_eq!(how(&made(",id=c", &shared).0), "fetched");
    assert_eq!(how(&made(",id=c", &[]).0), "fetched");
    // Owners and modes are part of it, and are restored.
    let owned = ",id=a,uid=7,gid=8,mode=0700";
    let (first, _) = made(owned, &[]);
    let (second, _) = made(owned, &[]);
    assert_eq!(
        (how(&first).as_str(), how(&second).as_str()),
        ("fetched", "have")
    );
    assert!(second.file("facts").text().starts_with("700 7:8\n"));
    // Too large: told, and not saved.
    let limit = ["--cache-mounts-max-size", "1kB"];
    let (_, log) = made(",id=large", &limit);
    log.says("cache mount large: not saved: it has")
        .says("--cache-mounts-max-size");
    assert_eq!(how(&made(",id=large", &[]).0), "fetched");
    // What is larger than may be is not restored.
    assert_eq!(how(&made(",id=large", &limit).0), "fetched");
    // A build that fails saves nothing.
    scene.dockerfile(&format!("{}RUN false\n", dockerfile(&url, ",id=fails")));
    let failing = fresh(&scene).args(["--cache-mounts-to", &to]);
    failing.mistake().says("RUN false");
    assert_eq!(how(&made(",id=fails", &[]).0), "fetched");
    // A fork's change request may read.
    let fork = |mount: &str| {
        let event = scene.root().join("event.json");
        let text = r#"{"pull_request":{"head":{"repo":{"full_name":"eve/app"}}},"repository":{"full_name":"team/app"}}"#;
        fs::write(&event, text).expect("a file");
        let call = build(mount, &[])
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_EVENT_NAME", "pull_request")
            .env("GITHUB_REPOSITORY", "team/app")
            .env("GITHUB_EVENT_PATH", &event);
        how(&built(&scene, call).0)
    };
    assert_eq!(fork(",id=a"), "have");
    assert_eq!(fork(",id=fork"), "fetched");
    assert_eq!(fork(",id=fork"), "fetched", "a fork's build has saved");
}

/// What a change request saves is not what builds of its branch restore.
#[test]
fn a_ci_systems_mounts_are_those_of_the_branch() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let (url, _) = package(&registry);
    let [(from, to), _] = places(&scene, &registry);
    let build = |id: &str, variables: &[(&str, &str)], args: &[&str]| {
        scene.dockerfile(&dockerfile(&url, &format!(",id={id}")));
        let call = fresh(&scene)
            .args(["--cache-mounts-from", &from, "--cache-mounts-to", &to])
            .env("GITLAB_CI", "true")
            .env("CI_DEFAULT_BRANCH", "main")
            .args(args);
        let set = |call: Call, (name, value): &(&str, &str)| call.env(name, value);
        how(&built(&scene, variables.iter().fold(call, set)).0)
    };
    let main = [("CI_COMMIT_BRANCH", "main")];
    let branch = [("CI_COMMIT_BRANCH", "feature/x")];
    let change = [
        ("CI_MERGE_REQUEST_IID", "7"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "dev"),
    ];
    let tag = [("CI_COMMIT_TAG", "v1")];
    // Nobody reads what a branch or a change request saves, but itself.
    assert_eq!(build("a", &change, &[]), "fetched");
    assert_eq!(build("a", &change, &[]), "have");
    assert_eq!(build("a", &branch, &[]), "fetched");
    assert_eq!(build("a", &branch, &[]), "have");
    assert_eq!(build("a", &main, &[]), "fetched");
    // What the default branch saves is read by all.
    assert_eq!(build("b", &main, &[]), "fetched");
    for variables in [&branch[..], &change, &tag] {
        assert_eq!(build("b", variables, &[]), "have", "{variables:?}");
    }
    // What the branch saves that a change goes to, too.
    let dev = [("CI_COMMIT_BRANCH", "dev")];
    assert_eq!(build("c", &dev, &[]), "fetched");
    assert_eq!(build("c", &change, &[]), "have");
    assert_eq!(build("c", &branch, &[]), "fetched");
    // Unless one says otherwise.
    let shared = ["--cache-mounts-scope="];
    assert_eq!(build("d", &branch, &shared), "fetched");
    assert_eq!(build("d", &main, &shared), "have");
}

#[test]
fn what_is_damaged_is_told_and_replaced() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let (url, _) = package(&registry);
    scene.dockerfile(&dockerfile(&url, ",id=pkg"));
    let [(from, to), remote] = places(&scene, &registry);
    let build = |(from, to): &(String, String)| {
        let call = fresh(&scene).args(["--cache-mounts-from", from]);
        built(&scene, call.args(["--cache-mounts-to", to]))
    };
    let local = (from, to);
    build(&local);
    let blobs = scene.root().join("mounts/blobs/sha256");
    let documents = scene.root().join("mounts/mounts");
    let only = |directory: &std::path::Path| {
        let mut entries = fs::read_dir(directory).expect("a directory");
        entries.next().expect("an entry").expect("an entry").path()
    };
    let damages: [&dyn Fn(); 4] = [
        &|| {
            let path = only(&blobs);
            let mut bytes = fs::read(&path).expect("the archive");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).expect("the archive");
        },
        &|| fs::remove_file(only(&blobs)).expect("the archive"),
        &|| fs::write(only(&documents), "{}").expect("the document"),
        &|| {
            // A whole archive that is not what the document says.
            let path = only(&documents);
            let text = fs::read_to_string(&path).expect("the document");
            let at = text.find("diff_id\":\"sha256:").expect("a digest") + 17;
            let forged = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
            fs::write(&path, forged).expect("the document");
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let (image, log) = build(&local);
        assert_eq!(how(&image), "fetched", "{number}: {log}");
        assert!(log.stderr.contains("warning"), "{number}: {log}");
        let (image, log) = build(&local);
        assert_eq!(how(&image), "have", "{number}: {log}");
    }
    // A registry that is down is a warning.
    build(&remote);
    let failing = crate::support::registry::Action::Status(
        500,
        vec![("retry-after", "0".to_owned())],
        String::new(),
    );
    registry.fault("*", "/v2/cache/", 1000, failing);
    let (image, log) = build(&remote);
    assert_eq!(how(&image), "fetched", "{log}");
    log.says("the build goes on without it");
}

#[test]
fn builds_at_once_save_and_restore_whole_caches() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let [(from, to), _] = places(&scene, &registry);
    scene.dockerfile(&format!(
        "{SHELL}RUN --mount=type=cache,target=/c for n in 1 2 3 4 5; do if [ -f /c/$n ]; then [ $(cat /c/$n | wc -c) = 70000 ] || exit 9; else head -c 70000 /dev/zero > /c/$n; fi; done\n"
    ));
    for _ in 0..2 {
        let running: Vec<_> = (0..6)
            .map(|number| {
                let state = scene.root().join(format!("state-{number}"));
                let call = scene.build().env("LONGSHORE_STATE_DIR", state);
                call.args([
                    "--cache-mounts-from",
                    &from,
                    "--cache-mounts-to",
                    &to,
                    "--no-push",
                ])
                .start()
            })
            .collect();
        for one in running {
            let finished = one.wait();
            assert!(finished.status.success(), "{finished}");
            assert!(!finished.stderr.contains("warning"), "{finished}");
        }
    }
}

#[test]
fn a_directory_of_mounts_is_listed_and_pruned() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = Registry::start(Auth::Open);
    let (url, _) = package(&registry);
    let [(from, to), _] = places(&scene, &registry);
    scene.dockerfile(&dockerfile(&url, ",id=pkg"));
    let build = || {
        let call = fresh(&scene).args(["--cache-mounts-from", &from]);
        how(&built(&scene, call.args(["--cache-mounts-to", &to])).0)
    };
    assert_eq!(build(), "fetched");
    let directory = scene.root().join("mounts");
    let command = |args: &[&str]| {
        let call = scene.longshore(&["cache"]).args(args);
        call.arg("--cache-repo").arg(&directory).success()
    };
    let listed = command(&["list"]);
    assert!(listed.stdout.contains("cache mount pkg"), "{listed}");
    // What is used and small stays.
    command(&["prune", "--max-size=10MB", "--max-age=1h"]);
    assert_eq!(build(), "have");
    let pruned = command(&["prune", "--max-size=0"]);
    assert!(pruned.stdout.starts_with("1 entries"), "{pruned}");
    assert_eq!(
        fs::read_dir(directory.join("blobs/sha256"))
            .expect("blobs")
            .count(),
        0
    );
    assert_eq!(build(), "fetched");
}
