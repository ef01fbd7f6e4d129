//! The same input gives the same image.

use crate::program::Scene;

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
