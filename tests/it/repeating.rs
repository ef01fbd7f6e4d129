//! The same input gives the same image.

use crate::caching::hits;
use crate::image::{Image, tar_of};
use crate::program::{Finished, Scene};
use crate::running::SHELL;

fn fill(scene: &Scene) {
    for number in 0..300 {
        scene.file(
            format!("tree/{}/{number}", number % 7),
            format!("file {number} ").repeat(number * 10),
        );
    }
    scene.dockerfile("FROM scratch\nCOPY tree /made/for/tree\nWORKDIR /w\nCOPY <<x /inline\ntext\nx\nADD tree/1/1 /w/\nLABEL a=b\n");
}

#[test]
fn an_epoch_makes_builds_equal_for_any_number_of_threads() {
    let Some(scene) = Scene::new() else { return };
    fill(&scene);
    let build = |jobs: &str| {
        scene
            .build()
            .env("SOURCE_DATE_EPOCH", "1234567890")
            .args(["--jobs", jobs])
            .image()
    };
    let one = build("1");
    assert_eq!(one.document["created"], "2009-02-13T23:31:30Z");
    let history = one.document["history"].as_array().unwrap();
    assert!(
        history
            .iter()
            .all(|entry| entry["created"] == "2009-02-13T23:31:30Z"),
        "{history:?}"
    );
    for made in ["made", "w", "inline"] {
        assert_eq!(one.file(made).mtime, 1_234_567_890, "{made}");
    }
    for jobs in ["8", "1", "3"] {
        let other = build(jobs);
        assert_eq!(other.document, one.document, "--jobs {jobs}");
        assert_eq!(other.digest, one.digest, "--jobs {jobs}");
    }
}

#[test]
fn zstd_is_as_steady_as_gzip() {
    let Some(scene) = Scene::new() else { return };
    fill(&scene);
    let build = |jobs: &str| {
        let call = scene.build().env("SOURCE_DATE_EPOCH", "1").args([
            "--compression=zstd",
            "--jobs",
            jobs,
        ]);
        call.image().digest
    };
    assert_eq!(build("1"), build("8"));
}

#[test]
fn without_an_epoch_layers_are_equal_and_the_time_is_now() {
    let Some(scene) = Scene::new() else { return };
    scene
        .file("d/a", "1")
        .dockerfile("FROM scratch\nCOPY d/a /a\n");
    let (one, two) = (scene.build().image(), scene.build().image());
    assert_eq!(one.layers[0].digest, two.layers[0].digest);
    let created = one.document["created"].as_str().unwrap();
    assert!(created.ends_with('Z') && created > "2024", "{created}");
    let mistake = scene
        .build()
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .mistake();
    mistake.says("SOURCE_DATE_EPOCH").says("yesterday");
}

#[test]
fn reproducible_means_that_no_clock_counts() {
    let Some(scene) = Scene::new() else { return };
    fill(&scene);
    scene.file("old", "x");
    scene.dockerfile("FROM scratch\nARG SOURCE_DATE_EPOCH=none\nLABEL epoch=$SOURCE_DATE_EPOCH\nCOPY tree /made/for/tree\nCOPY old /\nWORKDIR /w\nCOPY <<x /inline\ntext\nx\n");
    let touch = |name: &str, seconds: u64| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let file = std::fs::File::open(scene.path(name)).expect("a file");
        file.set_modified(time).expect("a time");
    };
    let cache = scene.root().join("cache");
    let cache = format!("type=local,dest={}", cache.display());
    let build = |flags: &[&str], epoch: &str| {
        let call = scene.build().args(flags).env("SOURCE_DATE_EPOCH", epoch);
        call.args(["--cache-to", &cache]).image()
    };
    let cached = |flags: &[&str], epoch: &str| {
        let from = cache.replace("dest=", "src=");
        let call = scene.build().args(flags).env("SOURCE_DATE_EPOCH", epoch);
        call.args(["--cache-from", &from]).image()
    };
    // Of what is not reproducible nothing is used.
    touch("tree/1/1", 1_600_000_000);
    touch("old", 500);
    build(&[], "");
    let zero = cached(&["--reproducible"], "");
    assert_eq!(zero.document["created"], "1970-01-01T00:00:00Z");
    assert_eq!(zero.document["config"]["Labels"]["epoch"], "none");
    for name in ["made", "made/for/tree/1/1", "old", "w", "inline"] {
        assert_eq!(zero.file(name).mtime, 0, "{name}");
    }
    let dated = build(&["--reproducible=true"], "1000");
    assert_eq!(dated.document["created"], "1970-01-01T00:16:40Z");
    assert_eq!(dated.document["config"]["Labels"]["epoch"], "1000");
    for (name, mtime) in [("made", 1000), ("made/for/tree/1/1", 1000), ("old", 500)] {
        assert_eq!(dated.file(name).mtime, mtime, "{name}");
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    touch("tree/1/1", 1_700_000_000);
    assert_eq!(build(&["--reproducible"], "").digest, zero.digest);
    assert_eq!(build(&["--reproducible"], "1000").digest, dated.digest);
    assert_eq!(cached(&["--reproducible"], "1000").digest, dated.digest);
    // The build argument wins over the variable.
    let argument = ["--reproducible", "--build-arg", "SOURCE_DATE_EPOCH=1000"];
    assert_eq!(build(&argument, "7").digest, dated.digest);
    // Without the flag files keep their times.
    let kept = build(&[], "1000");
    assert_eq!(kept.file("made/for/tree/1/1").mtime, 1_700_000_000);
    assert_eq!(kept.document["created"], "1970-01-01T00:16:40Z");
}

#[test]
fn the_umask_of_the_program_alters_no_layer_and_no_key() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let inner = tar_of(&[("in/an/archive", 'f', "1", 0o640)]);
    scene
        .file("d/a", "1")
        .file("d/b/c", "2")
        .file("t.tar", inner);
    for (name, mode) in [
        ("d", 0o755),
        ("d/b", 0o770),
        ("d/a", 0o644),
        ("d/b/c", 0o666),
    ] {
        scene.mode(name, mode);
    }
    let dockerfile = format!(
        "{SHELL}COPY d /made/for/d\nCOPY --parents d/b/c /parents/\nADD t.tar /made/for/tar/\nWORKDIR /w/x\nCOPY <<x /inline\ntext\nx\n\
         RUN mkdir dir; touch dir/file; umask > mask\nCOPY --link --chmod=u+x d/a /linked/a\n"
    );
    scene.dockerfile(&dockerfile);
    let cache = format!("oci:{}", scene.root().join("cache").display());
    let build = |umask: &str, more: &[&str]| -> (Image, Finished) {
        let layout = scene.out("image");
        let call = scene.build().env("SOURCE_DATE_EPOCH", "1").args(more);
        let call = call
            .args(["--reproducible", "--oci-layout-path"])
            .arg(&layout);
        let finished = call.after(&format!("umask {umask}")).success();
        (Image::of_layout(&layout), finished)
    };
    let (first, _) = build("022", &["--cache", "--cache-repo", &cache]);
    for (name, mode) in [
        ("made", 0o755),
        ("made/for/d/b", 0o770),
        ("made/for/d/b/c", 0o666),
        ("parents/d", 0o755),
        ("made/for/tar/in/an/archive", 0o640),
        ("w/x", 0o755),
        ("w/x/dir/file", 0o644),
        ("inline", 0o644),
        ("linked/a", 0o744),
    ] {
        assert_eq!(first.file(name).mode & 0o7777, mode, "{name}");
    }
    for umask in ["000", "077"] {
        let (other, _) = build(umask, &[]);
        assert_eq!(other.digest, first.digest, "umask {umask}");
        let (cached, log) = build(umask, &["--cache", "--cache-repo", &cache]);
        assert_eq!(
            (hits(&log), &cached.digest),
            (9, &first.digest),
            "{umask}: {log}"
        );
    }
}

#[test]
fn entries_of_a_layer_are_sorted() {
    let Some(scene) = Scene::new() else { return };
    fill(&scene);
    let image = scene.build().image();
    let paths = image.layers[0].paths();
    let mut sorted = paths.clone();
    sorted.sort_by(|left, right| left.split('/').cmp(right.split('/')));
    assert_eq!(paths, sorted);
    sorted.dedup();
    assert_eq!(paths.len(), sorted.len(), "an entry twice");
}
