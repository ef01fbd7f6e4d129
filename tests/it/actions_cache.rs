//! GitHub's cache service: a fake of it that follows the documented protocol, and builds that share it.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::caching::{fresh, hits, on_base, scene};
use crate::forging::{assert_miss, dockerfile};
use crate::image::Image;
use crate::mock::{Arrived, Mock, Reply};
use crate::program::{Call, Finished, Scene};
use crate::support::forged;
use crate::support::registry::Registry;

const METHODS: &str = "/twirp/github.actions.results.api.v1.CacheService/";
const SIGNATURE: &str = "sig=signed-and-secret";

/// Something that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    key: String,
    version: String,
    branch: String,
    content: Vec<u8>,
    is_whole: bool,
}

/// What the service keeps, and how it fails.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: Vec<Kept>,
    blocks: HashMap<(usize, String), Vec<u8>>,
    /// The status of all calls of a method that has this in its name.
    refusals: Vec<(&'static str, u16)>,
}

/// The service.
pub(crate) struct Service {
    mock: Mock,
    store: Arc<Mutex<Store>>,
}

/// A job's token: what it may read (1) and write (2).
pub(crate) fn token(access: &[(&str, u32)]) -> String {
    let access: Vec<Value> = access
        .iter()
        .map(|(scope, permission)| json!({"Scope": scope, "Permission": permission}))
        .collect();
    let claims = json!({"ac": Value::from(access).to_string(), "exp": 1}).to_string();
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.signature", encode("{}"), encode(&claims))
}

fn access(token: &str) -> Vec<(String, u64)> {
    let claims = token.split('.').nth(1).expect("claims");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    let access: Value = serde_json::from_str(claims["ac"].as_str().expect("ac")).expect("JSON");
    let all = access.as_array().expect("a list").iter();
    all.map(|one| {
        let scope = one["Scope"].as_str().expect("a scope").to_owned();
        (scope, one["Permission"].as_u64().expect("a number"))
    })
    .collect()
}

impl Service {
    pub(crate) fn start() -> Self {
        let store: Arc<Mutex<Store>> = Arc::default();
        let (shared, own): (_, Arc<Mutex<String>>) = (Arc::clone(&store), Arc::default());
        let url = Arc::clone(&own);
        let mock = Mock::start(move |request| {
            let mut store = shared.lock().expect("no panic");
            let url = url.lock().expect("no panic").clone();
            match request.target.strip_prefix(METHODS) {
                Some(method) => call(&mut store, method, request, &url),
                None => blob(&mut store, request),
            }
        });
        *own.lock().expect("no panic") = mock.url();
        Self { mock, store }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no panic")
    }

    /// A build in a job with this token.
    pub(crate) fn job(&self, call: Call, token: &str) -> Call {
        let url = format!("{}/", self.mock.url());
        call.env("ACTIONS_RESULTS_URL", url)
            .env("ACTIONS_RUNTIME_TOKEN", token)
    }

    fn methods(&self) -> Vec<String> {
        let arrived = self.mock.take().into_iter();
        arrived
            .map(|request| match request.target.strip_prefix(METHODS) {
                Some(method) => method.to_owned(),
                None => format!("{} blob", request.method),
            })
            .collect()
    }
}

fn call(store: &mut Store, method: &str, request: &Arrived, url: &str) -> Reply {
    let refused = store
        .refusals
        .iter()
        .find(|(name, _)| method.contains(name));
    if let Some((_, status)) = refused {
        return Reply::Full(*status, vec![("retry-after", "60".to_owned())], Vec::new());
    }
    let trouble = |status, code: &str| {
        Reply::Answer(
            status,
            json!({"code": code, "msg": "said the fake"}).to_string(),
        )
    };
    let authorization = request.header("authorization").unwrap_or_default();
    let Some(token) = authorization.strip_prefix("Bearer ") else {
        return trouble(401, "unauthenticated");
    };
    assert_eq!(request.header("content-type"), Some("application/json"));
    let access = access(token);
    let own = access.iter().find(|(_, permission)| permission & 2 != 0);
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let text = |name: &str| body[name].as_str().expect(name).to_owned();
    let (key, version) = (text("key"), text("version"));
    assert!(
        !key.is_empty() && key.len() <= 512 && !key.contains(','),
        "{key}"
    );
    assert_eq!(version.len(), 64);
    let answer = |answer: Value| Reply::Answer(200, answer.to_string());
    match method {
        "CreateCacheEntry" => {
            let Some((branch, _)) = own else {
                return trouble(403, "permission_denied");
            };
            let is_same = |kept: &Kept| kept.key == key && kept.branch == *branch;
            if store.kept.iter().any(is_same) {
                return trouble(409, "already_exists");
            }
            store.kept.push(Kept {
                key,
                version,
                branch: branch.clone(),
                content: Vec::new(),
                is_whole: false,
            });
            let number = store.kept.len() - 1;
            answer(
                json!({"ok": true, "signed_upload_url": format!("{url}/blobs/{number}?{SIGNATURE}")}),
            )
        }
        "FinalizeCacheEntryUpload" => {
            let size: usize = text("size_bytes").parse().expect("a number");
            let found = store
                .kept
                .iter_mut()
                .find(|kept| kept.key == key && !kept.is_whole);
            let kept = found.expect("an entry that was created");
            assert_eq!(kept.content.len(), size, "{key}");
            kept.is_whole = true;
            answer(json!({"ok": true, "entry_id": "1"}))
        }
        "GetCacheEntryDownloadURL" => {
            let prefixes: Vec<&str> = body["restore_keys"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|prefix| prefix.as_str().expect("a text"))
                .collect();
            let may_read = |kept: &&(usize, &Kept)| {
                let (_, kept) = kept;
                kept.is_whole
                    && kept.version == version
                    && access.iter().any(|(branch, _)| *branch == kept.branch)
            };
            let all: Vec<_> = store
                .kept
                .iter()
                .enumerate()
                .filter(|one| may_read(&one))
                .collect();
            let exact = all.iter().rfind(|(_, kept)| kept.key == key);
            let newest = || {
                all.iter()
                    .rfind(|(_, kept)| prefixes.iter().any(|prefix| kept.key.starts_with(prefix)))
            };
            match exact.or_else(newest) {
                Some((number, kept)) => answer(json!({
                    "ok": true,
                    "signed_download_url": format!("{url}/blobs/{number}?{SIGNATURE}"),
                    "matched_key": kept.key,
                })),
                None => answer(json!({"ok": false, "signed_download_url": "", "matched_key": ""})),
            }
        }
        other => panic!("no method {other}"),
    }
}

/// What Azure does with a signed URL.
fn blob(store: &mut Store, request: &Arrived) -> Reply {
    let (path, query) = request.target.split_once('?').expect("a signature");
    let number: usize = path
        .trim_start_matches("/blobs/")
        .parse()
        .expect("a number");
    let pairs: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    if pairs.get("sig").map(String::as_str) != Some("signed-and-secret") {
        return Reply::Answer(403, String::new());
    }
    assert_eq!(
        request.header("authorization"),
        None,
        "a token at a stranger's"
    );
    match (
        request.method.as_str(),
        pairs.get("comp").map(String::as_str),
    ) {
        ("PUT", None) => {
            assert_eq!(request.header("x-ms-blob-type"), Some("BlockBlob"));
            store.kept[number].content.clone_from(&request.body);
            Reply::Answer(201, String::new())
        }
        ("PUT", Some("block")) => {
            let id = pairs["blockid"].clone();
            store.blocks.insert((number, id), request.body.clone());
            Reply::Answer(201, String::new())
        }
        ("PUT", Some("blocklist")) => {
            let list = String::from_utf8(request.body.clone()).expect("XML");
            let ids = list.split("<Latest>").skip(1);
            let ids = ids.map(|rest| rest.split('<').next().expect("an id"));
            let blocks = ids.map(|id| store.blocks[&(number, id.to_owned())].clone());
            let content = blocks.collect::<Vec<_>>().concat();
            store.kept[number].content = content;
            Reply::Answer(201, String::new())
        }
        ("GET", None) => {
            let content = &store.kept[number].content;
            let range = request.header("range").unwrap_or("bytes=0-");
            let start: usize = range["bytes=".len()..]
                .trim_end_matches('-')
                .parse()
                .expect("a start");
            let status = if request.header("range").is_some() {
                206
            } else {
                200
            };
            Reply::Full(status, Vec::new(), content[start..].to_vec())
        }
        other => panic!("{other:?}"),
    }
}

const MAIN: &[(&str, u32)] = &[("refs/heads/main", 3)];
const PULL: &[(&str, u32)] = &[("refs/pull/1/merge", 3), ("refs/heads/main", 1)];

fn cached(scene: &Scene) -> Call {
    fresh(scene).args(["--cache-from=type=gha", "--cache-to=type=gha,mode=max"])
}

/// Builds into a layout.
fn built(scene: &Scene, call: Call) -> (Image, Finished) {
    let layout = scene.out("image");
    let finished = call.arg("--oci-layout-path").arg(&layout).success();
    finished.keeps("signed-and-secret").keeps("signature");
    (Image::of_layout(&layout), finished)
}

fn steps(registry: &Registry) -> String {
    on_base(
        registry,
        "COPY a /a\nRUN head -c 8 /dev/urandom > /random\nWORKDIR /w\nRUN cat /a > /b\n",
    )
}

#[test]
fn a_job_finds_what_the_one_before_made() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("a", "1").dockerfile(&steps(&registry));
    let service = Service::start();
    let main = token(MAIN);
    let (first, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!(hits(&log), 0, "{log}");
    assert!(!log.stderr.contains("warning"), "{log}");
    let methods = service.methods();
    // The index is asked for before and after; six layers and the index are kept.
    let count = |name: &str| methods.iter().filter(|method| *method == name).count();
    assert_eq!(count("GetCacheEntryDownloadURL"), 2, "{methods:?}");
    assert_eq!(count("FinalizeCacheEntryUpload"), 7, "{methods:?}");
    let (second, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!((hits(&log), &second.digest), (6, &first.digest), "{log}");
    // One question for the index, one for each layer, which a layout needs; nothing is written.
    let methods = service.methods();
    assert_eq!(methods.len(), 2 * (1 + 6), "{methods:?}");
    assert!(!methods.iter().any(|method| method.contains("PUT")));
    // A push of what is there already brings nothing.
    let destination = format!("{}/app:v1", registry.host());
    let push = || {
        service
            .job(cached(&scene), &main)
            .args(["-d", &destination])
    };
    push().success();
    service.mock.take();
    assert_eq!(hits(&push().success()), 6);
    assert_eq!(service.methods().len(), 2);
    // What follows a change is done again, and kept beside the rest.
    scene.file("a", "2");
    let (third, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!((hits(&log), third.file("b").text()), (2, "2"), "{log}");
    scene.file("a", "1");
    let (fourth, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!((hits(&log), &fourth.digest), (6, &first.digest), "{log}");
    // Another scope has nothing.
    let call = fresh(&scene).args(["--cache-from=type=gha,scope=other"]);
    let (_, log) = built(&scene, service.job(call, &main));
    assert_eq!(hits(&log), 0, "{log}");
}

#[test]
fn a_change_request_reads_its_branch_and_writes_its_own() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("a", "1").dockerfile(&steps(&registry));
    let service = Service::start();
    let (main, pull) = (token(MAIN), token(PULL));
    let (first, _) = built(&scene, service.job(cached(&scene), &main));
    let (second, log) = built(&scene, service.job(cached(&scene), &pull));
    assert_eq!((hits(&log), &second.digest), (6, &first.digest), "{log}");
    // What it changed is told from what its branch kept.
    scene.file("a", "2");
    let explained = cached(&scene).arg("--cache-explain");
    let (_, log) = built(&scene, service.job(explained, &pull));
    log.says("COPY a /a: not in the cache: file a changed");
    let (_, log) = built(&scene, service.job(cached(&scene), &pull));
    assert_eq!(hits(&log), 6, "{log}");
    // What a change request wrote, its branch does not see.
    let (_, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!(hits(&log), 2, "{log}");
    // A token that may only read is said plainly, and is no failure.
    scene.file("a", "3");
    let reader = token(&[("refs/heads/main", 1)]);
    let (_, log) = built(&scene, service.job(cached(&scene), &reader));
    log.says("the job's token may only read");
}

#[test]
fn what_is_wrong_with_the_service_is_a_warning_and_a_miss() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("a", "1").dockerfile(&steps(&registry));
    // Without a service: a `run:` step.
    let (_, log) = built(&scene, cached(&scene));
    log.says("which GitHub gives to actions and not to \"run:\" steps");
    let main = token(MAIN);
    let service = Service::start();
    for (method, status) in [
        ("", 429),
        ("", 503),
        ("", 403),
        ("", 404),
        ("GetCacheEntry", 500),
        ("CreateCacheEntry", 429),
        ("FinalizeCacheEntry", 500),
    ] {
        service.store().refusals = vec![(method, status)];
        service.mock.take();
        let (image, log) = built(&scene, service.job(cached(&scene), &main));
        assert_eq!(hits(&log), 0, "{method} {status}: {log}");
        log.says("warning: cache GitHub's cache");
        assert_eq!(image.file("b").text(), "1");
        // Who says "later" is not asked on and on.
        let calls = service.methods().len();
        assert!(calls <= 20, "{method} {status}: {calls} calls: {log}");
    }
    service.store().refusals.clear();
    // What was created and never finished keeps its name for good: another one is taken.
    assert!(service.store().kept.iter().any(|kept| !kept.is_whole));
    let (first, _) = built(&scene, service.job(cached(&scene), &main));
    // A service that has lost a layer: the build begins again.
    let lose = || {
        let mut store = service.store();
        let found = store
            .kept
            .iter()
            .rposition(|kept| kept.key.contains("-blob-"));
        let found = found.expect("a blob");
        store.kept[found].key = "lost".to_owned();
    };
    lose();
    let (image, log) = built(&scene, service.job(cached(&scene), &main));
    log.says("the build begins again without caches");
    assert_eq!(image.layers.len(), first.layers.len());
    // And what was made then is there the next time.
    let (again, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!((hits(&log), &again.digest), (6, &image.digest), "{log}");
}

/// All that the index may have become, and all that a layer may have become.
#[test]
fn forged_entries_are_misses() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    let main = token(MAIN);
    let service = Service::start();
    let make = |word: &str| {
        dockerfile(&scene, &registry, word);
        service.store().kept.clear();
        built(&scene, service.job(cached(&scene), &main));
        let store = service.store();
        let index = store.kept.last().expect("an index").clone();
        assert!(index.key.contains("-index-"));
        (read_index(&index.content), store.kept.clone())
    };
    let (forged, _) = make("forged");
    let (right, kept) = make("right");
    let top = |index: &Value| -> (String, Value) {
        let steps = index["steps"].as_object().expect("steps").iter();
        let length = |(_, kept): &(&String, &Value)| kept["blobs"].as_array().expect("blobs").len();
        let (key, kept) = steps.max_by_key(length).expect("a step");
        (
            key.clone(),
            serde_json::from_str(kept["text"].as_str().expect("a text")).expect("JSON"),
        )
    };
    let (key, entry) = top(&right);
    let (_, other) = top(&forged);
    let last = entry["records"].as_array().expect("records").len() - 1;
    let with_text = |text: String| {
        let mut index = right.clone();
        index["steps"][&key]["text"] = text.into();
        write_index(&index)
    };
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("an empty index", Vec::new()),
        ("no archive", b"{}".to_vec()),
        ("an index cut off", write_index(&right)[..100].to_vec()),
        ("a list for an index", write_index(&json!([]))),
        ("a later form", {
            let mut index = right.clone();
            index["version"] = 2.into();
            write_index(&index)
        }),
        (
            "a key that is none",
            write_index(&json!({"version": 1, "steps": {"../x": right["steps"][&key]}})),
        ),
        ("other blobs beside it", {
            let mut index = right.clone();
            index["steps"][&key]["blobs"] = json!([]);
            write_index(&index)
        }),
    ];
    let texts = forged::texts(&entry, &other).into_iter();
    cases.extend(texts.map(|(name, text)| (name, with_text(text))));
    // A layer whose bytes are others, of the same and of another length.
    let index = write_index(&right);
    cases.push(("a damaged layer", index.clone()));
    cases.push(("a short layer", index.clone()));
    for (name, bytes) in cases {
        {
            let mut store = service.store();
            store.kept.clone_from(&kept);
            store.kept.last_mut().expect("an index").content = bytes;
            let layers = store
                .kept
                .iter_mut()
                .filter(|kept| kept.key.contains("-blob-"));
            for layer in layers {
                match name {
                    "a damaged layer" => *layer.content.last_mut().expect("a byte") ^= 1,
                    "a short layer" => drop(layer.content.pop()),
                    _ => {}
                }
            }
        }
        let call = service.job(cached(&scene).arg("--no-push-cache"), &main);
        let (image, log) = built(&scene, call);
        assert_eq!(image.file("two").text(), "right\n", "{name}");
        // The entry in question is never used; those below it may be.
        assert_miss(name, &log, last + 1);
    }
    service.store().kept.clone_from(&kept);
    let (_, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!(hits(&log), last + 1, "{log}");
}

fn read_index(bytes: &[u8]) -> Value {
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    decoder.read_to_string(&mut text).expect("an archive");
    serde_json::from_str(&text).expect("JSON")
}

fn write_index(index: &Value) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder
        .write_all(index.to_string().as_bytes())
        .expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn a_large_layer_goes_in_blocks() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.dockerfile(&on_base(
        &registry,
        "RUN head -c 70000000 /dev/urandom > /large\n",
    ));
    let service = Service::start();
    let main = token(MAIN);
    let call = || cached(&scene).arg("--no-push");
    service.job(call(), &main).success();
    assert_eq!(
        service
            .methods()
            .iter()
            .filter(|one| *one == "PUT blob")
            .count(),
        2 + 1 + 3 + 1
    );
    let (image, log) = built(&scene, service.job(cached(&scene), &main));
    assert_eq!(hits(&log), 3, "{log}");
    assert_eq!(image.file("large").content.len(), 70_000_000);
    fs::remove_dir_all(scene.out("image")).expect("a layout");
}

#[test]
fn a_forks_change_request_reads_caches_only() {
    let Some((scene, registry)) = scene() else {
        return;
    };
    scene.file("a", "1").dockerfile(&steps(&registry));
    let directory = scene.root().join("layers");
    let place = format!("type=local,dest={}", directory.display());
    let event = scene.out("event.json");
    let request = json!({"number": 7, "pull_request": {"head": {"repo": {"full_name": "eve/app"}}, "base": {"ref": "main", "repo": {"full_name": "ada/app"}}}});
    let build = || {
        fs::write(&event, request.to_string()).expect("an event");
        scene
            .build()
            .args(["--no-push", "--cache-to", &place])
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_REPOSITORY", "ada/app")
            .env("GITHUB_EVENT_NAME", "pull_request")
            .env("GITHUB_REF", "refs/pull/7/merge")
            .env("GITHUB_EVENT_PATH", &event)
    };
    let finished = build().success();
    finished.says("from the fork eve/app: caches are read and not written");
    assert!(!directory.exists());
    build().arg("--push-from-forks").success();
    assert!(directory.exists());
}
