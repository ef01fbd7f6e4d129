//! Archives that want out, or want two readers to disagree.

mod amounts;
mod format;
mod marks;
mod names;
mod places;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::rootfs::Protected;

use super::builder::{Archive, Scene};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Refused.
    E,
    /// Applied.
    C,
    /// Applied with a warning.
    S,
    /// Either: only the containment counts.
    Any,
}
use Verdict::{Any, C, E, S};

type Layers = Box<dyn Fn(&str) -> Vec<Vec<u8>>>;
type Check = Box<dyn Fn(&Path)>;

struct Case(&'static str, Layers, Verdict, Check);

fn one(
    name: &'static str,
    layer: impl Fn(Archive, &str) -> Archive + 'static,
    verdict: Verdict,
    check: impl Fn(&Path) + 'static,
) -> Case {
    let layers = move |out: &str| vec![layer(Archive::new(), out).end()];
    Case(name, Box::new(layers), verdict, Box::new(check))
}

fn two(
    name: &'static str,
    lower: impl Fn(Archive) -> Archive + 'static,
    upper: impl Fn(Archive) -> Archive + 'static,
    verdict: Verdict,
    check: impl Fn(&Path) + 'static,
) -> Case {
    let layers = move |_: &str| vec![lower(Archive::new()).end(), upper(Archive::new()).end()];
    Case(name, Box::new(layers), verdict, Box::new(check))
}

fn bytes(
    name: &'static str,
    layer: impl Fn() -> Vec<u8> + 'static,
    verdict: Verdict,
    check: impl Fn(&Path) + 'static,
) -> Case {
    Case(
        name,
        Box::new(move |_: &str| vec![layer()]),
        verdict,
        Box::new(check),
    )
}

fn anything(_: &Path) {}

fn has(path: &'static str, body: &'static str) -> impl Fn(&Path) {
    move |root| assert_eq!(fs::read_to_string(root.join(path)).unwrap(), body, "{path}")
}

fn absent(path: &'static str) -> impl Fn(&Path) {
    move |root| {
        assert!(
            fs::symlink_metadata(root.join(path)).is_err(),
            "{path} is there"
        );
    }
}

fn all(checks: Vec<Check>) -> impl Fn(&Path) {
    move |root| checks.iter().for_each(|check| check(root))
}

fn is_link(path: &'static str) -> impl Fn(&Path) {
    move |root| {
        assert!(
            fs::symlink_metadata(root.join(path)).unwrap().is_symlink(),
            "{path}"
        );
    }
}

fn is_real_dir(path: &'static str) -> impl Fn(&Path) {
    move |root| {
        assert!(
            fs::symlink_metadata(root.join(path)).unwrap().is_dir(),
            "{path}"
        );
    }
}

fn mode(path: &'static str, expect: u32) -> impl Fn(&Path) {
    move |root| {
        assert_eq!(
            fs::symlink_metadata(root.join(path)).unwrap().mode() & 0o7777,
            expect,
            "{path}"
        );
    }
}

fn run(cases: Vec<Case>) {
    for Case(name, layers, verdict, check) in cases {
        let scene = Scene::new();
        let layers = layers(&scene.out());
        let (last, lower) = layers.split_last().unwrap();
        for layer in lower {
            scene.apply(layer, &Protected::none()).unwrap();
        }
        let outcome = scene.apply(last, &Protected::none());
        scene.assert_contained(name);
        match (verdict, &outcome) {
            (E, Err(error)) => {
                let shown = error.to_string();
                assert!(!shown.chars().any(char::is_control), "{name}: {shown:?}");
            }
            (C, Ok(applied)) => assert!(
                applied.warnings.is_empty(),
                "{name}: {:?}",
                applied.warnings
            ),
            (S, Ok(applied)) => assert!(!applied.warnings.is_empty(), "{name}: no warning"),
            (Any, _) => {}
            (expected, got) => panic!("{name}: expected {expected:?}, got {got:?}"),
        }
        if outcome.is_ok() || verdict == E {
            check(&scene.root());
        }
        for marker in walk(&scene.root()) {
            assert!(!marker.contains("/.wh."), "{name}: {marker} stayed on disk");
        }
    }
}

fn walk(at: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(at) else {
        return found;
    };
    for entry in entries.flatten() {
        found.push(entry.path().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}
