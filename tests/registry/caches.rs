//! Caches in buckets against real parts, which tests/services starts one by one: what one build keeps, the next one finds, and what is wrong
//! there is a miss.

use std::process::Command;

use bytes::Bytes;
use longshore::http::Body;
use longshore::store::{Folder, Put};
use serde_json::Value;

use crate::buckets::{folder, read};
use crate::support::forged;

/// A context, and the cache as the command line names it.
struct Builds {
    directory: tempfile::TempDir,
    fields: String,
}

/// What came of a build.
struct Built {
    digest: String,
    hits: usize,
    log: String,
}

impl Builds {
    fn new(fields: String) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let builds = Self { directory, fields };
        builds.file(
            "Dockerfile",
            "FROM scratch\nCOPY a /a\nCOPY b /b\nCOPY c /c\n",
        );
        for name in ["a", "b", "c"] {
            builds.file(name, name);
        }
        builds
    }

    fn file(&self, name: &str, content: &str) {
        let context = self.directory.path().join("context");
        std::fs::create_dir_all(&context).expect("a directory");
        std::fs::write(context.join(name), content).expect("a file");
    }

    /// Builds on a fresh machine; in the end the times are always the same, so that the digest says what is in the image.
    fn build(&self, flags: &[&str]) -> Built {
        let program = std::env::var_os("LONGSHORE");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_longshore").into());
        let state = self.directory.path().join("state");
        let _fresh = std::fs::remove_dir_all(&state);
        let done = Command::new(program)
            .args(["build", "--oci-layout-path"])
            .arg(self.directory.path().join("image"))
            .arg("--state-dir")
            .arg(&state)
            .arg("-c")
            .arg(self.directory.path().join("context"))
            .args(flags.iter().map(|flag| format!("{flag}={}", self.fields)))
            .env("SOURCE_DATE_EPOCH", "1")
            .output()
            .expect("the program");
        let log = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{log}");
        Built {
            digest: String::from_utf8_lossy(&done.stdout).into_owned(),
            hits: log.matches("(cached, layer").count(),
            log,
        }
    }
}

async fn put(folder: &Folder, name: &str, bytes: impl Into<Bytes>) {
    let put = Put::new(Body::Bytes(bytes.into()));
    folder.put(name, put).await.expect("a store");
}

/// The name of the entry that has the most steps, and what it says.
async fn top(folder: &Folder) -> (String, Value) {
    let listed = folder.list("manifests/", 100).await.expect("a list");
    let mut found: Option<(String, Value)> = None;
    let steps = |entry: &Value| entry["records"].as_array().expect("records").len();
    // Beside the entries lie traces.
    for one in listed
        .into_iter()
        .filter(|one| !one.name.contains("/traces/"))
    {
        let entry: Value = serde_json::from_slice(&read(folder, &one.name).await).expect("JSON");
        if found
            .as_ref()
            .is_none_or(|(_, best)| steps(&entry) > steps(best))
        {
            found = Some((one.name, entry));
        }
    }
    found.expect("an entry")
}

async fn clear(folder: &Folder) {
    for beginning in ["manifests/", "blobs/"] {
        for one in folder.list(beginning, 1000).await.expect("a list") {
            folder.delete(&one.name).await.expect("a store");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_in_a_bucket_is_found_and_verified() {
    let Some(folder) = folder().await else { return };
    let fields = std::env::var("LONGSHORE_TEST_CACHE_FIELDS").expect("the cache beside the folder");
    let builds = Builds::new(fields);
    clear(&folder).await;
    builds.file("c", "forged");
    builds.build(&["--cache-to"]);
    let (_, forged) = top(&folder).await;
    clear(&folder).await;
    builds.file("c", "c");
    let first = builds.build(&["--cache-from", "--cache-to"]);
    assert!(
        first.hits == 0 && !first.log.contains("warning"),
        "{}",
        first.log
    );
    let second = builds.build(&["--cache-from"]);
    assert_eq!(
        (second.hits, &second.digest),
        (3, &first.digest),
        "{}",
        second.log
    );
    let (name, right) = top(&folder).await;
    for (case, text) in forged::texts(&right, &forged) {
        put(&folder, &name, text).await;
        let Built { digest, hits, log } = builds.build(&["--cache-from"]);
        assert_eq!(digest, first.digest, "{case}: {log}");
        assert!(hits < 3 || log.contains("begins again"), "{case}: {log}");
    }
    put(&folder, &name, right.to_string()).await;
    // A layer whose bytes are others, and one that is gone: made again, and put right.
    let layer = right["records"][2]["layer"]["digest"]
        .as_str()
        .expect("a digest");
    let blob = format!("blobs/{layer}");
    for damage in ["flipped", "short", "gone"] {
        let mut bytes = read(&folder, &blob).await.to_vec();
        match damage {
            "flipped" => bytes[20] ^= 1,
            "short" => bytes.truncate(20),
            _ => folder.delete(&blob).await.expect("a store"),
        }
        if damage != "gone" {
            put(&folder, &blob, bytes).await;
        }
        let built = builds.build(&["--cache-from", "--cache-to"]);
        assert_eq!(built.digest, first.digest, "{damage}: {}", built.log);
        assert!(
            built.log.contains("begins again"),
            "{damage}: {}",
            built.log
        );
        let again = builds.build(&["--cache-from"]);
        assert!(
            !again.log.contains("begins again"),
            "{damage}: {}",
            again.log
        );
        assert_eq!(
            (again.hits, &again.digest),
            (3, &first.digest),
            "{}",
            again.log
        );
    }
}
