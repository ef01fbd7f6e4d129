//! Connections that hang, break or are not trusted, and HTTP as it may be spoken.

use super::*;
use std::net::SocketAddr;
use std::time::Instant;
use support::front::{Front, Wire};
use support::names::Names;
use support::tls::{Certificate, Says};

/// The name of the registry where it is not to be taken for this machine's own.
const NAME: &str = "registry.test";

/// A registry behind TLS, with an image, and a client for the name that trusts it and asks at `port`.
pub(super) struct Secure {
    pub(super) registry: Registry,
    pub(super) image: Image,
    pub(super) authority: std::path::PathBuf,
    names: Names,
    directory: tempfile::TempDir,
}

impl Secure {
    pub(super) async fn start(auth: Auth, protocols: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Certificate::authority("test authority");
        let server = authority.sign(Says {
            hosts: &[NAME],
            ..Says::default()
        });
        let registry = Registry::start_tls(auth, server.server(protocols));
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, authority.pem()).expect("a file");
        let secure = Self {
            image: image(directory.path(), Format::Oci),
            registry,
            authority: path,
            names: Names::all("127.0.0.1"),
            directory,
        };
        let client = secure.client(secure.registry.address(), |_| ());
        let name = Self::reference(secure.registry.address(), "base:v1");
        push(&secure.image, &client, &[name]).await.expect("a push");
        secure.registry.state().requests.clear();
        secure
    }

    pub(super) fn reference(at: SocketAddr, rest: &str) -> Reference {
        let text = format!("{NAME}:{}/{rest}", at.port());
        text.parse().expect("a reference")
    }

    pub(super) fn client(&self, at: SocketAddr, change: impl FnOnce(&mut HttpConfig)) -> Client {
        client_under(&format!("{NAME}:{}", at.port()), |config| {
            config.name_servers = vec![self.names.address()];
            config.ca_files.push(self.authority.clone());
            change(config);
        })
    }

    pub(super) fn layer(&self) -> &Descriptor {
        &self.image.layers[0].descriptor
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn address(front: &Front) -> SocketAddr {
    front.host().parse().expect("an address")
}

/// What is done with the nth connection.
type Plan = fn(usize) -> Wire;

#[tokio::test]
async fn row_50_what_stalls_is_tried_again_and_what_crawls_is_not() {
    let secure = Secure::start(Auth::Open, &["http/1.1"]).await;
    let server = secure.registry.address();
    let cases: [(&str, Plan); 3] = [
        ("the TLS handshake", |number| match number {
            0 | 1 => Wire::Silent,
            _ => Wire::Pass,
        }),
        ("the head of an answer", |number| match number {
            // Behind the handshake.
            0 => Wire::StopAfter(1600),
            _ => Wire::Pass,
        }),
        ("the body of a blob", |number| match number {
            0 => Wire::StopAfter(1_000_000),
            _ => Wire::Pass,
        }),
    ];
    for (case, plan) in cases {
        let front = Front::start(server, plan);
        let client = secure.client(address(&front), |_| ());
        let name = Secure::reference(address(&front), "base:v1");
        let begin = Instant::now();
        let bytes = download(&client, &name, secure.layer())
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(bytes, noise(LAYER_SIZE, 1), "{case}");
        assert!(front.connections() >= 2, "{case}");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(20), "{case}: {took:?}");
    }
    // Slow, but it moves: longer than any limit, on one connection.
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    let front = Front::start(registry.address(), |number| match number {
        // The first asks whether TLS is spoken.
        0 => Wire::Pass,
        _ => Wire::Crawl(Duration::from_millis(20), 400),
    });
    let client = client_under(&front.host(), |config| {
        // The head of an answer must come whole in this time.
        config.connect_timeout = Duration::from_secs(5);
    });
    let name: Reference = format!("{}/base:v1", front.host()).parse().expect("a name");
    let begin = Instant::now();
    client
        .blob(&name, &image.config_descriptor, 1 << 20)
        .await
        .expect("a blob");
    assert!(begin.elapsed() > Duration::from_secs(2), "it crawled");
    assert_eq!(registry.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn row_52_a_connection_that_is_not_trusted_is_refused_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Certificate::authority("test authority");
    let other = Certificate::authority("another authority");
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).expect("a file");
    let names = Names::all("127.0.0.1");
    let right = Says {
        hosts: &[NAME],
        is_expired: false,
    };
    let certificates = [
        ("unknown authority", other.sign(right), "UnknownIssuer"),
        (
            "another name",
            authority.sign(Says {
                hosts: &["registry.test.evil.test"],
                ..right
            }),
            "not valid for",
        ),
        (
            "expired",
            authority.sign(Says {
                is_expired: true,
                ..right
            }),
            "expired",
        ),
    ];
    let check = async |case: &str, front: &Front, expect: &str| {
        let host = format!("{NAME}:{}", address(front).port());
        let client = client_under(&host, |config| {
            config.name_servers = vec![names.address()];
            config.ca_files.push(path.clone());
        });
        let name: Reference = format!("{host}/a:v1").parse().expect("a name");
        let error = client.manifest(&name).await.expect_err(case);
        let text = error.to_string();
        assert!(
            text.contains("no trusted TLS connection") && text.contains(expect),
            "{case}: {text}"
        );
        assert_eq!(
            front.connections(),
            1,
            "{case}: tried once, and not without TLS"
        );
    };
    for (case, certificate, expect) in certificates {
        let registry = Registry::start_tls(Auth::Open, certificate.server(&["http/1.1"]));
        let front = Front::start(registry.address(), |_| Wire::Pass);
        check(case, &front, expect).await;
        assert!(registry.state().requests.is_empty(), "{case}");
    }
    // A server that knows TLS 1.0 only: the alert `protocol_version`.
    let alert = [0x15, 3, 1, 0, 2, 2, 70].to_vec();
    let nobody: SocketAddr = "127.0.0.1:9".parse().expect("an address");
    let front = Front::start(nobody, move |_| Wire::Say(alert.clone()));
    check("TLS 1.0", &front, "ProtocolVersion").await;
}

#[tokio::test]
async fn row_54_http_is_understood_in_all_its_forms() {
    let (registry, client, image, _directory) = with_image(Auth::Open).await;
    let name = reference(&registry, "base:v1");
    let descriptor = &image.layers[0].descriptor;
    for (case, action) in [
        ("trailers", Action::Trailers),
        (
            "a coding that nobody asked for: the digest is over what is sent",
            Action::Header("content-encoding", "gzip".to_owned()),
        ),
    ] {
        registry.fault("GET", "/blobs/", 1, action);
        let bytes = download(&client, &name, descriptor).await;
        assert_eq!(bytes.expect(case), noise(LAYER_SIZE, 1), "{case}");
        assert_eq!(registry.count("GET", "/blobs/"), 1, "{case}");
        registry.state().requests.clear();
    }
    let asked = registry.state().requests.clone();
    assert!(
        asked
            .iter()
            .all(|request| request.header("accept-encoding") == Some("identity"))
    );

    // 1xx before the answer.
    let manifest = &image.manifest;
    let answer = [
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".to_vec(),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            MediaType::OCI_MANIFEST,
            manifest.len()
        )
        .into_bytes(),
        manifest.to_vec(),
    ]
    .concat();
    let front = Front::start(registry.address(), move |_| Wire::Say(answer.clone()));
    let name: Reference = format!("{}/base:v1", front.host()).parse().expect("a name");
    let found = client_under(&front.host(), |_| ()).manifest(&name).await;
    assert_eq!(found.expect("a manifest").bytes, image.manifest);
}

/// A server of HTTP/2 that refuses in the ways of HTTP/2 first; then it answers everything with `document`.
async fn two(listener: tokio::net::TcpListener, tls: Arc<rustls::ServerConfig>, document: Bytes) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let mut refusals = 2;
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let Ok(stream) = acceptor.accept(stream).await else {
            continue;
        };
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            if number == 0 {
                // GOAWAY, and what was asked for is not answered.
                connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                continue;
            }
            if refusals > 0 {
                refusals -= 1;
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            let answer = hyper::Response::builder()
                .header("content-type", MediaType::OCI_MANIFEST)
                .body(())
                .expect("an answer");
            if let Ok(mut body) = respond.send_response(answer, false) {
                let _ = body.send_data(document.clone(), true);
            }
        }
    }
}

#[tokio::test]
async fn row_54_what_http2_refuses_is_asked_again() {
    let secure = Secure::start(Auth::Open, &["h2"]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let at = listener.local_addr().expect("an address");
    let authority = Certificate::authority("test authority");
    let server = authority.sign(Says {
        hosts: &[NAME],
        ..Says::default()
    });
    let path = secure.directory().join("two.pem");
    std::fs::write(&path, authority.pem()).expect("a file");
    let document = secure.image.manifest.clone();
    let serving = tokio::spawn(two(listener, server.server(&["h2"]), document.clone()));
    let client = secure.client(at, |config| config.ca_files.push(path));
    let found = client.manifest(&Secure::reference(at, "base:v1")).await;
    assert_eq!(found.expect("a manifest").bytes, document);
    serving.abort();
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_one_connection_is_enough() {
    let secure = Secure::start(Auth::Basic, &["h2", "http/1.1"]).await;
    let at = secure.registry.address();
    let client = secure.client(at, |_| ());
    {
        let mut state = secure.registry.state();
        state.versions.clear();
        state.connections = 0;
    }
    let names: Vec<Reference> = (0..4)
        .map(|number| Secure::reference(at, &format!("app{number}:v1")))
        .collect();
    push(&secure.image, &client, &names).await.expect("a push");
    for name in &names {
        for layer in &secure.image.layers {
            download(&client, name, &layer.descriptor)
                .await
                .expect("a layer");
        }
    }
    let state = secure.registry.state();
    assert!(
        state.versions.len() > 30,
        "{} requests",
        state.versions.len()
    );
    assert!(
        state
            .versions
            .iter()
            .all(|version| *version == hyper::Version::HTTP_2),
        "{:?}",
        state.versions
    );
    assert_eq!(state.connections, 1, "over all repositories, both ways");
}
