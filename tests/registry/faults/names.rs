//! Names that are not found at once, addresses that lead nowhere, and proxies.

use super::wire::Secure;
use super::*;
use longshore::http::Proxies;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use support::front::{Front, Wire};
use support::names::{Answer, Names};

fn with_names(names: &Names, host: &str, registry: &Registry) -> (Client, Reference) {
    let host = format!("{host}:{}", registry.address().port());
    let name: Reference = format!("{host}/base:v1").parse().expect("a name");
    let mut config = HttpConfig {
        name_servers: vec![names.address()],
        connect_timeout: Duration::from_secs(5),
        retry: RetryPolicy {
            attempts: 50,
            first_wait: Duration::from_millis(20),
            longest_wait: Duration::from_millis(40),
            ..RetryPolicy::default()
        },
        ..HttpConfig::default()
    };
    let options = RegistryOptions {
        insecure_registries: BTreeSet::from([host]),
        ..RegistryOptions::default()
    };
    config.hosts = options.host_tls();
    let http = Http::new(config).expect("HTTP clients");
    (Client::new(http, Arc::new(Fixed::default()), options), name)
}

#[tokio::test]
async fn row_51_a_name_that_is_not_found_at_first_is_asked_for_again() {
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    let names = Names::start(|number, _| match number {
        0..8 => Answer::Failure,
        _ => Answer::Addresses(vec![IpAddr::from([127, 0, 0, 1])]),
    });
    let (client, name) = with_names(&names, "slow.test", &registry);
    let found = client.manifest(&name).await.expect("a manifest");
    assert_eq!(found.bytes, image.manifest);

    let nobody = Names::start(|_, _| Answer::Failure);
    let host = "nobody.test:443";
    let client = client_under(host, |config| config.name_servers = vec![nobody.address()]);
    let name: Reference = format!("{host}/base:v1").parse().expect("a name");
    let error = client.manifest(&name).await.expect_err("no such name");
    let text = error.to_string();
    assert!(
        text.contains("cannot connect to https://nobody.test"),
        "{text}"
    );
}

#[tokio::test]
async fn row_51_an_address_that_leads_nowhere_does_not_hold_up_the_other() {
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    // A listener whose queue is full: the machine does not answer whoever knocks, as a network does that drops everything.
    let black_hole = rustix::net::socket(
        rustix::net::AddressFamily::INET6,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("a socket");
    let at = SocketAddr::new(
        "::1".parse().expect("an address"),
        registry.address().port(),
    );
    if rustix::net::bind(&black_hole, &at).is_err() {
        // Containers often have none, and nothing can be installed to get it.
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    rustix::net::listen(&black_hole, 0).expect("a listener");
    let filling: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&at, Duration::from_millis(100)))
        .collect();
    assert!(filling.iter().any(Result::is_err), "the queue is full");
    let both = vec![at.ip(), IpAddr::from([127, 0, 0, 1])];
    let names = Names::start(move |_, _| Answer::Addresses(both.clone()));
    let (client, name) = with_names(&names, "both.test", &registry);
    let begin = Instant::now();
    let found = client.manifest(&name).await.expect("a manifest");
    assert_eq!(found.bytes, image.manifest);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn row_51_a_server_that_comes_up_late_is_reached() {
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = free.local_addr().expect("an address");
    drop(free);
    let server = registry.address();
    let late = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(400));
        Front::at(at, server, |_| Wire::Pass)
    });
    let client = client_under(&at.to_string(), |config| {
        config.retry.attempts = 200;
        config.retry.first_wait = Duration::from_millis(20);
        config.retry.longest_wait = Duration::from_millis(40);
    });
    let name: Reference = format!("{at}/base:v1").parse().expect("a name");
    let found = client.manifest(&name).await.expect("a manifest");
    assert_eq!(found.bytes, image.manifest);
    drop(late.await.expect("a front"));
}

#[tokio::test]
async fn ipv6_addresses_are_registries_too() {
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        // Containers often have none, and nothing can be installed to get it.
        eprintln!("skipped: no IPv6 on this machine");
        return;
    }
    let at = "[::1]:0".parse().expect("an address");
    let front = Front::at(at, registry.address(), |_| Wire::Pass);
    assert!(front.host().starts_with("[::1]:"), "{}", front.host());
    let client = client_under(&front.host(), |_| ());
    let name: Reference = format!("{}/other:v1", front.host())
        .parse()
        .expect("a name");
    push(&image, &client, std::slice::from_ref(&name))
        .await
        .expect("a push");
    let found = client.resolve(&name, &platform()).await.expect("the image");
    assert_eq!(found.manifest_bytes, image.manifest);
}

fn through(front: &Front, user: &str) -> String {
    format!("http://{user}{}", front.host())
}

fn proxied(secure: &Secure, proxy: &str, no_proxy: Option<&str>) -> Client {
    let proxies = Proxies::new(Some(proxy), Some(proxy), no_proxy).expect("proxies");
    secure.client(secure.registry.address(), |config| config.proxies = proxies)
}

#[tokio::test]
async fn row_53_a_proxy_makes_tunnels_and_its_password_stays_with_it() {
    let secure = Secure::start(Auth::Basic, &["h2", "http/1.1"]).await;
    let server = secure.registry.address();
    let name = Secure::reference(server, "base:v1");
    let proxy = || Wire::Proxy {
        password: Some("Basic cHJveHktdXNlcjpwcm94eS1wYXNz".to_owned()),
        cut_after: None,
    };
    // It asks for a password that nobody gave.
    let front = Front::start(server, move |_| proxy());
    let error = proxied(&secure, &through(&front, ""), None)
        .manifest(&name)
        .await
        .expect_err("407");
    let text = error.to_string();
    assert!(text.contains("proxy"), "{text}");
    assert!(secure.registry.state().requests.is_empty());

    // It gets one.
    let client = proxied(&secure, &through(&front, "proxy-user:proxy-pass@"), None);
    let found = client.resolve(&name, &platform()).await.expect("the image");
    assert_eq!(found.digest, secure.image.descriptor.digest);
    push(
        &secure.image,
        &client,
        &[Secure::reference(server, "new:v1")],
    )
    .await
    .expect("a push");
    let heads = front.heads();
    for head in &heads {
        let place = format!("CONNECT registry.test:{} ", server.port());
        assert!(head.starts_with(&place), "{head}");
        assert!(
            !head.contains(&basic()),
            "the proxy sees no password: {head}"
        );
    }
    let text = arrived(&secure.registry);
    for secret in [
        "proxy-authorization",
        "cHJveHktdXNlcjpwcm94eS1wYXNz",
        "proxy-pass",
    ] {
        assert!(!text.contains(secret), "{secret} arrived at the registry");
    }
    assert!(!format!("{client:?}").contains("proxy-pass"));

    // It ends tunnels in the middle.
    let front = Front::start(server, |number| Wire::Proxy {
        password: None,
        cut_after: match number {
            0 => Some(10),
            1 => Some(100_000),
            _ => None,
        },
    });
    let client = proxied(&secure, &through(&front, ""), None);
    let bytes = download(&client, &name, secure.layer())
        .await
        .expect("a layer");
    assert_eq!(bytes, noise(LAYER_SIZE, 1));
    assert!(front.connections() >= 3, "{} tunnels", front.connections());

    // It is not there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = nobody.local_addr().expect("an address");
    drop(nobody);
    let client = proxied(&secure, &format!("http://u:proxy-pass@{host}"), None);
    let error = client.manifest(&name).await.expect_err("no proxy");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("refused") && !text.contains("proxy-pass"),
        "{text}"
    );
}

#[tokio::test]
async fn row_53_what_is_named_in_no_proxy_is_reached_without_one() {
    let secure = Secure::start(Auth::Open, &["http/1.1"]).await;
    let server = secure.registry.address();
    let name = Secure::reference(server, "base:v1");
    let front = Front::start(server, |_| Wire::Proxy {
        password: None,
        cut_after: None,
    });
    let port = server.port();
    for (no_proxy, is_direct) in [
        ("registry.test".to_owned(), true),
        (".test".to_owned(), true),
        ("other.test, test".to_owned(), true),
        (format!("registry.test:{port}"), true),
        ("*".to_owned(), true),
        ("registry.test:1".to_owned(), false),
        ("istry.test".to_owned(), false),
        ("127.0.0.0/8".to_owned(), false),
        (String::new(), false),
    ] {
        let before = front.connections();
        proxied(&secure, &through(&front, ""), Some(&no_proxy))
            .manifest(&name)
            .await
            .expect("a manifest");
        assert_eq!(front.connections() == before, is_direct, "{no_proxy}");
    }
    // Addresses as they are written: the proxy is asked for one that no network names, and knows the way.
    let (registry, _, image, _directory) = with_image(Auth::Open).await;
    let front = Front::start(registry.address(), |_| Wire::Proxy {
        password: None,
        cut_after: None,
    });
    let host = "192.0.2.7:5000";
    let name: Reference = format!("{host}/base:v1").parse().expect("a name");
    for (no_proxy, is_direct) in [("198.51.100.0/24", false), ("192.0.2.0/24", true)] {
        let options = RegistryOptions {
            insecure_registries: BTreeSet::from([host.to_owned()]),
            ..RegistryOptions::default()
        };
        let proxy = through(&front, "");
        let config = HttpConfig {
            hosts: options.host_tls(),
            proxies: Proxies::new(Some(&proxy), Some(&proxy), Some(no_proxy)).expect("proxies"),
            connect_timeout: Duration::from_millis(300),
            stall_timeout: Duration::from_millis(300),
            retry: RetryPolicy::never(),
            ..HttpConfig::default()
        };
        let http = Http::new(config).expect("HTTP clients");
        let client = Client::new(http, Arc::new(Fixed::default()), options);
        let before = front.connections();
        let result = client.manifest(&name).await;
        assert_eq!(front.connections() == before, is_direct, "{no_proxy}");
        if !is_direct {
            assert_eq!(result.expect("a manifest").bytes, image.manifest);
        }
    }
}
