//! Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4::SigningParams;

use super::super::CloudError;
use super::Keys;
use crate::http::{Authorization, Origin, Request, Secret, header};

/// Signs a request whose body is `body`. The signature is bound to the request's origin.
///
/// # Errors
/// When the request cannot be signed, which its address or headers would have to be the reason for.
pub fn sign(
    mut request: Request,
    body: &[u8],
    keys: &Keys,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<Request, CloudError> {
    let fail = |error: &dyn std::fmt::Display| CloudError::config("signature", error);
    let mut credentials = Credentials::builder()
        .access_key_id(&keys.access_key_id)
        .secret_access_key(keys.secret_access_key.expose())
        .provider_name("longshore");
    credentials.set_session_token(
        keys.session_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
    );
    let identity = credentials.build().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| fail(&error))?
        .into();
    let headers = request
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        request.method.as_str(),
        request.url.as_str(),
        headers,
        SignableBody::Bytes(body),
    )
    .map_err(|error| fail(&error))?;
    let (instructions, _signature) = aws_sigv4::http_request::sign(signable, &params)
        .map_err(|error| fail(&error))?
        .into_parts();
    for (name, value) in instructions.headers() {
        if name.eq_ignore_ascii_case("authorization") {
            request.authorization = Origin::of(&request.url)
                .map(|origin| Authorization::new(origin, Secret::new(value)));
            continue;
        }
        let name = header::HeaderName::from_bytes(name.as_bytes()).map_err(|error| fail(&error))?;
        let mut value = header::HeaderValue::from_str(value).map_err(|error| fail(&error))?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use url::Url;

    use super::*;
    use crate::http::Method;

    /// The published values of AWS's signing test suite: its keys, region, service and time.
    fn check(method: Method, url: &str, token: Option<&str>, expect: &str) {
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
            expires: None,
            source: "test".to_owned(),
        };
        let url = Url::parse(url).unwrap();
        let request = Request::new(method, url.clone());
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(24_015_636);
        let signed = sign(request, b"", &keys, "us-east-1", "service", now).unwrap();
        let authorization = signed.authorization.as_ref().unwrap();
        let value = authorization.for_url(&url).unwrap().expose();
        assert!(value.ends_with(&format!("Signature={expect}")), "{value}");
        assert_eq!(signed.headers["x-amz-date"], "20150830T123600Z");
        let other = Url::parse("https://example.org/").unwrap();
        assert!(authorization.for_url(&other).is_none());
    }

    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let root = "https://example.amazonaws.com/";
        check(
            Method::GET,
            root,
            None,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        );
        check(
            Method::POST,
            root,
            None,
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        check(
            Method::GET,
            "https://example.amazonaws.com/?Param2=value2&Param1=value1",
            None,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        check(
            Method::GET,
            root,
            Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
        );
    }
}
