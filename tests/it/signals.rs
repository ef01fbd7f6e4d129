//! A build that is called off.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::image::{put_base, tar_of};
use crate::program::{Scene, names};
use crate::running::SHELL;
use crate::support::registry::{Action, Auth, Registry};

/// The command lines of this machine's processes that contain `mark`.
pub(crate) fn processes_with(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").expect("/proc");
    processes
        .flatten()
        .filter(|entry| {
            entry.file_name() != *own && entry.file_name().to_string_lossy().parse::<u32>().is_ok()
        })
        // A process may be gone by now, or be a zombie without a command line.
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(mark))
        .collect()
}

#[test]
fn a_signal_ends_a_command_and_the_build() {
    for (number, (signal, code)) in [(Signal::TERM, 143), (Signal::INT, 130)]
        .into_iter()
        .enumerate()
    {
        let Some(scene) = Scene::with_busybox() else {
            return;
        };
        let registry = Registry::start(Auth::Open);
        let mark = format!("4321{number}{}", std::process::id());
        scene.dockerfile(&format!(
            "{SHELL}RUN trap '' TERM INT; (setsid sleep {mark} &); echo run''ning; sleep {mark}\n"
        ));
        let mut running = scene
            .build()
            .args(["-d", &format!("{}/app:v1", registry.host())])
            .arg("--digest-file")
            .arg(scene.out("digest"))
            .start();
        running.wait_for("\nrunning\n");
        assert_ne!(
            processes_with(&mark),
            Vec::<String>::new(),
            "nothing to end"
        );
        running.signal(signal);
        let finished = running.wait();
        assert_eq!(finished.status.code(), Some(code), "{finished}");
        finished.says("nothing was tagged");
        assert_eq!(processes_with(&mark), Vec::<String>::new());
        assert!(registry.state().manifests.is_empty());
        assert!(!scene.out("digest").exists());
        assert_eq!(
            names(&scene.state().join("builds")),
            Vec::<std::ffi::OsString>::new()
        );
    }
}

#[test]
fn a_signal_ends_a_download() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    let layer = put_base(
        &registry,
        "base",
        "v1",
        &tar_of(&[("f", 'f', "1", 0o644)]),
        &json!({}),
    );
    let stall = Action::Stall(std::time::Duration::from_mins(5));
    registry.fault("GET", &format!("blobs/{layer}"), 100, stall);
    scene
        .file("a", "1")
        .dockerfile(&format!("FROM {}/base:v1\nCOPY a /a\n", registry.host()));
    let mut running = scene.build().start();
    running.wait_for("image 127.0.0.1");
    while registry.count("GET", &format!("blobs/{layer}")) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(Signal::TERM);
    let finished = running.wait();
    assert_eq!(finished.status.code(), Some(143), "{finished}");
    finished.says("nothing was tagged");
    assert!(!scene.path("image.oci").exists());
    assert_eq!(
        names(&scene.state().join("builds")),
        Vec::<std::ffi::OsString>::new()
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let Some(scene) = Scene::new() else { return };
    let registry = Registry::start(Auth::Open);
    scene.file("a", "1").dockerfile("FROM scratch\nCOPY a /a\n");
    let stall = Action::Stall(std::time::Duration::from_mins(5));
    registry.fault("GET", "/v2/", 100, stall);
    let running = scene
        .build()
        .args(["-d", &format!("{}/app", registry.host())])
        .start();
    while registry.count("GET", "/v2/") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(Signal::TERM);
    running.signal(Signal::TERM);
    let finished = running.wait();
    assert_eq!(finished.status.code(), Some(143), "{finished}");
}

#[test]
fn what_a_killed_build_left_is_taken_away_by_the_next() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let mark = format!("8765{}", std::process::id());
    scene.dockerfile(&format!("{SHELL}RUN echo run''ning; sleep {mark}\n"));
    let mut running = scene.build().start();
    running.wait_for("\nrunning\n");
    running.signal(Signal::KILL);
    running.wait();
    scene.dockerfile("FROM scratch\nCOPY busybox /b\n");
    assert_eq!(scene.build().image().paths(), ["b"]);
    assert_eq!(
        names(&scene.state().join("builds")),
        Vec::<std::ffi::OsString>::new()
    );
    assert_eq!(processes_with(&mark), Vec::<String>::new());
}
