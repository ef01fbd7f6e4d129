//! Contexts in object stores, against small servers in the stores' place: whole, in parts, with what breaks on the way.

use std::sync::Mutex;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::image::{gzip, tar_of};
use crate::mock::{Arrived, Mock, Reply};
use crate::program::{Call, Scene};

const DOCKERFILE: &str = "FROM scratch\nCOPY a b /\n";

/// Larger than a part, and not to be compressed.
fn archive() -> Vec<u8> {
    let mut state = 1_u32;
    let noise: String = (0..10_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + (state >> 26) as u8)
        })
        .collect();
    tar_of(&[
        ("Dockerfile", 'f', DOCKERFILE, 0o644),
        ("a", 'f', &noise, 0o600),
        ("b", 'f', "packed", 0o644),
    ])
}

/// The bytes that a request asks for, and their place.
fn range(request: &Arrived, bytes: &[u8]) -> Option<(usize, usize)> {
    let (_, range) = request.header("range")?.split_once('=')?;
    let (start, end) = range.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = end.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
    Some((start, end + 1))
}

/// A bucket `bucket` that holds `context.tar.gz`, `dir/context.tar` and more.
fn s3(
    object: Vec<u8>,
    sum: Option<String>,
    fault: impl Fn(&Arrived) -> Option<Reply> + Send + Sync + 'static,
) -> Mock {
    Mock::start(move |request| {
        if let Some(reply) = fault(request) {
            return reply;
        }
        let path = request.target.split('?').next().unwrap_or_default();
        let error = |status: u16, code: &str| {
            let body = format!("<Error><Code>{code}</Code><Message>said: {code}</Message></Error>");
            Reply::Full(status, vec![], body.into_bytes())
        };
        match (request.method.as_str(), path) {
            (_, "/bucket/denied") => error(403, "AccessDenied"),
            ("HEAD", "/bucket/text") => {
                Reply::Full(200, vec![("content-length", "4".to_owned())], vec![])
            }
            ("GET", "/bucket/text") => Reply::Full(206, vec![], b"text".to_vec()),
            ("HEAD", "/bucket" | "/bucket/") => Reply::Full(200, vec![], vec![]),
            ("HEAD", "/bucket/context.tar.gz" | "/bucket/dir/context.tar") => {
                let mut headers = vec![
                    ("content-length", object.len().to_string()),
                    ("etag", "\"v1\"".to_owned()),
                ];
                headers.extend(sum.clone().map(|sum| ("x-amz-checksum-sha256", sum)));
                Reply::Full(200, headers, vec![])
            }
            ("GET", "/bucket/context.tar.gz" | "/bucket/dir/context.tar") => {
                let (start, end) = range(request, &object).expect("a range");
                assert_eq!(request.header("if-match"), Some("\"v1\""));
                Reply::Full(
                    206,
                    vec![("etag", "\"v1\"".to_owned())],
                    object[start..end].to_vec(),
                )
            }
            (_, path) if path.starts_with("/bucket/") => error(404, "NoSuchKey"),
            (_, _) => error(404, "NoSuchBucket"),
        }
    })
}

fn build(scene: &Scene, mock: &Mock, context: &str) -> Call {
    scene
        .longshore(&["build", "-c", context])
        .env("S3_ENDPOINT", mock.url())
        .env("S3_FORCE_PATH_STYLE", "TRUE")
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "canary-key")
        .env("SOURCE_DATE_EPOCH", "1")
}

fn digest(call: Call) -> String {
    let finished = call.args(["--no-push"]).success();
    finished.keeps("canary");
    finished.stdout
}

fn from_file(scene: &Scene, bytes: &[u8]) -> String {
    let path = scene.root().join("context.tar");
    std::fs::write(&path, bytes).expect("a file");
    let source = format!("tar://{}", path.display());
    digest(
        scene
            .longshore(&["build", "-c", &source])
            .env("SOURCE_DATE_EPOCH", "1"),
    )
}

#[test]
fn a_bucket_gives_what_a_file_gives() {
    let Some(scene) = Scene::new() else { return };
    let plain = archive();
    let expect = from_file(&scene, &plain);
    for bytes in [plain.clone(), gzip(&plain)] {
        let sum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&bytes));
        let parts = bytes.len().div_ceil(4 << 20);
        for context in ["s3://bucket", "s3://bucket/dir/context.tar"] {
            let mock = s3(bytes.clone(), Some(sum.clone()), |_| None);
            assert_eq!(digest(build(&scene, &mock, context)), expect, "{context}");
            let arrived = mock.arrived();
            let gets = arrived.iter().filter(|request| request.method == "GET");
            assert_eq!(gets.count(), parts, "{context}");
            let signature = arrived[0].header("authorization").expect("a signature");
            assert!(
                signature.contains("/us-east-1/s3/aws4_request"),
                "{signature}"
            );
        }
    }
}

#[test]
fn what_breaks_on_the_way_is_asked_for_again() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let expect = from_file(&scene, &bytes);
    let object = bytes.clone();
    let broken = Mutex::new(0);
    let mock = s3(bytes, None, move |request| {
        let mut broken = broken.lock().expect("no panic");
        if request.method != "GET" || *broken == 4 {
            return None;
        }
        *broken += 1;
        let (start, end) = range(request, &object)?;
        Some(match *broken {
            1 => Reply::Cut(end - start, object[start..start + 1000].to_vec()),
            2 => Reply::Full(
                503,
                vec![],
                b"<Error><Code>SlowDown</Code></Error>".to_vec(),
            ),
            3 => Reply::Cut(end - start, vec![]),
            _ => Reply::Full(500, vec![], vec![]),
        })
    });
    assert_eq!(digest(build(&scene, &mock, "s3://bucket")), expect);
    let gets = mock.arrived();
    assert_eq!(
        gets.iter()
            .filter(|request| request.method == "GET")
            .count(),
        3 + 4
    );
}

#[test]
fn a_bucket_elsewhere_is_found() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let expect = from_file(&scene, &bytes);
    let mock = s3(bytes, None, |request| {
        let is_right = request
            .header("authorization")?
            .contains("/eu-central-1/s3/");
        let region = ("x-amz-bucket-region", "eu-central-1".to_owned());
        (!is_right).then(|| Reply::Full(301, vec![region], vec![]))
    });
    assert_eq!(digest(build(&scene, &mock, "s3://bucket")), expect);
}

#[test]
fn what_cannot_be_read_says_why() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let mock = s3(
        bytes.clone(),
        Some(base64::engine::general_purpose::STANDARD.encode([0; 32])),
        |_| None,
    );
    for (context, expect) in [
        ("s3://bucket/none", "there is no such object"),
        ("s3://none/context.tar.gz", "there is no bucket none"),
        ("s3://bucket/denied", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/text", "archive"),
        ("s3://bucket", "checksum mismatch"),
        ("s3://", "names no path"),
        ("s3://user:canary@bucket/x", "no name of a bucket"),
    ] {
        let failed = build(&scene, &mock, context).arg("--no-push").mistake();
        failed.says(expect).keeps("canary-key");
    }
    let nobody = build(&scene, &mock, "s3://bucket")
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .arg("--no-push")
        .mistake();
    nobody
        .says("no identity: AWS_ACCESS_KEY_ID is not set")
        .says("AWS_EC2_METADATA_DISABLED is set");
    // The object is replaced while it is read.
    let mock = s3(bytes, None, |request| {
        (request.method == "GET").then(|| Reply::Full(412, vec![], vec![]))
    });
    let failed = build(&scene, &mock, "s3://bucket")
        .arg("--no-push")
        .mistake();
    failed.says("was changed while it was read");
}
