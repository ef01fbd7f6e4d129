//! Places in buckets against real parts, which tests/services starts one by one: what is put is there whole or not at all.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use longshore::auth::cloud::{CloudHttp, CloudOptions, Roles};
use longshore::auth::identity::IdentityTokens;
use longshore::auth::{Files, HelperOptions, Variables};
use longshore::http::{Body, HttpConfig, StreamBody};
use longshore::store::{Error, Folder, Place, Put, Stored, Stores};

/// Above this, bodies travel in parts.
const SINGLE: usize = 8 << 20;

/// The place that LONGSHORE_TEST_FOLDER names, reached by the process's own variables.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn folder() -> Option<Folder> {
    let Ok(url) = std::env::var("LONGSHORE_TEST_FOLDER") else {
        eprintln!("SKIPPED: LONGSHORE_TEST_FOLDER is not set (tests/services sets it)");
        return None;
    };
    let config = HttpConfig::default();
    let clouds = CloudOptions {
        http: CloudHttp::new(&config, Files::default()).expect("clients"),
        variables: std::env::vars().collect::<Variables>(),
        identity: IdentityTokens::default(),
        roles: Roles::default(),
        plain_http: BTreeSet::default(),
        now: std::time::SystemTime::now,
        helpers: HelperOptions::default(),
    };
    let stores = Stores {
        clouds: Some(clouds),
    };
    let place = Place::parse(&url).expect("a store").expect("a place");
    Some(stores.folder(&place).await.expect("a bucket"))
}

fn bytes(length: usize, seed: u8) -> Bytes {
    let low = (0..=250).cycle();
    let high = (0..=250_u8).flat_map(|high| [high; 251]).cycle();
    let bytes = low.zip(high).map(|(low, high)| low ^ high ^ seed);
    bytes.take(length).collect::<Vec<u8>>().into()
}

async fn read(folder: &Folder, name: &str) -> Bytes {
    let object = folder.open(name).await.expect("an object");
    object.bytes(1 << 30).await.expect("its bytes")
}

/// A body that breaks off after half of what it promises.
fn broken(length: usize) -> Body {
    Body::Stream(StreamBody::new(length as u64, move || {
        let pieces = [
            Ok(bytes(length / 2, 1)),
            Err(std::io::Error::other("canary")),
        ];
        stream::iter(pieces).boxed()
    }))
}

#[tokio::test]
async fn what_is_put_is_there_whole_or_not_at_all() {
    let Some(folder) = folder().await else { return };
    let large = SINGLE * 2 + 12_345;
    for length in [0, 1, 100_000, SINGLE, SINGLE + 1, large] {
        let name = format!("whole/{length}");
        let content = bytes(length, 0);
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = std::sync::Arc::clone(&sent);
        let put = Put {
            on_sent: Some(std::sync::Arc::new(move |bytes| {
                count.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            })),
            ..Put::if_absent(Body::in_pieces(content.clone()))
        };
        let done = folder.put(&name, put.clone()).await.expect(&name);
        assert_eq!(done, Stored::New, "{name}");
        let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(sent, length as u64, "{name}");
        assert!(read(&folder, &name).await == content, "{name}");

        // What is there stays, unless it is to be replaced.
        let other = Body::in_pieces(bytes(length, 7));
        let done = folder.put(&name, Put::if_absent(other.clone())).await;
        assert_eq!(done.expect(&name), Stored::Exists, "{name}");
        assert!(read(&folder, &name).await == content, "{name}");
        let done = folder.put(&name, Put::new(other)).await.expect(&name);
        assert_eq!(done, Stored::New, "{name}");
        assert!(read(&folder, &name).await == bytes(length, 7), "{name}");
    }
    for length in [1000, large] {
        let name = format!("broken/{length}");
        let failed = folder.put(&name, Put::new(broken(length))).await;
        let error = failed.expect_err("the body breaks off").to_string();
        assert!(error.contains("canary"), "{error}");
        assert!(folder.find(&name).await.expect("an answer").is_none());
    }
}

#[tokio::test]
async fn names_are_listed_and_deleted() {
    let Some(folder) = folder().await else { return };
    let names = ["list/a b+c&d<é>%20=?#", "list/deep/er/x", "list/y", "lisu"];
    for name in names {
        let body = Body::in_pieces(bytes(name.len(), 0));
        folder.put(name, Put::new(body)).await.expect(name);
        assert_eq!(read(&folder, name).await.len(), name.len(), "{name}");
    }
    let listed = folder.list("list/", 100).await.expect("a list");
    let found: Vec<_> = listed.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!(found, names[..3]);
    for listed in &listed {
        assert_eq!(listed.size, listed.name.len() as u64);
        let age = listed
            .modified
            .expect("a time")
            .elapsed()
            .expect("the past");
        assert!(age.as_secs() < 3600, "{age:?}");
    }
    assert_eq!(folder.list("list/", 2).await.expect("a list").len(), 2);
    assert_eq!(folder.list("none", 2).await.expect("a list"), []);
    for name in names {
        folder.delete(name).await.expect(name);
        folder.delete(name).await.expect("twice");
        assert!(folder.find(name).await.expect("an answer").is_none());
        let error = folder.open(name).await.expect_err("it is gone");
        assert!(matches!(error, Error::NoObject { .. }), "{error}");
    }
    assert_eq!(folder.list("lis", 2).await.expect("a list"), []);
}

/// More than a page of any store.
#[tokio::test]
async fn long_lists_have_pages() {
    let Some(folder) = folder().await else { return };
    let names: Vec<String> = (0..1003)
        .map(|number| format!("many/{number:05}"))
        .collect();
    let puts = stream::iter(&names).map(|name| folder.put(name, Put::new(Body::Empty)));
    let done: Vec<_> = puts.buffer_unordered(16).collect().await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let listed = folder.list("many/", 2000).await.expect("a list");
    let listed: Vec<String> = listed.into_iter().map(|listed| listed.name).collect();
    assert!(listed == names, "{}", listed.len());
    assert_eq!(
        folder.list("many/", 1001).await.expect("a list").len(),
        1001
    );
}
