//! Builds against a registry that fails by chance.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::image::{Image, put_base, tar_of};
use crate::program::Scene;
use crate::support::registry::{Auth, Chaos, Registry};

/// How many builds there are.
const BUILDS: u64 = 100;
/// How many run at the same time: most of their time they wait to try again.
const AT_ONCE: usize = 10;

#[test]
fn every_build_succeeds_where_one_request_of_twenty_fails() {
    if Scene::new().is_none() {
        return;
    }
    let (next, faults, requests) = (
        AtomicUsize::new(1),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
        if seed > BUILDS {
            return;
        }
        let scene = Scene::bare();
        let bearer = Auth::Bearer {
            uses: 7,
            realm: None,
        };
        let registry = Registry::start(if seed.is_multiple_of(2) {
            bearer
        } else {
            Auth::Open
        });
        let tar = tar_of(&[("base", 'f', &"base ".repeat(20_000), 0o644)]);
        put_base(&registry, "base", "v1", &tar, &json!({}));
        registry.state().chaos = Some(Chaos {
            seed: seed * 0x9e37_79b9,
            per_mille: 50,
            failed: 0,
        });
        let host = registry.host();
        scene
            .file("a", seed.to_string())
            .file("b", "b".repeat(50_000))
            .dockerfile(&format!("FROM {host}/base:v1\nCOPY a /a\nCOPY b /b\n"));
        let auth = json!({"auths": {&host: {
            "username": "user", "password": crate::support::registry::PASSWORD,
        }}});
        scene
            .build()
            .args([
                "-d",
                &format!("{host}/app:v1"),
                "-d",
                &format!("{host}/other:v1"),
            ])
            .env("DOCKER_AUTH_CONFIG", auth.to_string())
            .success();
        for repository in ["app", "other"] {
            let image = Image::of_registry(&registry, repository, "v1");
            assert_eq!(image.file("a").text(), seed.to_string());
            assert_eq!(image.file("base").content.len(), 100_000);
        }
        let state = registry.state();
        let failed = state.chaos.as_ref().map_or(0, |chaos| chaos.failed);
        faults.fetch_add(failed, Ordering::Relaxed);
        requests.fetch_add(state.requests.len(), Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let (faults, requests) = (faults.into_inner(), requests.into_inner());
    eprintln!("{BUILDS} of {BUILDS} builds succeeded; {faults} of {requests} requests failed");
    assert!(faults > 50, "{faults} of {requests} requests failed");
}
