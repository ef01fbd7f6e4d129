//! Certificates that are made in the test, and the server's side of TLS.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate and its key.
pub(crate) struct Certificate {
    der: Vec<u8>,
    key: Vec<u8>,
    name: String,
}

/// What a certificate says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Says<'a> {
    /// The names that it is for; addresses are written as addresses.
    pub(crate) hosts: &'a [&'a str],
    /// It was valid until the year 2021.
    pub(crate) is_expired: bool,
}

impl Certificate {
    /// Makes an authority, signed by itself.
    pub(crate) fn authority(name: &str) -> Self {
        Self::make(name, None, Says::default())
    }

    /// Makes the certificate of a server, signed by this authority.
    pub(crate) fn sign(&self, says: Says<'_>) -> Self {
        Self::make("server", Some(self), says)
    }

    /// The certificate as PEM.
    pub(crate) fn pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is text"))
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    }

    /// The settings of a server that shows this certificate and speaks these protocols.
    pub(crate) fn server(&self, protocols: &[&str]) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![CertificateDer::from(self.der.clone())];
        let key = PrivateKeyDer::try_from(self.key.clone()).expect("a key");
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    /// Builds X.509 by hand (RFC 5280 section 4.1): P-256, signed with SHA-256.
    fn make(name: &str, issuer: Option<&Self>, says: Says<'_>) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = |key: &[u8]| EcdsaKeyPair::from_pkcs8(algorithm, key, &random).expect("a key");
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key = key.as_ref().to_vec();
        let own = pair(&key);
        let signed_with = tlv(0x30, &[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])]);
        let until = if says.is_expired {
            tlv(0x17, &[b"210101000000Z".to_vec()])
        } else {
            tlv(0x18, &[b"20991231235959Z".to_vec()])
        };
        let public = [vec![0], own.public_key().as_ref().to_vec()].concat();
        let extensions = if issuer.is_none() {
            // basicConstraints, critical: an authority.
            let value = tlv(0x30, &[tlv(1, &[vec![0xff]])]);
            let parts = [
                oid(&[0x55, 0x1d, 0x13]),
                tlv(1, &[vec![0xff]]),
                tlv(4, &[value]),
            ];
            tlv(0x30, &[tlv(0x30, &parts)])
        } else {
            let names: Vec<Vec<u8>> = says.hosts.iter().map(|host| general_name(host)).collect();
            let value = tlv(0x30, &names);
            tlv(
                0x30,
                &[tlv(0x30, &[oid(&[0x55, 0x1d, 0x11]), tlv(4, &[value])])],
            )
        };
        let serial: [u8; 8] = ring::rand::generate(&random).expect("numbers").expose();
        let body = tlv(
            0x30,
            &[
                tlv(0xa0, &[tlv(2, &[vec![2]])]),
                tlv(2, &[[&[1], &serial[..]].concat()]),
                signed_with.clone(),
                common_name(issuer.map_or(name, |issuer| &issuer.name)),
                tlv(0x30, &[tlv(0x17, &[b"200101000000Z".to_vec()]), until]),
                common_name(name),
                tlv(
                    0x30,
                    &[
                        tlv(
                            0x30,
                            &[
                                oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]),
                                oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]),
                            ],
                        ),
                        tlv(3, &[public]),
                    ],
                ),
                tlv(0xa3, &[extensions]),
            ],
        );
        let signer = pair(issuer.map_or(&key, |issuer| &issuer.key));
        let signature = signer.sign(&random, &body).expect("a signature");
        let signature = [vec![0], signature.as_ref().to_vec()].concat();
        Self {
            der: tlv(0x30, &[body, signed_with, tlv(3, &[signature])]),
            key,
            name: name.to_owned(),
        }
    }
}

/// Writes a value of DER: its type, its length, its parts.
fn tlv(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let mut head = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => head.push(short),
        Ok(long) => head.extend([0x81, long]),
        Err(_) => {
            let [high, low] = u16::try_from(length).expect("small").to_be_bytes();
            head.extend([0x82, high, low]);
        }
    }
    [head, content].concat()
}

fn oid(encoded: &[u8]) -> Vec<u8> {
    tlv(6, &[encoded.to_vec()])
}

fn common_name(name: &str) -> Vec<u8> {
    let pair = [oid(&[0x55, 4, 3]), tlv(0x0c, &[name.as_bytes().to_vec()])];
    tlv(0x30, &[tlv(0x31, &[tlv(0x30, &pair)])])
}

fn general_name(host: &str) -> Vec<u8> {
    match host.parse() {
        Ok(IpAddr::V4(address)) => tlv(0x87, &[address.octets().to_vec()]),
        Ok(IpAddr::V6(address)) => tlv(0x87, &[address.octets().to_vec()]),
        Err(_) => tlv(0x82, &[host.as_bytes().to_vec()]),
    }
}
