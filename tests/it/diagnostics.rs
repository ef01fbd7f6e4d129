//! What the program says to a mistake: every directory of tests/fixtures/diagnostics is a build that fails, and holds what the
//! program must print. `LONGSHORE_TEST_UPDATE=1 cargo test --test it diagnostics` writes it anew: read the difference.
//!
//! A case is a `Dockerfile`, the files of its `context`, and `args`, one argument a line.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Scene;

/// Mistakes that are in no Dockerfile: of the command line, and that there is none.
const WITHOUT_A_LINE: [&str; 3] = [
    "build-arg-without-name",
    "dockerfile-in-a-directory",
    "dockerfile-missing-name",
];

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diagnostics");
    let mut cases: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap_or_else(|error| panic!("{}: {error}", root.display()))
        .map(|entry| entry.expect("a file of the case").path())
        .collect();
    cases.sort();
    cases
}

/// Copies the files of a case into the scene's context.
fn copy(scene: &Scene, from: &Path, below: &Path) {
    for entry in fs::read_dir(from).expect("a file of the case") {
        let entry = entry.expect("a file of the case");
        let name = below.join(entry.file_name());
        if entry.file_type().expect("a file of the case").is_dir() {
            copy(scene, &entry.path(), &name);
        } else {
            scene.file(&name, fs::read(entry.path()).expect("a file of the case"));
        }
    }
}

/// What the program prints for a case.
fn printed(case: &Path) -> String {
    let scene = Scene::bare();
    scene.file(
        "Dockerfile",
        fs::read(case.join("Dockerfile")).expect("a file of the case"),
    );
    if case.join("context").exists() {
        copy(&scene, &case.join("context"), Path::new(""));
    }
    let args = fs::read_to_string(case.join("args")).unwrap_or_default();
    let finished = scene
        .build()
        .args(args.lines())
        .arg("--oci-layout-path")
        .arg(scene.out("image"))
        .env("LONGSHORE_VERBOSITY", "error")
        .run();
    assert_ne!(finished.code(), 0, "{}: {finished}", case.display());
    assert_ne!(finished.code(), 101, "{}: {finished}", case.display());
    assert!(!scene.out("image").exists(), "{}", case.display());
    let root = scene.root().display().to_string();
    assert_eq!(finished.stdout, "", "{}", case.display());
    finished.stderr.replace(&root, "ROOT")
}

#[test]
fn every_mistake_is_told_with_its_line_its_cause_and_a_way_out() {
    if Scene::new().is_none() {
        return;
    }
    let is_update = std::env::var_os("LONGSHORE_TEST_UPDATE").is_some();
    let cases = cases();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let (mut differences, mut incomplete) = (String::new(), Vec::new());
    for case in cases {
        let name = case
            .file_name()
            .expect("a file of the case")
            .to_string_lossy()
            .into_owned();
        let printed = printed(&case);
        let file = case.join("expected");
        if is_update {
            fs::write(&file, &printed).expect("a file of the case");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if printed != expected {
            let _ = writeln!(differences, "== {name}\n{printed}-- expected\n{expected}");
        }
        incomplete.extend(lacking(&name, &printed));
        for leak in ["sha256:", "/builds/", "panicked"] {
            assert!(!printed.contains(leak), "{name}: {printed}");
        }
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(incomplete.is_empty(), "{incomplete:#?}");
}

/// What the text of a mistake lacks.
fn lacking(name: &str, printed: &str) -> Vec<String> {
    let is_about_a_line = !WITHOUT_A_LINE.contains(&name);
    let (place, way_out) = if is_about_a_line {
        (vec!["\n --> Dockerfile:", " | ", "^"], "\n  = help: ")
    } else {
        (Vec::new(), "\n  hint: ")
    };
    // Several mistakes may be told at once: each is complete.
    printed
        .split("error: ")
        .skip(1)
        .flat_map(|mistake| {
            let parts = place.iter().chain([&way_out]);
            parts.filter(move |part| !mistake.contains(**part))
        })
        .map(|part| format!("{name}: no {part:?}"))
        .collect()
}
