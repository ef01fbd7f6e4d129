//! Stages that do not need each other are built side by side.

use std::time::{Duration, Instant};

use crate::program::Scene;
use crate::running::SHELL;

/// A stage with a shell, called `shell`.
fn with_shell(rest: &str) -> String {
    format!(
        "{}{rest}",
        SHELL.replace("FROM scratch", "FROM scratch AS shell")
    )
}

#[test]
fn stages_run_side_by_side_and_the_log_says_whose_line_it_is() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let stage = |name: &str| {
        format!(
            "FROM shell AS {name}\nRUN date +%s > /{name}.begin; echo {name} speaks; sleep 3; date +%s > /{name}.end\n"
        )
    };
    scene.dockerfile(&with_shell(&format!(
        "{}{}FROM scratch\nCOPY --from=one /one.* /\nCOPY --from=two /two.* /\n",
        stage("one"),
        stage("two")
    )));
    let layout = scene.out("image");
    let call = scene.build().args(["--jobs", "4", "--oci-layout-path"]);
    let log = call.arg(&layout).success();
    let image = crate::image::Image::of_layout(&layout);
    let second = |name: &str| -> u64 { image.file(name).text().trim().parse().unwrap() };
    assert!(
        second("one.begin") < second("two.end") && second("two.begin") < second("one.end"),
        "one after the other: {log}"
    );
    log.says("[one] one speaks").says("[two] two speaks");
    // One after the other they are the same images, and lines are as they came.
    let layout = scene.out("other");
    let call = scene.build().args(["--jobs", "1", "--oci-layout-path"]);
    let log = call.arg(&layout).success();
    assert!(log.stderr.contains("\none speaks\n"), "{log}");
    let other = crate::image::Image::of_layout(&layout);
    assert_eq!(other.paths(), image.paths());
    assert!(second("one.begin") < second("one.end"));
}

#[test]
fn a_stage_that_fails_calls_the_others_off() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile(&with_shell(
        "FROM shell AS slow\nRUN sleep 300\nFROM shell AS bad\nRUN sleep 1; exit 9\nFROM scratch\nCOPY --from=slow / /\nCOPY --from=bad / /\n",
    ));
    let started = Instant::now();
    let failed = scene.build().args(["--jobs", "4", "--no-push"]).mistake();
    assert_eq!(failed.code(), 9, "{failed}");
    assert!(started.elapsed() < Duration::from_mins(2), "{failed}");
}

#[test]
fn a_base_of_several_stages_is_unpacked_once() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let registry = crate::support::registry::Registry::start(crate::support::registry::Auth::Open);
    let tar = crate::image::tar_of(&[("base", 'f', &"base ".repeat(200_000), 0o644)]);
    crate::image::put_base(&registry, "base", "v1", &tar, &serde_json::json!({}));
    let base = format!("FROM {}/base:v1", registry.host());
    scene.dockerfile(&format!(
        "{base} AS a\nCOPY Dockerfile /a\n{base} AS b\nCOPY Dockerfile /b\n{base} AS c\nCOPY Dockerfile /c\n\
         FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\n"
    ));
    let log = scene.build().args(["--jobs", "4", "--no-push"]).success();
    assert_eq!(log.stderr.matches("unpacked in").count(), 1, "{log}");
    assert_eq!(log.stderr.matches(" reused").count(), 2, "{log}");
}

#[test]
fn a_base_that_no_build_has_used_for_long_goes() {
    let Some((scene, registry)) = crate::caching::scene() else {
        return;
    };
    let kept = || -> Vec<std::path::PathBuf> {
        let flavours = std::fs::read_dir(scene.root().join("state/layers")).expect("layers");
        let layers = flavours.flat_map(|flavour| {
            std::fs::read_dir(flavour.expect("an entry").path()).expect("a directory")
        });
        layers
            .map(|layer| layer.expect("an entry").path())
            .collect()
    };
    let on_base = crate::caching::on_base(&registry, "RUN test -s /base\n");
    let build = |dockerfile: &str| {
        scene.dockerfile(dockerfile);
        scene.build().arg("--no-push").success()
    };
    build(&on_base);
    let layers = kept();
    if layers.is_empty() {
        // Where layers cannot be stacked none is kept apart.
        return;
    }
    // What was used lately stays.
    build(&with_shell("RUN true\n"));
    assert_eq!(kept(), layers);
    for layer in &layers {
        let marker = std::fs::File::open(layer.join("boot")).expect("a marker");
        let used = marker.metadata().and_then(|found| found.modified());
        let long_ago = used.expect("a time") - Duration::from_hours(15 * 24);
        marker.set_modified(long_ago).expect("a time");
    }
    build(&with_shell("RUN true\n"));
    assert_eq!(kept(), Vec::<std::path::PathBuf>::new());
    build(&on_base);
    assert_eq!(kept().len(), layers.len());
}
