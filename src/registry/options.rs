//! What the user said about registries: who may be reached without TLS, or with certificates of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::http::HostTls;

use super::mirror::Mirrors;

/// Settings of the registry client; the flags of kaniko with their meaning.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, independent of the others"
)]
pub struct RegistryOptions {
    /// `--insecure`: registries that are pushed to may be reached without TLS.
    pub insecure: bool,
    /// `--insecure-pull`: registries that are pulled from may be reached without TLS.
    pub insecure_pull: bool,
    /// `--insecure-registry`: these hosts may be reached without TLS, to push and to pull.
    pub insecure_registries: BTreeSet<String>,
    /// `--skip-tls-verify`: accept any certificate, to push and to pull.
    pub skip_tls_verify: bool,
    /// `--skip-tls-verify-pull`: accept any certificate to pull.
    pub skip_tls_verify_pull: bool,
    /// `--skip-tls-verify-registry`: accept any certificate of these hosts.
    pub skip_tls_verify_registries: BTreeSet<String>,
    /// `--registry-certificate`: additional certificate authorities by host.
    pub certificates: BTreeMap<String, Vec<PathBuf>>,
    /// `--registry-client-cert`: certificate chain and key to identify ourselves with, by host.
    pub client_certificates: BTreeMap<String, (PathBuf, PathBuf)>,
    /// `--registry-map`, `--registry-mirror`: where images are pulled from instead.
    pub mirrors: Mirrors,
    /// Transfers of blobs at the same time, over all registries.
    pub parallel_transfers: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: false,
            insecure_pull: false,
            insecure_registries: BTreeSet::new(),
            skip_tls_verify: false,
            skip_tls_verify_pull: false,
            skip_tls_verify_registries: BTreeSet::new(),
            certificates: BTreeMap::new(),
            client_certificates: BTreeMap::new(),
            mirrors: Mirrors::default(),
            parallel_transfers: 4,
        }
    }
}

/// What a request is for: the rights it needs and the settings it is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Reading.
    Pull,
    /// Reading and writing.
    Push,
    /// Reading and deleting.
    Delete,
}

impl RegistryOptions {
    /// Gives the TLS settings by host, for [`crate::http::HttpConfig::hosts`].
    pub fn host_tls(&self) -> BTreeMap<String, HostTls> {
        let mut hosts: BTreeMap<String, HostTls> = BTreeMap::new();
        for host in &self.skip_tls_verify_registries {
            hosts.entry(dialled(host)).or_default().skip_verify = true;
        }
        for (host, files) in &self.certificates {
            hosts
                .entry(dialled(host))
                .or_default()
                .ca_files
                .extend(files.iter().cloned());
        }
        for (host, pair) in &self.client_certificates {
            hosts.entry(dialled(host)).or_default().client_cert = Some(pair.clone());
        }
        hosts
    }

    /// Says whether a registry may be reached without TLS: because the user said so, or because it is this machine.
    pub(super) fn may_be_plain(&self, registry: &str, action: Action) -> bool {
        let host = host_of(registry);
        let named = |set: &BTreeSet<String>| set.contains(registry) || set.contains(host);
        let by_action = match action {
            Action::Pull => self.insecure_pull,
            Action::Push | Action::Delete => self.insecure,
        };
        by_action || is_loopback(host) || named(&self.insecure_registries)
    }

    /// Says whether any certificate is accepted for an action.
    pub(super) fn skips_verify(&self, action: Action) -> bool {
        self.skip_tls_verify || (action == Action::Pull && self.skip_tls_verify_pull)
    }
}

/// The host under which a registry is reached: Docker Hub's differs from its name.
pub fn dialled(registry: &str) -> String {
    match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// The host of `host[:port]`, brackets of an IPv6 address removed.
fn host_of(registry: &str) -> &str {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    registry.rsplit_once(':').map_or(registry, |(host, _)| host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_and_the_local_may_be_plain() {
        let options = RegistryOptions {
            insecure_registries: ["a.io".to_owned(), "b.io:5000".to_owned()].into(),
            ..RegistryOptions::default()
        };
        let check = |registry: &str, expect: bool| {
            assert_eq!(
                options.may_be_plain(registry, Action::Pull),
                expect,
                "{registry}"
            );
        };
        check("a.io", true);
        check("a.io:5000", true);
        check("b.io:5000", true);
        check("b.io", false);
        check("b.io:5001", false);
        check("localhost:5000", true);
        check("127.0.0.2", true);
        check("[::1]:5000", true);
        check("localhost.evil.com", false);
        check("127.0.0.1.evil.com", false);
        check("10.0.0.1:5000", false);
        check("docker.io", false);
    }

    #[test]
    fn flags_apply_to_their_direction() {
        let push = RegistryOptions {
            insecure: true,
            skip_tls_verify_pull: true,
            ..RegistryOptions::default()
        };
        assert!(
            push.may_be_plain("a.io", Action::Push) && !push.may_be_plain("a.io", Action::Pull)
        );
        assert!(push.skips_verify(Action::Pull) && !push.skips_verify(Action::Push));
    }
}
