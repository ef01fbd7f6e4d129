//! The one rule of which request may carry which credential, case by case: every way in which a registry can name
//! another place, with every kind of place. What arrived anywhere else than at the registry holds no secret, and what is
//! nearer to us than the registry is not asked at all.

use base64::Engine as _;
use longshore::http::Proxies;
use support::registry::Recorded;

use super::*;

/// The registry's name. All names lead to one server, which records under which name it was asked: it is the proxy.
const HOST: &str = "registry.test:5000";

/// What may be expected of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// It may be asked, without any credential.
    Bare,
    /// It is not asked.
    Never,
    /// It is the registry itself.
    Own,
}

/// Places that a registry may name. `CASE` is replaced by the number of the case.
const PLACES: &[(&str, Expect)] = &[
    ("http://evil.test/CASE", Expect::Bare),
    ("https://evil.test/CASE", Expect::Bare),
    ("//evil.test/CASE", Expect::Bare),
    ("\\\\evil.test/CASE", Expect::Bare),
    // Lookalikes.
    ("http://registry.test.evil.test:5000/CASE", Expect::Bare),
    ("http://evilregistry.test:5000/CASE", Expect::Bare),
    ("http://sub.registry.test:5000/CASE", Expect::Bare),
    ("http://registry.test:5000@evil.test/CASE", Expect::Bare),
    ("http://user:pw@evil.test/CASE", Expect::Bare),
    ("http://evil.test/CASE#@registry.test:5000/", Expect::Bare),
    ("http://evil.test\\@registry.test:5000/CASE", Expect::Bare),
    // Other ports and schemes of the same host.
    ("http://registry.test:5001/CASE", Expect::Bare),
    ("http://registry.test/CASE", Expect::Bare),
    ("https://registry.test:5000/CASE", Expect::Bare),
    // The same place, differently written.
    ("http://REGISTRY.test:5000/CASE", Expect::Own),
    ("http://r%65gistry.test:5000/CASE", Expect::Own),
    // Nearer than a registry of the Internet may send us.
    ("http://169.254.169.254/CASE", Expect::Never),
    ("http://127.0.0.1:PORT/CASE", Expect::Never),
    ("http://10.0.0.1/CASE", Expect::Never),
    ("http://192.168.1.1/CASE", Expect::Never),
    ("http://[::1]/CASE", Expect::Never),
    ("http://[::ffff:169.254.169.254]/CASE", Expect::Never),
    ("http://[fd00:ec2::254]/CASE", Expect::Never),
    ("http://2852039166/CASE", Expect::Never),
    ("http://0x7f.1:PORT/CASE", Expect::Never),
    // No places of the web.
    ("file:///etc/passwd", Expect::Never),
    ("gopher://evil.test/CASE", Expect::Never),
    ("http://", Expect::Never),
];

/// Ways in which a registry names a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Blob(u16),
    Manifest(u16),
    Head(u16),
    StartUpload(u16),
    FinishUpload(u16),
    Tag(u16),
    Location,
    NextLocation,
    Realm,
    Link,
    ForeignLayer,
}

const WAYS: &[Way] = &[
    Way::Blob(301),
    Way::Blob(302),
    Way::Blob(303),
    Way::Blob(307),
    Way::Blob(308),
    Way::Manifest(302),
    Way::Manifest(307),
    Way::Head(307),
    Way::StartUpload(307),
    Way::StartUpload(308),
    Way::FinishUpload(307),
    Way::Tag(307),
    Way::Location,
    Way::NextLocation,
    Way::Realm,
    Way::Link,
    Way::ForeignLayer,
];

/// A server for all names, and a client that knows the password of one of them.
struct World {
    server: Registry,
    client: Client,
    layer: Descriptor,
}

impl World {
    fn new(auth: &Auth) -> Self {
        let server = Registry::start(auth.clone());
        let password = Credential {
            kind: CredentialKind::Password {
                username: "user".to_owned(),
                password: Secret::new(PASSWORD),
            },
            source: "the test".to_owned(),
        };
        let proxy = format!("http://{}", server.host());
        let config = HttpConfig {
            proxies: Proxies::new(Some(&proxy), Some(&proxy), None).expect("proxies"),
            stall_timeout: Duration::from_millis(700),
            retry: RetryPolicy {
                attempts: 2,
                first_wait: Duration::from_millis(1),
                ..RetryPolicy::default()
            },
            ..HttpConfig::default()
        };
        let options = RegistryOptions {
            insecure_registries: [HOST.to_owned()].into(),
            ..RegistryOptions::default()
        };
        let client = Client::new(
            Http::new(config).expect("HTTP clients"),
            Arc::new(Fixed([(HOST.to_owned(), password)].into())),
            options,
        );
        let bytes = noise(200_000, 7);
        server.put_blob("base", bytes.clone());
        let layer = Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes);
        Self {
            server,
            client,
            layer,
        }
    }

    fn reference(name: &str) -> Reference {
        format!("{HOST}/{name}").parse().expect("a reference")
    }

    /// Lets the registry name a place in some way; what comes of it does not matter here.
    async fn meet(&self, way: Way, place: &str) -> Option<String> {
        let (server, client) = (&self.server, &self.client);
        let to = |status: u16| {
            let headers = vec![("location", place.to_owned())];
            Action::Status(status, headers, String::new())
        };
        let base = Self::reference("base:v1");
        let target = Self::reference("target:v1");
        let source = BlobSource::Bytes(noise(200_000, 8).into());
        let blob = Descriptor::of(MediaType::OCI_LAYER, &noise(200_000, 8));
        let upload = BlobUpload {
            target: &target,
            descriptor: &blob,
            source: &source,
            mount_from: &[],
            on_sent: None,
            is_forced: true,
        };
        let failure = match way {
            Way::Blob(status) => {
                server.fault("GET", "/v2/base/blobs/", 1, to(status));
                client.blob(&base, &self.layer, 1 << 20).await.err()
            }
            Way::Manifest(status) => {
                server.fault("GET", "/v2/base/manifests/", 1, to(status));
                client.manifest(&base).await.err()
            }
            Way::Head(status) => {
                server.fault("HEAD", "/v2/base/blobs/", 1, to(status));
                client.has_blob(&base, &self.layer).await.err()
            }
            Way::StartUpload(status) => {
                server.fault("POST", "/v2/target/blobs/uploads/", 1, to(status));
                client.push_blob(&upload).await.err()
            }
            Way::FinishUpload(status) => {
                server.fault("PUT", "/v2/target/blobs/uploads/", 1, to(status));
                client.push_blob(&upload).await.err()
            }
            Way::Tag(status) => {
                server.fault("PUT", "/v2/target/manifests/", 1, to(status));
                let bytes = Bytes::from_static(b"{}");
                let manifest = Descriptor::of(MediaType::OCI_MANIFEST, &bytes);
                let push = client.push_manifest(&target, "v1", &manifest, &bytes);
                push.await.err()
            }
            Way::Location => {
                server.fault("POST", "/v2/target/blobs/uploads/", 1, to(202));
                client.push_blob(&upload).await.err()
            }
            Way::NextLocation => {
                server.state().largest_upload = Some(100_000);
                let small = Action::Status(413, vec![], String::new());
                server.fault("PUT", "/v2/target/blobs/uploads/", 1, small);
                server.fault("PATCH", "/v2/target/blobs/uploads/", 1, to(202));
                let failure = client.push_blob(&upload).await.err();
                server.state().largest_upload = None;
                failure
            }
            Way::Realm => {
                let auth = Auth::Bearer {
                    uses: 9,
                    realm: Some(place.to_owned()),
                };
                // A client of its own, which has not met the registry yet.
                let other = Self::new(&auth);
                let failure = other.client.manifest(&base).await.err();
                let arrived = other.server.state().requests.clone();
                server.state().requests.extend(arrived);
                failure
            }
            Way::Link => {
                let link = format!("<{place}>; rel=\"next\"");
                let answer = Action::Status(200, vec![("link", link)], "{}".to_owned());
                server.fault("GET", "/v2/base/manifests/", 1, answer);
                client.manifest(&base).await.err()
            }
            Way::ForeignLayer => {
                let descriptor = Descriptor {
                    media_type: MediaType::DOCKER_FOREIGN_LAYER.into(),
                    urls: vec![place.to_owned()],
                    ..Descriptor::of(MediaType::DOCKER_FOREIGN_LAYER, b"elsewhere")
                };
                client.blob(&base, &descriptor, 1 << 20).await.err()
            }
        };
        server.state().faults.clear();
        failure.map(|error| format!("{error} {error:?}"))
    }
}

fn is_own(request: &Recorded) -> bool {
    let host = request.header("host").unwrap_or_default();
    host.eq_ignore_ascii_case(HOST) && request.method != "CONNECT"
}

#[tokio::test]
async fn no_other_place_sees_a_secret() {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"));
    let secrets = ["authorization", "Bearer", "token-", &encoded, PASSWORD];
    let (mut cases, mut elsewhere) = (0, 0);
    let bearer = Auth::Bearer {
        uses: 1000,
        realm: None,
    };
    for auth in [Auth::Basic, bearer] {
        let world = World::new(&auth);
        let port = world.server.host().rsplit(':').next().map(str::to_owned);
        for way in WAYS {
            for (place, expect) in PLACES {
                let name = format!("case{cases}");
                let place = place
                    .replace("CASE", &name)
                    .replace("PORT", port.as_deref().expect("a port"));
                let case = format!("{auth:?}, {way:?} to {place}");
                world.server.state().requests.clear();
                let failure = world.meet(*way, &place).await;
                let arrived = world.server.state().requests.clone();
                for secret in [PASSWORD, &encoded, "token-"] {
                    let told = failure.as_deref().unwrap_or_default();
                    assert!(!told.contains(secret), "{case}: {told}");
                }
                for request in arrived.iter().filter(|request| !is_own(request)) {
                    let text = request.text();
                    for secret in secrets {
                        assert!(!text.contains(secret), "{case}: {secret} in {text}");
                    }
                }
                // A CONNECT names the host, everything else has the case in its path.
                let there = |request: &&Recorded| {
                    let host = request.header("host").unwrap_or_default();
                    let is_named = request.path.contains(&name) || request.method == "CONNECT";
                    is_named && !host.eq_ignore_ascii_case(HOST)
                };
                let there = arrived.iter().filter(there).count();
                elsewhere += there;
                match expect {
                    Expect::Never | Expect::Own => assert_eq!(there, 0, "{case} was asked"),
                    Expect::Bare => {}
                }
                if *way == Way::Link {
                    assert_eq!(there, 0, "{case}: a link is not followed");
                }
                cases += 1;
            }
        }
    }
    assert!(
        cases >= 60 && elsewhere >= 60,
        "{cases} cases, {elsewhere} requests elsewhere"
    );
    eprintln!("{cases} cases leak nothing; {elsewhere} requests arrived elsewhere");
}
