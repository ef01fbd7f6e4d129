//! Whether an SSH host is the one that it says it is (sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT").

use std::borrow::Cow;

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use sha1::Sha1;

use super::error::SshTrouble;
use super::remote::SSH_PORT;

/// What files say of one host.
pub(super) struct KnownHost {
    /// As `known_hosts` names it.
    name: String,
    /// The keys, each with the file that has it.
    keys: Vec<(String, PublicKey)>,
    revoked: Vec<(String, PublicKey)>,
    /// Whether a key of RSA was passed over.
    has_rsa: bool,
}

impl KnownHost {
    /// Looks a host up in the texts of `known_hosts` files. Lines that cannot be read say nothing, as for OpenSSH.
    ///
    /// # Deviation
    /// Certificates of hosts and keys of RSA are not understood (russh is built without RSA), so they say nothing either: a
    /// host that is known by its RSA key alone is not known, and the error says that.
    pub(super) fn find(host: &str, port: u16, files: &[(String, String)]) -> Self {
        let name = match port {
            SSH_PORT => host.to_owned(),
            port => format!("[{host}]:{port}"),
        };
        let mut known = Self {
            keys: Vec::new(),
            revoked: Vec::new(),
            has_rsa: false,
            name,
        };
        let lines = files
            .iter()
            .flat_map(|(file, text)| text.lines().map(move |line| (file, line.trim())));
        for (file, line) in lines.filter(|(_, line)| !line.starts_with('#')) {
            let Ok(entry) = line.parse::<Entry>() else {
                continue;
            };
            if !matches(entry.host_patterns(), &known.name) {
                continue;
            }
            let found = (file.clone(), entry.public_key().clone());
            match entry.marker() {
                None if is_rsa(&found.1.algorithm()) => known.has_rsa = true,
                None => known.keys.push(found),
                Some(Marker::Revoked) => known.revoked.push(found),
                Some(Marker::CertAuthority) => {}
            }
        }
        known
    }

    /// The algorithms of host keys in the order to ask for them: those that are known come first.
    pub(super) fn algorithms(&self, all: &[Algorithm]) -> Cow<'static, [Algorithm]> {
        let is_known = |algorithm: &Algorithm| {
            let mut keys = self.keys.iter();
            keys.any(|(_, key)| key.algorithm() == *algorithm)
        };
        let usable = all.iter().filter(|algorithm| !is_rsa(algorithm));
        let (known, others): (Vec<Algorithm>, Vec<Algorithm>) = usable.cloned().partition(is_known);
        Cow::Owned([known, others].concat())
    }

    /// Compares the key that the host shows with those that are known.
    pub(super) fn check(&self, key: &PublicKey) -> Result<(), SshTrouble> {
        let is_this = |(_, known): &&(String, PublicKey)| known.key_data() == key.key_data();
        let algorithm = key.algorithm().to_string();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let host = self.name.clone();
        if let Some((file, _)) = self.revoked.iter().find(is_this) {
            return Err(SshTrouble::RevokedHost {
                host,
                known: file.clone(),
            });
        }
        if self.keys.iter().any(|known| is_this(&known)) {
            return Ok(());
        }
        match self.keys.first() {
            Some((file, _)) => Err(SshTrouble::ChangedHost {
                host,
                algorithm,
                fingerprint,
                known: file.clone(),
            }),
            None => Err(SshTrouble::UnknownHost {
                line: line(&host, key),
                is_known_by_rsa: self.has_rsa,
                host,
                algorithm,
                fingerprint,
            }),
        }
    }
}

/// The line that makes a host known.
fn line(host: &str, key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment("");
    let text = key.to_openssh().unwrap_or_default();
    format!("{host} {}", text.trim_end())
}

fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|mac| mac.chain_update(name).verify_slice(hash).is_ok()),
        HostPatterns::Patterns(patterns) => {
            let mut is_match = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(pattern) if is_like(pattern, name) => return false,
                    Some(_) => {}
                    None => is_match |= is_like(pattern, name),
                }
            }
            is_match
        }
    }
}

/// Matches `*` and `?`, whatever the case.
fn is_like(pattern: &str, name: &str) -> bool {
    let pattern: Vec<u8> = pattern.bytes().map(|b| b.to_ascii_lowercase()).collect();
    let name = name.as_bytes();
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[of] => {
                at += 1;
                of += 1;
            }
            Some(_) | None => match star {
                Some((start, taken)) => {
                    star = Some((start, taken + 1));
                    at = start + 1;
                    of = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP8BAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn find(host: &str, port: u16, lines: &[String]) -> KnownHost {
        KnownHost::find(host, port, &[("here".to_owned(), lines.join("\n"))])
    }

    #[test]
    fn keys_are_compared() {
        let key: PublicKey = ONE.parse().expect("a key");
        let verdict = |host: &str, port: u16, lines: &[String]| {
            let known = find(host, port, lines);
            known.check(&key).map_err(|error| match error {
                SshTrouble::UnknownHost { line, .. } => line,
                SshTrouble::ChangedHost { .. } => "changed".to_owned(),
                SshTrouble::RevokedHost { .. } => "revoked".to_owned(),
                other => other.to_string(),
            })
        };
        let line = |hosts: &str, key: &str| format!("{hosts} {key}");
        let changed = Err("changed".to_owned());
        assert_eq!(verdict("h.io", 22, &[line("h.io", ONE)]), Ok(()));
        assert_eq!(verdict("h.io", 22, &[line("x,H.IO", ONE)]), Ok(()));
        assert_eq!(verdict("h.io", 22, &[line("*.io", ONE)]), Ok(()));
        assert_eq!(verdict("h.io", 2222, &[line("[h.io]:2222", ONE)]), Ok(()));
        assert_eq!(verdict("h.io", 22, &[line("h.io", OTHER)]), changed);
        let both = [line("h.io", OTHER), line("h.io", ONE)];
        assert_eq!(verdict("h.io", 22, &both), Ok(()));
        for lines in [
            vec![],
            vec![line("*.io,!h.io", ONE)],
            vec![line("[h.io]:2222", ONE)],
            vec![format!("# {}", line("h.io", ONE))],
            vec![format!("@cert-authority {}", line("h.io", ONE))],
            vec!["nonsense".to_owned()],
        ] {
            assert_eq!(verdict("h.io", 22, &lines), Err(line("h.io", ONE)));
        }
        let revoked = [line("h.io", ONE), format!("@revoked {}", line("*", ONE))];
        assert_eq!(verdict("h.io", 22, &revoked), Err("revoked".to_owned()));
        assert_eq!(verdict("h.io", 2222, &[]), Err(line("[h.io]:2222", ONE)));
    }

    #[test]
    fn hashed_names_are_found() {
        use base64::Engine as _;
        let base64 = base64::engine::general_purpose::STANDARD;
        let salt = [7; 20];
        let mac = Hmac::<Sha1>::new_from_slice(&salt).expect("any length");
        let hash = mac.chain_update("[h.io]:2222").finalize().into_bytes();
        let line = format!("|1|{}|{} {ONE}", base64.encode(salt), base64.encode(hash));
        assert_eq!(
            find("h.io", 2222, std::slice::from_ref(&line)).keys.len(),
            1
        );
        assert!(find("h.io", 22, &[line]).keys.is_empty());
    }
}
