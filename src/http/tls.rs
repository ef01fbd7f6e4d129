//! TLS settings: rustls with ring, the system's and Mozilla's roots, and what one host needs beside them.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::{HostTls, HttpConfig};
use super::error::Error;

/// The roots that every host is judged by: bundles that are read at once and parsed when a connection wants them.
///
/// The files are read early because an image may take their place; a build that needs no network is spared the parsing.
pub(super) struct Roots {
    bundles: Mutex<Vec<Vec<u8>>>,
    parsed: OnceLock<Arc<RootCertStore>>,
}

impl Roots {
    /// Reads the bundles. Those that do not exist are skipped.
    pub(super) fn read(config: &HttpConfig) -> Self {
        let mut seen = HashSet::new();
        let bundles = config
            .ca_files
            .iter()
            .filter_map(|file| {
                let mut file = File::open(file).ok()?;
                let metadata = file.metadata().ok()?;
                // Directories of certificates name each of them twice, by a link.
                if !seen.insert((metadata.dev(), metadata.ino())) {
                    return None;
                }
                let mut pem = Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1);
                file.read_to_end(&mut pem).ok()?;
                Some(pem)
            })
            .collect();
        Self {
            bundles: Mutex::new(bundles),
            parsed: OnceLock::new(),
        }
    }

    /// Parses the bundles, once. Broken certificates are skipped, as every TLS library does with a system's bundle.
    pub(super) fn parsed(&self) -> &Arc<RootCertStore> {
        self.parsed.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(
                webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned(),
            );
            let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
            for pem in bundles.drain(..) {
                roots.add_parsable_certificates(
                    CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok),
                );
            }
            Arc::new(roots)
        })
    }
}

/// Makes the settings for one host.
pub(super) fn client_config(
    roots: &Roots,
    host: Option<&HostTls>,
    skip_verify: bool,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Config {
            what: "TLS".to_owned(),
            reason: error.to_string(),
        })?;
    let skip_verify = skip_verify || host.is_some_and(|host| host.skip_verify);
    let builder = if skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let mut roots = Arc::clone(roots.parsed());
        for file in host
            .map(|host| host.ca_files.as_slice())
            .unwrap_or_default()
        {
            add_required(Arc::make_mut(&mut roots), file)?;
        }
        builder.with_root_certificates(roots)
    };
    let mut config = match host.and_then(|host| host.client_cert.as_ref()) {
        Some((chain, key)) => {
            let chain_der = certificates(chain)?;
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| unusable(key, &error))?;
            builder
                .with_client_auth_cert(chain_der, key_der)
                .map_err(|error| unusable(chain, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn add_required(roots: &mut RootCertStore, file: &Path) -> Result<(), Error> {
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(file, &error))?;
    }
    Ok(())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(file, &error))?;
    if found.is_empty() {
        return Err(unusable(file, &"no certificate in PEM form in it"));
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::Config {
        what: format!("certificate file `{}`", file.display()),
        reason: reason.to_string(),
    }
}

/// Accepts any certificate, as the user asked for with `--skip-tls-verify`; signatures are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mozillas_roots_are_there_without_any_file() {
        let config = HttpConfig {
            ca_files: vec!["/nonexistent".into()],
            ..HttpConfig::default()
        };
        assert!(Roots::read(&config).parsed().len() > 100);
    }

    #[test]
    fn bundles_are_read_at_once_and_parsed_when_wanted() {
        let bundle = tempfile::NamedTempFile::new().expect("a file");
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(bundle.path(), pem).expect("written");
        let link = bundle.path().with_extension("link");
        std::os::unix::fs::symlink(bundle.path(), &link).expect("linked");
        let config = HttpConfig {
            ca_files: vec![bundle.path().to_path_buf(), link.clone()],
            ..HttpConfig::default()
        };
        let roots = Roots::read(&config);
        std::fs::remove_file(link).expect("removed");
        bundle.close().expect("removed");
        assert!(roots.parsed.get().is_none());
        assert_eq!(
            *roots.bundles.lock().expect("not poisoned"),
            [pem.as_bytes()],
            "once, though it has two names"
        );
        roots.parsed();
        assert!(roots.bundles.lock().expect("not poisoned").is_empty());
    }

    #[test]
    fn a_missing_or_empty_certificate_of_a_host_is_an_error() {
        let empty = tempfile::NamedTempFile::new().expect("a file");
        let no_roots = Roots::read(&HttpConfig {
            ca_files: Vec::new(),
            ..HttpConfig::default()
        });
        for file in ["/nonexistent/ca.pem".into(), empty.path().to_path_buf()] {
            let host = HostTls {
                ca_files: vec![file.clone()],
                ..HostTls::default()
            };
            let error = client_config(&no_roots, Some(&host), false).expect_err("unusable");
            assert!(
                error.to_string().contains(&file.display().to_string()),
                "{error}"
            );
        }
    }
}
