//! Contexts at a URL, from small servers: whole, broken off on the way, and not what they should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::image::{gzip, tar_of};
use crate::mock::{Arrived, Mock, Pending, Reply};
use crate::program::{Call, Scene};

fn archive() -> Vec<u8> {
    archive_of(3_000_000)
}

/// As much as comes in parts, each of 4 MiB.
fn large_archive() -> Vec<u8> {
    archive_of(18_000_000)
}

const PART: usize = 4 << 20;

fn archive_of(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let noise: String = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + (state >> 26) as u8)
        })
        .collect();
    tar_of(&[
        ("Dockerfile", 'f', "FROM scratch\nCOPY a d/b /\n", 0o644),
        ("a", 'f', &noise, 0o600),
        ("d/b", 'f', "packed", 0o644),
    ])
}

fn build(scene: &Scene, context: &str) -> Call {
    scene
        .longshore(&["build", "-c", context, "--no-push"])
        .env("SOURCE_DATE_EPOCH", "1")
}

fn digest(call: Call) -> String {
    let finished = call.success();
    finished.keeps("canary");
    finished.stdout
}

fn from_file(scene: &Scene, bytes: &[u8]) -> String {
    let path = scene.root().join("context.tar");
    std::fs::write(&path, bytes).expect("a file");
    digest(build(scene, &format!("tar://{}", path.display())))
}

/// Serves a file with its tag, and what is asked for of it.
fn serve(bytes: &[u8], request: &Arrived, tag: &str) -> Reply {
    let start = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
        .map_or(0, |start| start.parse().expect("a number"));
    let mut headers = vec![("etag", tag.to_owned())];
    if start == 0 || request.header("if-range") != Some(tag) {
        return Reply::Full(200, headers, bytes.to_vec());
    }
    let length = bytes.len();
    headers.push((
        "content-range",
        format!("bytes {start}-{}/{length}", length - 1),
    ));
    Reply::Full(206, headers, bytes[start..].to_vec())
}

#[test]
fn a_url_gives_what_a_file_gives() {
    let Some(scene) = Scene::new() else { return };
    let plain = archive();
    let expect = from_file(&scene, &plain);
    let zstd = zstd::encode_all(&plain[..], 1).expect("zstd");
    for bytes in [plain.clone(), gzip(&plain), zstd] {
        let sum = hex::encode(Sha256::digest(&bytes));
        let mock = Mock::start(move |request| {
            assert_eq!(request.target, "/x/archive?token=canary-token");
            serve(&bytes, request, "\"v1\"")
        });
        let url = format!("{}/x/archive?token=canary-token", mock.url());
        assert_eq!(digest(build(&scene, &url)), expect);
        assert_eq!(
            digest(build(&scene, &format!("{url}#sha256:{sum}"))),
            expect
        );
        let host = mock.url().replace("http://", "http://us%40er:canary-pw@");
        let url = url.replace(&mock.url(), &host);
        assert_eq!(digest(build(&scene, &url)), expect);
        let arrived = mock.arrived();
        assert_eq!(arrived.len(), 3, "one request each: {arrived:?}");
        assert_eq!(arrived[0].header("authorization"), None);
        // us@er:canary-pw
        let basic = arrived[2].header("authorization");
        assert_eq!(basic, Some("Basic dXNAZXI6Y2FuYXJ5LXB3"));
    }
}

#[test]
fn what_breaks_off_goes_on_with_the_same_file() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let expect = from_file(&scene, &bytes);
    let count = AtomicUsize::new(0);
    let cut = |request: &Arrived, bytes: &[u8], tag: &str| match serve(bytes, request, tag) {
        Reply::Full(status, mut headers, mut body) => {
            headers.push(("content-length", body.len().to_string()));
            body.truncate(1_000_000);
            Reply::Full(status, headers, body)
        }
        other => other,
    };
    let object = bytes.clone();
    let mock = Mock::start(move |request| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Full(503, vec![], vec![]),
        1 | 2 => cut(request, &object, "\"v1\""),
        _ => serve(&object, request, "\"v1\""),
    });
    assert_eq!(digest(build(&scene, &mock.url())), expect);
    let ranges: Vec<_> = mock
        .arrived()
        .iter()
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert_eq!(ranges[..2], [None, None]);
    assert!(ranges[2].is_some() && ranges[2] < ranges[3], "{ranges:?}");

    // Another file is at the place meanwhile.
    let count = AtomicUsize::new(0);
    let mock = Mock::start(move |request| match count.fetch_add(1, Ordering::Relaxed) {
        0 => cut(request, &bytes, "\"v1\""),
        _ => serve(&bytes, request, "\"v2\""),
    });
    let failed = build(&scene, &mock.url()).mistake();
    failed.says("cannot go on there with the same file");
}

/// The bytes that a request asks for; all if there is no range in it.
fn range(request: &Arrived, length: usize) -> (usize, usize) {
    let range = request.header("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse().ok()?, end.parse::<usize>().ok()? + 1))
    });
    range.unwrap_or((0, length))
}

/// Serves a file or a part of it, and says that it does.
fn serve_parts(bytes: &[u8], request: &Arrived, tag: &str) -> Reply {
    let (start, end) = range(request, bytes.len());
    let mut headers = vec![
        ("etag", tag.to_owned()),
        ("accept-ranges", "bytes".to_owned()),
    ];
    if start == 0 || request.header("if-range") != Some(tag) {
        return Reply::Full(200, headers, bytes.to_vec());
    }
    let of = bytes.len();
    headers.push(("content-range", format!("bytes {start}-{}/{of}", end - 1)));
    Reply::Full(206, headers, bytes[start..end].to_vec())
}

#[test]
fn a_large_file_comes_in_parts_side_by_side() {
    let Some(scene) = Scene::new() else { return };
    let bytes = large_archive();
    let expect = from_file(&scene, &bytes);
    let sum = hex::encode(Sha256::digest(&bytes));
    let pending = Arc::new(Pending::default());
    let held = Arc::clone(&pending);
    let object = bytes.clone();
    let broken = AtomicUsize::new(0);
    let mock = Mock::start(move |request| {
        let (start, end) = range(request, object.len());
        // The second part is asked for alone, while the first comes.
        if start > PART {
            held.wait_for(3);
            match broken.fetch_add(1, Ordering::SeqCst) {
                0 => return Reply::Full(503, vec![], vec![]),
                // What breaks off in the middle goes on there.
                2 => {
                    let of = object.len();
                    let headers = vec![
                        ("content-range", format!("bytes {start}-{}/{of}", end - 1)),
                        ("content-length", (end - start).to_string()),
                    ];
                    return Reply::Full(206, headers, object[start..start + 100_000].to_vec());
                }
                _ => {}
            }
        }
        serve_parts(&object, request, "\"v1\"")
    });
    let context = format!("{}#sha256:{sum}", mock.url());
    assert_eq!(digest(build(&scene, &context)), expect);
    assert!(pending.most() >= 3, "{} at once", pending.most());
    let arrived = mock.arrived();
    // One for each part, one after the 503, one after what broke off; no part is asked for whole twice but the refused one.
    assert_eq!(arrived.len(), bytes.len().div_ceil(PART) + 2);
    let mut asked: usize = 0;
    for request in &arrived {
        let (start, end) = range(request, PART);
        asked += end - start;
        if start > 0 {
            assert_eq!(request.header("if-range"), Some("\"v1\""));
        }
    }
    assert!(
        asked >= bytes.len() && asked <= bytes.len() + 2 * PART,
        "{asked}"
    );

    // A server that says that it gives parts, and does not.
    let object = bytes.clone();
    let mock = Mock::start(move |_| {
        let headers = vec![
            ("etag", "\"v1\"".to_owned()),
            ("accept-ranges", "bytes".to_owned()),
        ];
        Reply::Full(200, headers, object.clone())
    });
    assert_eq!(digest(build(&scene, &mock.url())), expect);
    assert_eq!(mock.arrived().len(), 2);

    // One that serves a client once at a time.
    let object = bytes.clone();
    let mock = Mock::start(move |request| match request.header("range") {
        Some(_) => Reply::Full(429, vec![], vec![]),
        None => serve_parts(&object, request, "\"v1\""),
    });
    assert_eq!(digest(build(&scene, &mock.url())), expect);

    // One that does not say which file it is, so that nobody would see that it is another one.
    let object = bytes.clone();
    let mock = Mock::start(move |_| {
        Reply::Full(
            200,
            vec![("accept-ranges", "bytes".to_owned())],
            object.clone(),
        )
    });
    assert_eq!(digest(build(&scene, &mock.url())), expect);
    assert_eq!(mock.arrived().len(), 1);
}

#[test]
fn a_file_that_changes_between_its_parts_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let bytes = large_archive();
    let expect = from_file(&scene, &bytes);
    // From which part on there is another one; the first answer goes on with the file that it began with.
    for (from, is_refused) in [(PART, false), (2 * PART, true)] {
        let object = bytes.clone();
        let mock = Mock::start(move |request| {
            let (start, _) = range(request, object.len());
            let tag = if start >= from { "\"v2\"" } else { "\"v1\"" };
            serve_parts(&object, request, tag)
        });
        let call = build(&scene, &mock.url());
        if is_refused {
            call.mistake().says("was changed while it was downloaded");
        } else {
            assert_eq!(digest(call), expect);
        }
    }
}

#[test]
fn a_download_that_takes_long_is_told() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let object = bytes.clone();
    let mock = Mock::start(move |request| {
        let (first, rest) = object.split_at(1_500_000);
        match request.target.as_str() {
            "/slow" => Reply::Paused(
                vec![],
                first.to_vec(),
                Duration::from_millis(5500),
                rest.to_vec(),
            ),
            _ => Reply::Full(200, vec![], object.clone()),
        }
    });
    let slow = format!("{}/slow", mock.url());
    let finished = build(&scene, &slow).success();
    let told: Vec<&str> = finished
        .stderr
        .lines()
        .filter(|line| line.starts_with("context: ") && line.contains(" MB"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with(&format!("context: {slow}, 2.")),
        "{told:?}"
    );
    assert!(told[0].ends_with(" MB of 3.0 MB"), "{told:?}");
    let quick = build(&scene, &mock.url()).success();
    assert!(!quick.stderr.contains(" of 3.0 MB"), "{}", quick.stderr);
}

#[test]
fn what_is_no_context_says_why() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let mock = Mock::start(move |request| match request.target.as_str() {
        "/text" => Reply::Full(200, vec![], b"<html>no archive</html>".repeat(100)),
        "/cut" => Reply::Full(200, vec![], bytes[..1_000_000].to_vec()),
        "/archive" => Reply::Full(200, vec![], bytes.clone()),
        _ => Reply::Full(404, vec![], vec![]),
    });
    let url = |path: &str| format!("{}{path}", mock.url());
    let zeros = format!("/archive#sha256:{}", "00".repeat(32));
    for (path, expect, hint) in [
        ("/none", "404", "check the URL"),
        (
            "/text",
            "neither a tar nor compressed",
            "it has to be a tar archive",
        ),
        ("/cut", "cut off", "check that the archive is whole"),
        (zeros.as_str(), "expected sha256:0000", "do not trust it"),
        ("/archive#main", "no checksum", ""),
    ] {
        build(&scene, &url(path)).mistake().says(expect).says(hint);
    }
    let limited = |limit: &str| build(&scene, &url("/archive")).args(["--context-limit", limit]);
    limited("1m")
        .mistake()
        .says("more than 1048576 bytes")
        .says("--context-limit");
    limited("4m").success();
    limited("much").mistake().says("such as 500m or 2g");
}
