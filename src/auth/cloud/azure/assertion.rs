//! The signed statement by which an application shows that it has the key of its certificate (RFC 7523; Entra ID,
//! "Application authentication certificate credentials").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::http::Secret;

/// How long it is good for: it is presented at once.
const LIFETIME: Duration = Duration::from_mins(10);

/// What is said of a file that is none of text, or of other text.
pub(super) const NO_PEM: &str =
    "is no PEM file; of one in PKCS#12 (.pfx), `openssl pkcs12 -in FILE -nodes` makes one";

/// Signs the statement with the key of a PEM file that holds it and its certificate.
///
/// # Errors
/// What is wrong with the file, without anything of its content.
pub(super) fn sign(
    pem: &str,
    client: &str,
    audience: &str,
    now: SystemTime,
) -> Result<Secret, &'static str> {
    if !pem.contains("-----BEGIN ") {
        return Err(NO_PEM);
    }
    if pem.contains("ENCRYPTED") {
        return Err(
            "holds an encrypted key, which is not supported; `openssl pkey -in FILE` and `openssl x509 -in FILE` print what \
             belongs into a file that only this job can read",
        );
    }
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "holds no certificate in PEM")?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "holds no private key in PEM beside the certificate")?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|_| "holds a key of a kind that is not supported")?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])
        .ok_or("holds a key that is none of RSA")?;

    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let begin = since_epoch.as_secs();
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&certificate));
    let number = Sha256::digest(format!("{client} {}", since_epoch.as_nanos()));
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint});
    let claims = json!({
        "aud": audience,
        "iss": client,
        "sub": client,
        "jti": hex::encode(number),
        "nbf": begin,
        "exp": begin + LIFETIME.as_secs(),
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature = signer.sign(text.as_bytes()).map_err(|_| "cannot sign")?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    Ok(Secret::new(format!("{text}.{signature}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};

    const PEM: &str = include_str!("../../../../tests/fixtures/azure/client.pem");

    #[test]
    fn the_statement_is_signed_with_the_key_of_the_certificate() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let signed = sign(PEM, "client-1", "https://login.test/t/token", now).unwrap();
        let (text, signature) = signed.expose().rsplit_once('.').unwrap();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();

        let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(PEM.as_bytes()).unwrap()
        else {
            panic!("a key of another form")
        };
        let pair = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, pair.public_key().as_ref());
        public.verify(text.as_bytes(), &decode(signature)).unwrap();

        let (header, claims) = text.split_once('.').unwrap();
        let parsed = |part| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
        let header = parsed(header);
        assert_eq!(header["alg"], "PS256");
        // As `openssl x509 -outform der | sha256sum` says.
        assert_eq!(
            hex::encode(decode(header["x5t#S256"].as_str().unwrap())),
            "52df31d9d002751f96572bc0815893bb54cda5a9bacde3cab10060103593666c"
        );
        let claims = parsed(claims);
        assert_eq!(claims["iss"], "client-1");
        assert_eq!(claims["sub"], "client-1");
        assert_eq!(claims["aud"], "https://login.test/t/token");
        assert_eq!(claims["nbf"], 1_700_000_000);
        assert_eq!(claims["exp"], 1_700_000_600);
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_content() {
        let (key, certificate) = PEM.split_once("-----BEGIN CERT").unwrap();
        for (pem, expect) in [
            ("hunter2", "PKCS#12"),
            (key, "no certificate"),
            (&format!("-----BEGIN CERT{certificate}"), "no private key"),
            (&PEM.replace("PRIVATE", "ENCRYPTED PRIVATE"), "encrypted"),
        ] {
            let error = sign(pem, "c", "a", UNIX_EPOCH).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }
}
