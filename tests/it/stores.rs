//! Contexts in object stores, against small servers in the stores' place: whole, in parts, with what breaks on the way.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use crate::image::{gzip, tar_of};
use crate::mock::{Arrived, Mock, Pending, Reply};
use crate::program::{Call, Scene};

const DOCKERFILE: &str = "FROM scratch\nCOPY a b /\n";

/// What the program asks for at a time.
const PART: usize = 2 << 20;

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
        let parts = bytes.len().div_ceil(PART);
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
    let parts = bytes.len().div_ceil(PART);
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
        parts + 4
    );
}

#[test]
fn parts_are_asked_for_side_by_side() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let expect = from_file(&scene, &bytes);
    let pending = Arc::new(Pending::default());
    let held = Arc::clone(&pending);
    let mock = s3(bytes, None, move |request| {
        if request.method == "GET" {
            held.wait_for(4);
        }
        None
    });
    assert_eq!(digest(build(&scene, &mock, "s3://bucket")), expect);
    assert_eq!(pending.most(), 4);
    let arrived = mock.arrived();
    let mut gets = arrived.iter().filter(|request| request.method == "GET");
    assert!(gets.all(|request| request.header("if-match").is_some()));
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
    let call = build(&scene, &mock, "s3://bucket");
    assert_eq!(digest(call), expect);
    let mut call = build(&scene, &mock, "");
    let environment: Vec<_> = call
        .command()
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let by_bucket = |flags: &[&str]| {
        let mut call = scene.longshore(&["build"]).args(flags);
        call.command().envs(environment.clone());
        call
    };
    assert_eq!(digest(by_bucket(&["--bucket", "s3://bucket"])), expect);
    // As kaniko has it, a context that is empty is none.
    assert_eq!(
        digest(by_bucket(&["-b", "s3://bucket", "--context="])),
        expect
    );
    let both = by_bucket(&["-b", "s3://bucket", "-c", "s3://other"]);
    both.mistake().says("--bucket");
}

#[test]
fn the_reader_pays_where_the_bucket_says_so() {
    let Some(scene) = Scene::new() else { return };
    let bytes = archive();
    let expect = from_file(&scene, &bytes);
    let mock = s3(bytes, None, |request| {
        let pays = request.header("x-amz-request-payer") == Some("requester");
        (!pays).then(|| Reply::Full(403, vec![], vec![]))
    });
    let call = build(&scene, &mock, "s3://bucket").env("AWS_REQUEST_PAYER", "requester");
    assert_eq!(digest(call), expect);
    let failed = build(&scene, &mock, "s3://bucket").arg("--no-push");
    failed.mistake().says("not allowed");
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

/// A store of Google's or Azure's kind: what is there, and what is asked.
#[cfg(all(feature = "gcs", feature = "azure"))]
mod others {
    use super::*;

    /// The headers that an answer of `/c/object` has, or the JSON that describes it.
    fn store(object: Vec<u8>, crc32c: &str) -> Mock {
        let described = serde_json::json!({
            "size": object.len().to_string(), "generation": "7", "crc32c": crc32c,
        });
        let broken = Mutex::new(false);
        Mock::start(move |request| {
            let path = request.target.split('?').next().unwrap_or_default();
            let no = |status: u16, text: &str| {
                let code = vec![("x-ms-error-code", text.to_owned())];
                let body = serde_json::json!({"error": {"message": text}}).to_string();
                Reply::Full(status, code, body.into_bytes())
            };
            match (request.method.as_str(), path) {
                ("GET", "/computeMetadata/v1/instance/service-accounts/default/token" | "/msi") => {
                    Reply::Answer(
                        200,
                        r#"{"access_token":"canary-access","expires_in":3600}"#.to_owned(),
                    )
                }
                ("GET", "/storage/v1/b/c/o/dir%2Fobject")
                    if !request.target.contains("alt=media") =>
                {
                    Reply::Full(200, vec![], described.to_string().into_bytes())
                }
                ("HEAD", "/c/dir/object") => Reply::Full(
                    200,
                    vec![
                        ("content-length", object.len().to_string()),
                        ("etag", "\"v1\"".to_owned()),
                    ],
                    vec![],
                ),
                ("GET", "/storage/v1/b/c/o/dir%2Fobject" | "/c/dir/object") => {
                    let mut asked = request.clone();
                    for (name, _) in &mut asked.headers {
                        if name == "x-ms-range" {
                            "range".clone_into(name);
                        }
                    }
                    let (start, end) = range(&asked, &object).expect("a range");
                    // One answer breaks off in its middle; what is missing is asked for.
                    let mut broken = broken.lock().expect("no panic");
                    if !*broken && start > 0 {
                        *broken = true;
                        return Reply::Cut(end - start, object[start..start + 1_000_000].to_vec());
                    }
                    Reply::Full(206, vec![], object[start..end].to_vec())
                }
                (_, "/c/denied" | "/storage/v1/b/c/o/denied") => no(403, "AuthorizationFailure"),
                (_, path) if path.starts_with("/c/") => no(404, "BlobNotFound"),
                (_, path) if path.starts_with("/none/") => no(404, "ContainerNotFound"),
                (_, path) if path.starts_with("/storage/v1/b/c/") => no(404, "No such object: c/x"),
                (_, _) => no(404, "The specified bucket does not exist."),
            }
        })
    }

    fn call(scene: &Scene, mock: &Mock, context: &str) -> Call {
        scene
            .longshore(&["build", "-c", context])
            .env("AZURE_STORAGE_BLOB_ENDPOINT", mock.url())
            .env("SOURCE_DATE_EPOCH", "1")
    }

    /// CRC-32C, bit by bit.
    fn sum(bytes: &[u8]) -> String {
        let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
            })
        });
        base64::engine::general_purpose::STANDARD.encode((!sum).to_be_bytes())
    }

    #[test]
    fn google_gives_what_a_file_gives() {
        let Some(scene) = Scene::new() else { return };
        let bytes = archive();
        let parts = bytes.len().div_ceil(PART);
        let expect = from_file(&scene, &bytes);
        let mock = store(bytes.clone(), &sum(&bytes));
        let build = |context: &str, mock: &Mock| {
            call(&scene, mock, context).env("STORAGE_EMULATOR_HOST", mock.url())
        };
        assert_eq!(digest(build("gs://c/dir/object", &mock)), expect);
        let arrived = mock.take();
        assert_eq!(arrived.len(), 1 + parts + 1);
        assert!(
            arrived[1..]
                .iter()
                .all(|request| request.target.contains("generation=7"))
        );
        assert!(
            arrived
                .iter()
                .all(|request| request.header("authorization").is_none())
        );
        build("gs://c/dir/object#5", &mock)
            .arg("--no-push")
            .success();
        assert!(mock.arrived()[0].target.contains("generation=5"));
        for (context, expect) in [
            ("gs://c/none", "there is no such object"),
            ("gs://none/x", "there is no bucket none"),
            ("gs://c/denied", "not allowed"),
        ] {
            build(context, &mock)
                .arg("--no-push")
                .mistake()
                .says(expect);
        }
        // A generation that goes while it is read.
        let object = bytes.clone();
        let described = serde_json::json!({"size": object.len().to_string(), "generation": "7"});
        let replaced = Mock::start(move |request| {
            let Some((start, end)) = range(request, &object) else {
                return Reply::Full(200, vec![], described.to_string().into_bytes());
            };
            match start {
                0 => Reply::Full(206, vec![], object[..end].to_vec()),
                _ => Reply::Full(404, vec![], b"No such object: c/dir/object".to_vec()),
            }
        });
        build("gs://c/dir/object", &replaced)
            .arg("--no-push")
            .mistake()
            .says("was changed while it was read");
        let damaged = store(bytes, "AAAAAA==");
        build("gs://c/dir/object", &damaged)
            .arg("--no-push")
            .mistake()
            .says("checksum mismatch");
        let nobody =
            call(&scene, &mock, "gs://c/dir/object").env("GCE_METADATA_HOST", "127.0.0.1:1");
        nobody
            .arg("--no-push")
            .mistake()
            .says("no identity: GOOGLE_APPLICATION_CREDENTIALS is not set");
    }

    #[test]
    fn azure_gives_what_a_file_gives() {
        let Some(scene) = Scene::new() else { return };
        let bytes = archive();
        let parts = bytes.len().div_ceil(PART);
        let expect = from_file(&scene, &bytes);
        let url = "https://acc.blob.core.windows.net/c/dir/object";
        let key = base64::engine::general_purpose::STANDARD.encode("canary-key");

        let mock = store(bytes.clone(), "");
        let keyed = |context: &str, mock: &Mock| {
            call(&scene, mock, context).env("AZURE_STORAGE_ACCESS_KEY", &key)
        };
        assert_eq!(digest(keyed(url, &mock)), expect);
        let arrived = mock.take();
        assert_eq!(arrived.len(), 1 + parts + 1);
        for request in &arrived {
            let signature = request.header("authorization").expect("a signature");
            assert!(signature.starts_with("SharedKey acc:"), "{signature}");
        }
        assert!(
            arrived[1..]
                .iter()
                .all(|request| request.header("if-match") == Some("\"v1\""))
        );

        // A signature in the URL needs nothing else, and is not shown.
        let mock = store(bytes.clone(), "");
        let signed = call(&scene, &mock, &format!("{url}?sv=1&sig=canary-signature"));
        assert_eq!(digest(signed), expect);
        let arrived = mock.take();
        assert!(arrived.iter().all(|request| {
            request.target.ends_with("?sv=1&sig=canary-signature")
                && request.header("authorization").is_none()
        }));

        // A managed identity.
        let mock = store(bytes, "");
        let managed = call(&scene, &mock, url)
            .env("IDENTITY_ENDPOINT", format!("{}/msi", mock.url()))
            .env("IDENTITY_HEADER", "canary-header");
        assert_eq!(digest(managed), expect);
        let arrived = mock.take();
        assert!(
            arrived[0]
                .target
                .contains("resource=https%3A%2F%2Fstorage.azure.com"),
            "{arrived:?}"
        );
        assert!(
            arrived[1..]
                .iter()
                .all(|request| request.header("authorization") == Some("Bearer canary-access"))
        );

        for (context, expect) in [
            (
                "https://acc.blob.core.windows.net/c/none",
                "there is no such object",
            ),
            (
                "https://acc.blob.core.windows.net/none/x",
                "there is no bucket none",
            ),
            (
                "https://acc.blob.core.windows.net/c/denied",
                "AZURE_STORAGE_ACCESS_KEY",
            ),
            ("https://acc.blob.core.windows.net/c", "names no blob"),
        ] {
            keyed(context, &mock)
                .arg("--no-push")
                .mistake()
                .says(expect)
                .keeps("canary");
        }
        let nobody =
            call(&scene, &mock, url).env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
        nobody
            .arg("--no-push")
            .mistake()
            .says("AZURE_CLIENT_ID is not set");
    }
}
