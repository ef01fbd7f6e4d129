//! What may go wrong between a registry and us, one test a fault. The list of all of them, with the tests that there are
//! elsewhere, is `tests/fixtures/faults.txt`; the number of a test is its row there.

mod documents;
mod names;
mod reading;
mod table;
mod tokens;
mod wire;
mod writing;

use super::*;

/// A client with the registry's password, and with settings of its own.
fn client_of(registry: &Registry, change: impl FnOnce(&mut HttpConfig)) -> Client {
    client_under(&registry.host(), change)
}

/// The same for a registry under another name.
fn client_under(host: &str, change: impl FnOnce(&mut HttpConfig)) -> Client {
    let password = CredentialKind::Password {
        username: "user".to_owned(),
        password: Secret::new(PASSWORD),
    };
    let credential = Credential {
        kind: password,
        source: "the test".to_owned(),
    };
    let keychain = Fixed(BTreeMap::from([(host.to_owned(), credential)]));
    let mut config = HttpConfig {
        connect_timeout: Duration::from_millis(500),
        stall_timeout: Duration::from_millis(500),
        retry: RetryPolicy {
            first_wait: Duration::from_millis(5),
            ..RetryPolicy::default()
        },
        ..HttpConfig::default()
    };
    change(&mut config);
    Client::new(
        Http::new(config).expect("HTTP clients"),
        Arc::new(keychain),
        RegistryOptions::default(),
    )
}

fn sha512(bytes: &[u8]) -> Digest {
    let any: Digest = format!("sha512:{}", "0".repeat(128))
        .parse()
        .expect("a digest");
    let mut digester = any.digester();
    digester.update(bytes);
    digester.finish()
}

/// Everything that arrived at a server, as one text.
fn arrived(registry: &Registry) -> String {
    let state = registry.state();
    let texts = state.requests.iter().map(|request| request.text() + "\n");
    texts.collect()
}

fn basic() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"))
}
