//! Contexts at a URL, from small servers: whole, broken off on the way, and not what they should be.

use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use crate::image::{gzip, tar_of};
use crate::mock::{Arrived, Mock, Reply};
use crate::program::{Call, Scene};

fn archive() -> Vec<u8> {
    let mut state = 1_u32;
    let noise: String = (0..3_000_000)
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
    for (path, expect) in [
        ("/none", "404"),
        ("/text", "neither a tar nor compressed"),
        ("/cut", "cut off"),
        (zeros.as_str(), "expected sha256:0000"),
        ("/archive#main", "no checksum"),
    ] {
        build(&scene, &url(path)).mistake().says(expect);
    }
    let limited = |limit: &str| build(&scene, &url("/archive")).args(["--context-limit", limit]);
    limited("1m")
        .mistake()
        .says("more than 1048576 bytes")
        .says("--context-limit");
    limited("4m").success();
    limited("much").mistake().says("such as 500m or 2g");
}
