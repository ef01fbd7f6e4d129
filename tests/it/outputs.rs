//! Where an image goes, and the files that tell of it.

use std::fs;

use serde_json::Value;

use crate::image::Image;
use crate::mock::{Mock, Reply};
use crate::program::{Scene, names};
use crate::support::registry::{Auth, Registry};

fn scene() -> Option<Scene> {
    let scene = Scene::new()?;
    scene
        .file("a", "1")
        .file("b", "2")
        .dockerfile("FROM scratch\nCOPY a /a\nENV X=1\nCOPY b /b\n");
    Some(scene)
}

#[test]
fn two_destinations_get_the_same_image_and_tags_come_last() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let host = registry.host();
    let finished = scene
        .build()
        .args([
            "-d",
            &format!("{host}/team/app:v1"),
            "--destination",
            &format!("{host}/other"),
        ])
        .success();
    let one = Image::of_registry(&registry, "team/app", "v1");
    let two = Image::of_registry(&registry, "other", "latest");
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.paths(), ["a", "b"]);
    for line in [
        format!("{host}/team/app:v1@{}", one.digest),
        format!("{host}/other@{}", one.digest),
    ] {
        assert!(
            finished.stdout.lines().any(|text| text == line),
            "{line}: {finished}"
        );
        finished.says(&format!("Pushed {line}"));
    }
    // Within a repository, nothing is written after its tag, and everything before.
    for repository in ["team/app", "other"] {
        let state = registry.state();
        let writes: Vec<&str> = state
            .requests
            .iter()
            .filter(|request| matches!(&*request.method, "PUT" | "PATCH" | "POST"))
            .filter(|request| request.path.contains(&format!("/v2/{repository}/")))
            .map(|request| &*request.path)
            .collect();
        let tag = |path: &str| path.ends_with("/manifests/v1") || path.ends_with("/latest");
        let tags = writes.iter().filter(|path| tag(path)).count();
        assert_eq!(tags, 1, "{writes:?}");
        assert!(writes.last().is_some_and(|path| tag(path)), "{writes:?}");
    }
    // No layout where a destination was named.
    assert!(!scene.path("image.oci").exists());
}

#[test]
fn a_push_that_fails_leaves_no_tag_and_no_file() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    registry.state().largest_upload = Some(10);
    let failed = scene
        .build()
        .args(["-d", &format!("{}/app:v1", registry.host())])
        .arg("--digest-file")
        .arg(scene.out("digest"))
        .mistake();
    failed.says(&format!("{}/app", registry.host())).says("413");
    assert!(registry.state().manifests.is_empty(), "{failed}");
    assert!(!scene.out("digest").exists());
    assert_eq!(failed.stdout, "");
}

#[test]
fn no_push_pushes_nothing() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let destination = format!("{}/app:v1", registry.host());
    let build = || {
        scene
            .build()
            .args(["-d", &destination])
            .arg("--digest-file")
            .arg(scene.out("digest"))
    };
    for call in [
        build().arg("--no-push"),
        build().arg("--no-push=true"),
        build().env("KANIKO_NO_PUSH", "1"),
        build().env("LONGSHORE_NO_PUSH", "true"),
    ] {
        let finished = call.success();
        assert_eq!(registry.state().requests.len(), 0, "{finished}");
        let digest = fs::read_to_string(scene.out("digest")).unwrap();
        assert_eq!(finished.stdout, format!("{digest}\n"));
    }
    build()
        .arg("--no-push=false")
        .env("KANIKO_NO_PUSH", "true")
        .success();
    assert_eq!(
        Image::of_registry(&registry, "app", "v1").paths(),
        ["a", "b"]
    );
}

#[test]
fn files_that_tell_of_the_image() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let host = registry.host();
    let file = |name: &str| scene.out(name);
    scene
        .build()
        .args([
            "-d",
            &format!("{host}/team/app:v1"),
            "-d",
            &format!("{host}/other"),
            "-d",
            "docker.io/library/hub",
        ])
        .arg("--no-push")
        .arg("--digest-file")
        .arg(file("digest"))
        .arg("--image-name-with-digest-file")
        .arg(file("new/dir/names"))
        .arg("--image-name-tag-with-digest-file")
        .arg(file("tags"))
        .arg("--metadata-file")
        .arg(file("metadata"))
        .arg("--oci-layout-path")
        .arg(file("layout"))
        .success();
    let image = Image::of_layout(&file("layout"));
    let digest = &image.digest;
    let read = |name: &str| fs::read_to_string(file(name)).unwrap();
    assert_eq!(read("digest"), *digest);
    assert_eq!(
        read("new/dir/names"),
        format!(
            "{host}/team/app@{digest}\n{host}/other@{digest}\nindex.docker.io/library/hub@{digest}\n"
        )
    );
    assert_eq!(
        read("tags"),
        format!(
            "{host}/team/app:v1@{digest}\n{host}/other:latest@{digest}\nindex.docker.io/library/hub:latest@{digest}\n"
        )
    );
    let metadata: Value = serde_json::from_str(&read("metadata")).unwrap();
    assert_eq!(metadata["containerimage.digest"], **digest);
    assert_eq!(
        metadata["containerimage.config.digest"],
        image.manifest["config"]["digest"]
    );
    assert_eq!(metadata["containerimage.descriptor"]["size"], image.size);
    assert!(
        metadata["image.name"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{host}/team/app:v1,"))
    );
}

#[test]
fn an_archive_as_docker_load_reads_it() {
    let Some(scene) = scene() else { return };
    let path = scene.out("new/image.tar");
    for flag in ["--tar-path", "--tarPath"] {
        scene
            .build()
            .args([
                "-d",
                "team/app:v2",
                "-d",
                "reg.example.com/x",
                "--no-push",
                flag,
            ])
            .arg(&path)
            .success();
        let (image, tags) = Image::of_archive(&path);
        assert_eq!(tags, ["team/app:v2", "reg.example.com/x:latest"]);
        assert_eq!(image.paths(), ["a", "b"]);
        let config = image.manifest["Config"].as_str().unwrap();
        assert_eq!(
            config, image.digest,
            "the archive's name for the configuration"
        );
        let layers = image.manifest["Layers"].as_array().unwrap();
        assert!(
            layers
                .iter()
                .all(|name| name.as_str().unwrap().ends_with(".tar.gz")),
            "{layers:?}"
        );
        fs::remove_file(&path).unwrap();
    }
    scene.build().arg("--tar-path").arg(&path).success();
    assert_eq!(Image::of_archive(&path).1, Vec::<String>::new());
    assert!(!scene.path("image.oci").exists());
}

#[test]
fn a_layout_names_its_image_and_is_replaced() {
    let Some(scene) = scene() else { return };
    let layout = scene.out("image");
    let image = scene
        .build()
        .args(["-d", "reg.example.com/app:v1", "--no-push"])
        .image();
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let notes = &index["manifests"][0]["annotations"];
    assert_eq!(notes["org.opencontainers.image.ref.name"], "v1");
    assert_eq!(notes["io.containerd.image.name"], "reg.example.com/app:v1");
    assert_eq!(
        index["manifests"][0]["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    let other = scene.image("FROM scratch\nCOPY b /other\n");
    assert_ne!(other.digest, image.digest);
    assert_eq!(other.paths(), ["other"]);
}

#[test]
fn an_image_for_nobody_goes_to_the_working_directory() {
    let Some(scene) = scene() else { return };
    let finished = scene.build().current_dir(scene.root()).success();
    let layout = scene.root().join("image.oci");
    finished.says(&format!("wrote OCI layout {}", layout.display()));
    let image = Image::of_layout(&layout);
    assert_eq!(finished.stdout, format!("{}\n", image.digest));
    // Nor is anything lost where it is only said that a push is wished for.
    fs::remove_dir_all(&layout).unwrap();
    scene
        .build()
        .current_dir(scene.root())
        .arg("--no-push=false")
        .success();
    assert_eq!(Image::of_layout(&layout).paths(), ["a", "b"]);
}

#[test]
fn compressions_and_their_levels() {
    let Some(scene) = Scene::new() else { return };
    let numbers: Vec<String> = (0..20_000).map(|n: u32| (n * n).to_string()).collect();
    let text = numbers.join(" ");
    scene
        .file("a", text)
        .dockerfile("FROM scratch\nCOPY a /a\n");
    let build = |args: &[&str]| {
        let image = scene.build().args(args).image();
        let size = image.manifest["layers"][0]["size"].as_u64().unwrap();
        (
            image.layers[0].media_type.clone(),
            size,
            image.document["rootfs"]["diff_ids"].clone(),
        )
    };
    let gzip = build(&[]);
    assert_eq!(gzip.0, "application/vnd.oci.image.layer.v1.tar+gzip");
    let zstd = build(&["--compression=zstd"]);
    assert_eq!(zstd.0, "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(zstd.2, gzip.2, "the compression is not in the diff id");
    assert!(build(&["--compression-level=1"]).1 > build(&["--compression-level=9"]).1);
    let levels =
        ["1", "19"].map(|level| build(&["--compression=zstd", "--compression-level", level]).1);
    assert!(levels[0] > levels[1], "{levels:?}");
    assert_eq!(build(&["--compression-level=-1"]).1, gzip.1);
    for args in [
        &["--compression-level=10"][..],
        &["--compression=zstd", "--compression-level=23"],
        &["--compression-level=0"],
    ] {
        scene
            .build()
            .args(args)
            .mistake()
            .says("--compression-level");
    }
    let path = scene.out("z.tar");
    scene
        .build()
        .args(["--compression=zstd", "--tar-path"])
        .arg(&path)
        .success();
    assert_eq!(Image::of_archive(&path).0.paths(), ["a"]);
}

#[test]
fn one_layer_for_a_stage() {
    let Some(scene) = scene() else { return };
    scene.dockerfile(
        "FROM scratch\nCOPY a /d/a\nENV X=1\nCOPY --chmod=600 b /d/a\nCOPY b /b\nWORKDIR /w\n",
    );
    let image = scene.build().arg("--single-snapshot").image();
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.paths(), ["b", "d/", "d/a", "w/"]);
    let file = image.file("d/a");
    assert_eq!((file.text(), file.mode), ("2", 0o600));
    assert_eq!(image.config()["Env"][1], "X=1");
}

#[test]
fn logs_in_every_format() {
    let Some(scene) = scene() else { return };
    let json = scene
        .build()
        .args(["--log-format=json", "--no-push"])
        .success();
    for line in json.stderr.lines() {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(
            value["msg"].is_string() && value["level"] == "info",
            "{line}"
        );
    }
    let steps = json
        .stderr
        .lines()
        .filter(|line| line.contains("\"step\":"))
        .count();
    assert_eq!(steps, 3, "{json}");
    let quiet = scene
        .build()
        .args(["--verbosity=error", "--no-push"])
        .success();
    assert_eq!(quiet.stderr, "");
    let text = scene
        .build()
        .args(["--log-format", "text", "--log-timestamp", "--no-push"])
        .success();
    assert!(
        text.stderr.lines().all(|line| line.starts_with("20")),
        "{text}"
    );
    assert!(!text.stderr.contains('\x1b'));
    let from_env = scene
        .build()
        .env("LONGSHORE_VERBOSITY", "error")
        .arg("--no-push")
        .success();
    assert_eq!(from_env.stderr, "");
    let failed = scene
        .dockerfile("FROM scratch\nCOPY none /\n")
        .build()
        .args(["--log-format=json"])
        .run();
    let last: Value = serde_json::from_str(failed.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"].as_str().unwrap().contains("\"none\""),
        "{failed}"
    );
}

#[test]
fn nothing_of_a_build_stays_behind() {
    let Some(scene) = scene() else { return };
    scene
        .build()
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .success();
    assert_eq!(
        names(&scene.state().join("builds")),
        Vec::<std::ffi::OsString>::new()
    );
    assert_eq!(names(&scene.path("")), ["Dockerfile", "a", "b"]);
    assert_eq!(
        names(&scene.out("image")),
        ["blobs", "index.json", "oci-layout"]
    );
    let blobs = names(&scene.out("image").join("blobs/sha256"));
    let image = Image::of_layout(&scene.out("image"));
    assert_eq!(blobs.len(), 2 + image.layers.len());
    scene
        .dockerfile("FROM scratch\nCOPY a /\nCOPY none /\n")
        .build()
        .mistake();
    assert_eq!(
        names(&scene.state().join("builds")),
        Vec::<std::ffi::OsString>::new()
    );
    assert_eq!(names(&scene.path("")).len(), 3);
}

#[test]
fn what_tells_of_the_image_can_be_sent_to_a_server() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let tries = std::sync::atomic::AtomicU32::new(0);
    let mock = Mock::start(move |request| {
        if request.target.starts_with("/refused") {
            return Reply::Answer(403, String::new());
        }
        // The first try fails as servers do now and then.
        let is_first = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        Reply::Answer(if is_first { 503 } else { 200 }, String::new())
    });
    let url = |path: &str| format!("{}{path}", mock.url());
    let destination = format!("{}/app:v1", registry.host());
    let finished = scene
        .build()
        .args(["-d", &destination])
        .args(["--digest-file", &url("/digest?sig=canary-signature")])
        .args(["--image-name-tag-with-digest-file", &url("/names")])
        .success();
    finished.keeps("canary");
    let digest = Image::of_registry(&registry, "app", "v1").digest;
    let told: Vec<_> = mock
        .take()
        .into_iter()
        .map(|request| (request.method, request.target, request.body))
        .collect();
    let put = |target: &str, body: &str| ("PUT".to_owned(), target.to_owned(), body.into());
    let first = put("/digest?sig=canary-signature", &digest);
    assert_eq!(
        told,
        [
            first.clone(),
            first,
            put("/names", &format!("{destination}@{digest}\n")),
        ]
    );

    let layout = scene.out("layout");
    scene
        .build()
        .arg("--oci-layout-path")
        .arg(&layout)
        .success();
    let refused = url("/refused?sig=canary-signature");
    let push = |file: &str| {
        scene
            .longshore(&["push"])
            .arg(&layout)
            .args([&destination, "--digest-file", file])
    };
    push(&refused)
        .mistake()
        .says("/refused")
        .says("403")
        .keeps("canary");
    push("s3://bucket/digest")
        .mistake()
        .says("--digest-file")
        .says("https://");
}
