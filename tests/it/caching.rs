//! The cache: what one build made, the next one finds, and nothing that is wrong with a cache gets into an image.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::image::{Image, put_base, tar_of};
use crate::program::{Call, Finished, Scene, names};
use crate::running::SHELL;
use crate::support::registry::{Action, Auth, Registry};

/// A scene with a registry and a base in it.
pub(crate) fn scene() -> Option<(Scene, Registry)> {
    let scene = Scene::with_busybox()?;
    let registry = Registry::start(Auth::Open);
    let tar = tar_of(&[("base", 'f', &"base ".repeat(20_000), 0o644)]);
    put_base(
        &registry,
        "base",
        "v1",
        &tar,
        &json!({"Env": ["PATH=/bin"]}),
    );
    Some((scene, registry))
}

/// A Dockerfile on the base, with a shell.
pub(crate) fn on_base(registry: &Registry, rest: &str) -> String {
    let shell = SHELL.replace("scratch", &format!("{}/base:v1", registry.host()));
    format!("{shell}{rest}")
}

/// A build on a fresh machine: nothing is left of earlier ones but the cache.
pub(crate) fn fresh(scene: &Scene) -> Call {
    for place in ["state", "out"] {
        let path = scene.root().join(place);
        fs::remove_dir_all(&path).expect("a directory");
        fs::create_dir(&path).expect("a directory");
    }
    scene.build()
}

pub(crate) fn push(scene: &Scene, registry: &Registry, tag: &str) -> Call {
    let destination = format!("{}/app:{tag}", registry.host());
    fresh(scene).args(["--cache", "-d", &destination])
}

/// How many steps came out of the cache.
pub(crate) fn hits(finished: &Finished) -> usize {
    finished.stderr.matches("(cached, layer").count()
}

pub(crate) fn local(scene: &Scene) -> PathBuf {
    scene.root().join("layers")
}

pub(crate) fn local_build(scene: &Scene) -> Call {
    let place = format!("oci:{}", local(scene).display());
    fresh(scene).args(["--cache", "--cache-repo", &place])
}

/// Builds into a layout and gives image and log.
pub(crate) fn built(scene: &Scene, call: Call) -> (Image, Finished) {
    let layout = scene.out("image");
    let finished = call.arg("--oci-layout-path").arg(&layout).success();
    (Image::of_layout(&layout), finished)
}

#[test]
fn a_build_with_nothing_new_makes_the_same_image_and_runs_nothing() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("src/a", "1").file("src/b/c", "2");
    scene.dockerfile(&on_base(
        &registry,
        "LABEL a=b\nWORKDIR /w\nCOPY src .\nRUN head -c 8 /dev/urandom > /random; echo ran >&2\nENV X=1\nADD src/a /added\nRUN echo more > /more\nCMD [\"/more\"]\n",
    ));
    let first = push(&scene, &registry, "one").success();
    assert_eq!(hits(&first), 0, "{first}");
    first.says("ran");
    let made = Image::of_registry(&registry, "app", "one");
    // The cache is below the first destination.
    let tags = |repository: &str| -> Vec<String> {
        let state = registry.state();
        let all = state.manifests.keys();
        all.filter(|(name, tag)| name == repository && !tag.starts_with("sha256"))
            .filter(|(_, tag)| !tag.contains("trace-"))
            .map(|(_, tag)| tag.clone())
            .collect()
    };
    assert_eq!(tags("app/cache").len(), 7, "{:?}", tags("app/cache"));

    let mark = registry.state().requests.len();
    let second = push(&scene, &registry, "two").success();
    assert_eq!(hits(&second), 7, "{second}");
    assert!(!second.stderr.contains("unpacked"), "{second}");
    let again = Image::of_registry(&registry, "app", "two");
    assert_eq!(again.digest, made.digest, "not the same image");
    // No layer came down, and nothing but the tag went up.
    let requests: Vec<String> = registry.state().requests[mark..]
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    let layers: Vec<String> = made
        .layers
        .iter()
        .map(|layer| layer.digest.clone())
        .collect();
    for request in &requests {
        assert!(
            !layers
                .iter()
                .any(|layer| request.starts_with("GET") && request.contains(layer.as_str())),
            "{requests:#?}"
        );
    }
    assert!(requests.len() <= 19, "{requests:#?}");

    // To another repository the layers are mounted.
    let elsewhere = format!("{}/other:v1", registry.host());
    let repository = format!("{}/app/cache", registry.host());
    let third = fresh(&scene)
        .args(["--cache", "--cache-repo", &repository, "-d", &elsewhere])
        .success();
    assert_eq!(hits(&third), 7, "{third}");
    assert_eq!(
        Image::of_registry(&registry, "other", "v1").digest,
        made.digest
    );
    // The base was never unpacked: nothing but empty directories is left.
    assert!(
        !third.stderr.contains("unpacked") && !third.stderr.contains("reused"),
        "{third}"
    );
}

#[test]
fn twenty_cached_steps_take_few_requests() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    let mut text = on_base(&registry, "");
    for number in 0..18 {
        writeln!(text, "RUN echo {number} > /f{number}").expect("a text");
    }
    scene.dockerfile(&text);
    push(&scene, &registry, "one").success();
    let made = Image::of_registry(&registry, "app", "one");
    let repository = format!("{}/app/cache", registry.host());
    for (place, most) in [("app:two", 12), ("other:v1", 20 + 12)] {
        let mark = registry.state().requests.len();
        let destination = format!("{}/{place}", registry.host());
        let finished = fresh(&scene)
            .args(["--cache", "--cache-repo", &repository, "-d", &destination])
            .success();
        assert_eq!(hits(&finished), 20, "{finished}");
        let requests: Vec<String> = registry.state().requests[mark..]
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect();
        assert!(
            requests.len() <= most,
            "{} requests: {requests:#?}",
            requests.len()
        );
        let (name, tag) = place.split_once(':').unwrap();
        assert_eq!(Image::of_registry(&registry, name, tag).digest, made.digest);
        // No file was written for a tree.
        let left: Vec<_> = ["layers", "builds"]
            .iter()
            .flat_map(|name| walk(&scene.state().join(name)))
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

/// All files below a directory.
fn walk(directory: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                walk(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

#[test]
fn only_what_follows_a_change_is_done_again() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("a", "1").file("b", "1");
    let text = format!(
        "{SHELL}COPY a /a\nRUN head -c 8 /dev/urandom > /one\nCOPY b /b\nRUN cat /a /b > /two\n"
    );
    scene.dockerfile(&text);
    let (first, _) = built(&scene, local_build(&scene));
    scene.file("b", "2");
    let (second, log) = built(&scene, local_build(&scene));
    assert_eq!(hits(&log), 4, "{log}");
    assert_eq!(second.file("two").text(), "12");
    assert_eq!(second.file("one").content, first.file("one").content);
    for (number, (old, new)) in first.layers.iter().zip(&second.layers).enumerate() {
        assert_eq!(old.digest == new.digest, number < 4, "layer {number}");
    }
    // And back: what was made first is still there.
    scene.file("b", "1");
    let (third, log) = built(&scene, local_build(&scene));
    assert_eq!(hits(&log), 6, "{log}");
    assert_eq!(third.digest, first.digest);
}

#[test]
fn what_cannot_alter_a_layer_does_not_alter_its_key() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("d/a", "1").file("d/b", "2").mode("d/a", 0o644);
    scene.dockerfile(&format!(
        "{SHELL}ARG WHO\nCOPY d /d\nRUN echo $WHO > /who\nLABEL last=1\n"
    ));
    let build = |args: &[&str]| {
        let call = local_build(&scene).args(args).args(["--no-push"]);
        hits(&call.success())
    };
    assert_eq!(build(&["--build-arg=WHO=me"]), 0);
    // Times, the order of a checkout, proxies, labels, threads.
    fs::remove_file(scene.path("d/a")).unwrap();
    scene.file("d/a", "1").mode("d/a", 0o644);
    let mut call = local_build(&scene).args(["--no-push", "--build-arg=WHO=me", "--jobs=7"]);
    call.command().args([
        "--build-arg=HTTP_PROXY=http://proxy.invalid:1",
        "--label=x=y",
    ]);
    assert_eq!(hits(&call.success()), 4);
    // What a step can see does.
    assert_eq!(build(&["--build-arg=WHO=you"]), 3);
    scene.mode("d/a", 0o600);
    assert_eq!(build(&["--build-arg=WHO=me"]), 2);
    scene.mode("d/a", 0o644);
    assert_eq!(build(&["--build-arg=WHO=me"]), 4);
    assert_eq!(build(&["--build-arg=WHO=me", "--compression=zstd"]), 0);
    assert_eq!(build(&["--build-arg=WHO=me", "--ignore-path=/x"]), 0);
}

#[test]
fn stages_that_only_feed_cached_steps_are_not_built() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.file("a", "1").file("b", "1");
    scene.dockerfile(&format!(
        "{} AS shell\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
         FROM shell AS build\nCOPY a /a\nRUN cat /a > /made\n\
         FROM shell AS test\nRUN echo tested > /tested\n\
         FROM shell\nCOPY --from=build /made /made\nCOPY --from=test /tested /tested\nCOPY b /b\nRUN cat /made /b > /all\n",
        "FROM scratch"
    ));
    let (first, log) = built(&scene, local_build(&scene));
    assert_eq!(hits(&log), 0);
    let (second, log) = built(&scene, local_build(&scene));
    assert_eq!((hits(&log), &second.digest), (6, &first.digest), "{log}");
    assert!(!log.stderr.contains("[build "), "{log}");
    // A later step changes: its sources are in the cache, the stages before are not looked at.
    scene.file("b", "2");
    let (third, log) = built(&scene, local_build(&scene));
    assert_eq!(third.file("all").text(), "12");
    assert!(
        !log.stderr.contains("[build ") && !log.stderr.contains("[test "),
        "{log}"
    );
    // A stage changes: the other one is not built.
    scene.file("a", "3");
    let (fourth, log) = built(&scene, local_build(&scene));
    assert_eq!(fourth.file("all").text(), "32");
    assert_eq!(fourth.file("tested").text(), "tested\n");
    assert!(log.stderr.contains("[build 2/2] RUN cat"), "{log}");
    assert!(
        !log.stderr.contains("] RUN echo tested > /tested\n"),
        "{log}"
    );
}

#[test]
fn one_layer_for_each_stage_is_cached_too() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!(
        "{SHELL}RUN head -c 8 /dev/urandom > /one\nLABEL a=b\n"
    ));
    let call = || local_build(&scene).arg("--single-snapshot");
    let (first, _) = built(&scene, call());
    let (second, log) = built(&scene, call());
    assert_eq!((hits(&log), first.layers.len()), (1, 1), "{log}");
    assert_eq!(second.document, first.document);
    let (_, log) = built(&scene, local_build(&scene));
    assert_eq!(hits(&log), 0, "{log}");
}

#[test]
fn flags_say_what_is_cached_and_for_how_long() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!("{SHELL}RUN echo 1 > /one\nCOPY busybox /two\n"));
    let build = |args: &[&str]| {
        let call = local_build(&scene).args(args).arg("--no-push");
        hits(&call.success())
    };
    assert_eq!(build(&["--no-push-cache"]), 0);
    assert!(names(&local(&scene).join("entries")).is_empty() || !local(&scene).exists());
    assert_eq!(build(&["--cache-copy-layers=false"]), 0);
    // The RUN has what lies under it; the COPY on top is carried out.
    assert_eq!(build(&["--cache-copy-layers=false"]), 3);
    assert_eq!(build(&["--cache-run-layers=false"]), 0);
    assert_eq!(build(&["--cache-run-layers=false"]), 4);
    assert_eq!(build(&[]), 4);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(build(&["--cache-ttl=0s", "--no-push-cache"]), 0);
    assert_eq!(build(&["--cache-ttl=1h", "--compressed-caching=false"]), 4);
    for (args, text) in [
        (vec!["--cache-ttl=soon"], "not a duration"),
        (vec!["--cache-repo=x.io/y:tag", "--cache"], "names an image"),
        (vec!["--cache-repo=oci:", "--cache"], "names no directory"),
    ] {
        scene
            .build()
            .args(args)
            .arg("--no-push")
            .mistake()
            .says(text);
    }
    let alone = scene.build().args(["--cache", "--no-push"]).mistake();
    alone.says("needs a place");
}

#[test]
fn what_was_made_is_kept_when_a_later_step_fails() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!("{SHELL}RUN echo 1 > /one\nRUN exit 3\n"));
    let failed = local_build(&scene).arg("--no-push").mistake();
    assert_eq!(failed.code(), 3);
    scene.dockerfile(&format!("{SHELL}RUN echo 1 > /one\nRUN exit 0\n"));
    let next = local_build(&scene).arg("--no-push").success();
    assert_eq!(hits(&next), 3, "{next}");
}

/// The entry of a cache directory that has the most steps.
#[test]
fn damaged_layers_are_misses_and_are_made_good() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&format!("{SHELL}RUN echo 1 > /one\n"));
    let (first, _) = built(&scene, local_build(&scene));
    let blobs = local(&scene).join("blobs/sha256");
    for damage in ["flipped", "short", "gone"] {
        for name in names(&blobs) {
            let path = blobs.join(name);
            let mut bytes = fs::read(&path).unwrap();
            match damage {
                "flipped" => {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 1;
                    fs::write(&path, bytes).unwrap();
                }
                "short" => fs::write(&path, &bytes[..5]).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
        }
        let (image, log) = built(&scene, local_build(&scene));
        assert_eq!(hits(&log), 0, "{damage}: {log}");
        log.says("warning: cache ");
        assert_eq!(image.file("one").text(), "1\n");
        assert_eq!(image.layers.len(), first.layers.len());
        let (_, log) = built(&scene, local_build(&scene));
        assert_eq!(hits(&log), 3, "after {damage}: {log}");
    }
}

#[test]
fn a_registry_that_is_broken_is_a_warning() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(&registry, "RUN echo 1 > /one\n"));
    let cached = |tag: &str| {
        let repository = format!("{}/layers", registry.host());
        push(&scene, &registry, tag).args(["--cache-repo", &repository])
    };
    // It refuses everything.
    registry.fault(
        "*",
        "/v2/layers/",
        1000,
        Action::Status(403, vec![], "no".into()),
    );
    let refused = cached("a").success();
    refused.says("warning: cache ");
    assert_eq!(Image::of_registry(&registry, "app", "a").layers.len(), 4);
    registry.state().faults.clear();
    // It has what is no entry.
    cached("b").success();
    let keys: Vec<(String, String)> = registry.state().manifests.keys().cloned().collect();
    for (repository, tag) in keys {
        if repository == "layers" && !tag.starts_with("sha256") {
            let image = registry.manifest("app", "b").unwrap();
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let mut state = registry.state();
            let place = (repository, tag);
            state
                .manifests
                .insert(place, (media_type.to_owned(), image));
        }
    }
    let wrong = cached("c").success();
    assert_eq!(hits(&wrong), 0, "{wrong}");
    wrong.says("not a cache entry of longshore");
}

#[test]
fn layers_that_a_registry_has_lost_are_made_again() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("a", "1");
    scene.dockerfile(&on_base(
        &registry,
        "RUN echo 1 > /one\nCOPY a /a\nRUN cat /a > /b\n",
    ));
    let repository = format!("{}/layers", registry.host());
    let lose = || {
        let mut state = registry.state();
        state
            .blobs
            .retain(|(name, _), _| name != "layers" && name != "app");
        state.manifests.retain(|(name, _), _| name != "app");
    };
    let cached = |tag: &str| push(&scene, &registry, tag).args(["--cache-repo", &repository]);
    cached("a").success();
    // A push that would have to mount them, a layout that would have to fetch them, a step that would stand on them.
    lose();
    let pushed = cached("b").success();
    pushed.says("the build begins again without caches");
    assert_eq!(
        Image::of_registry(&registry, "app", "b").file("b").text(),
        "1"
    );
    lose();
    let call = fresh(&scene).args(["--cache", "--cache-repo", &repository]);
    let (image, log) = built(&scene, call);
    log.says("the build begins again without caches");
    assert_eq!(image.file("b").text(), "1");
    lose();
    scene.file("a", "2");
    let stood = cached("c").success();
    stood.says("the build begins again without caches");
    assert_eq!(
        Image::of_registry(&registry, "app", "c").file("b").text(),
        "2"
    );
}

#[test]
fn many_builds_share_one_cache() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(
        &registry,
        "ARG N\nRUN head -c 100000 /dev/urandom > /one\nRUN echo $N > /n\n",
    ));
    let repository = format!("{}/layers", registry.host());
    for place in [repository, format!("oci:{}", local(&scene).display())] {
        let running: Vec<_> = (0..20)
            .map(|number| {
                let destination = format!("{}/app:{number}", registry.host());
                let argument = format!("--build-arg=N={}", number % 2);
                let args = [
                    "--cache",
                    "--cache-repo",
                    &place,
                    "-d",
                    &destination,
                    &argument,
                ];
                scene.build().args(args).start()
            })
            .collect();
        for (number, one) in running.into_iter().enumerate() {
            let finished = one.wait();
            assert!(finished.status.success(), "{number}: {finished}");
            assert!(!finished.stderr.contains("warning"), "{number}: {finished}");
            let image = Image::of_registry(&registry, "app", &number.to_string());
            assert_eq!(image.file("n").text(), format!("{}\n", number % 2));
        }
        // What they left is whole.
        for number in 0..2 {
            let argument = format!("--build-arg=N={number}");
            let layout = scene.out("image");
            let call = fresh(&scene).args(["--cache", "--cache-repo", &place, &argument]);
            let finished = call.arg("--oci-layout-path").arg(&layout).success();
            assert_eq!(hits(&finished), 4, "{finished}");
            let image = Image::of_layout(&layout);
            assert_eq!(image.file("n").text(), format!("{number}\n"));
        }
    }
}

#[test]
fn caches_are_named_as_in_buildx() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(&registry, "RUN head -c 8 /dev/urandom > /one\n"));
    let reference = format!("{}/app:layers", registry.host());
    let directory = local(&scene).display().to_string();
    let build = |from: &[&str], to: &[&str]| {
        let mut call = fresh(&scene);
        for (flag, values) in [("--cache-from", from), ("--cache-to", to)] {
            for value in values {
                call = call.args([flag, value]);
            }
        }
        built(&scene, call)
    };
    let remote = format!("type=registry,ref={reference},mode=max");
    let (first, log) = build(&[&reference], &[&remote]);
    assert_eq!(hits(&log), 0);
    let tags = registry
        .state()
        .manifests
        .keys()
        .cloned()
        .collect::<Vec<_>>();
    // Three layers, and the trace of what they were made of.
    let is_ours = |(name, tag): &&(String, String)| name == "app" && tag.starts_with("layers-");
    assert_eq!(tags.iter().filter(is_ours).count(), 4, "{tags:?}");
    // From there into a directory, which has all of it afterwards.
    let here = format!("type=local,dest={directory}");
    let (second, log) = build(&[&reference], &[&here]);
    assert_eq!((hits(&log), &second.digest), (3, &first.digest), "{log}");
    let there = format!("type=local,src={directory}");
    registry.fault(
        "*",
        "/v2/app/",
        1000,
        Action::Status(500, vec![], "no".into()),
    );
    let (third, log) = build(&[&there], &[]);
    assert_eq!((hits(&log), &third.digest), (3, &first.digest), "{log}");
    registry.state().faults.clear();
    // Several sources: what one does not have, the next may.
    let empty = format!("type=local,src={directory}-empty");
    let (fourth, log) = build(&[&empty, &there], &[]);
    assert_eq!((hits(&log), &fourth.digest), (3, &first.digest), "{log}");
    // A reader that must not write.
    let nowhere = format!("{directory}-none");
    let call = fresh(&scene).args(["--cache-to", &format!("type=local,dest={nowhere}")]);
    call.args(["--no-push", "--no-push-cache"]).success();
    assert!(!PathBuf::from(nowhere).exists());
    for (value, text) in [
        ("type=ftp,bucket=b", "type=ftp is not known"),
        ("type=local", "needs dest="),
    ] {
        let call = scene.build().args(["--no-push", "--cache-to", value]);
        call.mistake().says(text);
    }
}
