//! Roles: keys by the security token service.

use std::time::SystemTime;

use url::Url;

use super::super::{CloudError, CloudHttp};
use super::{Keys, sign};
use crate::http::{Body, Secret};

/// The version of the service's interface.
const VERSION: &str = "2011-06-15";

/// What the service's log calls us.
const SESSION: &str = "longshore";

/// Becomes a role with an identity token; the request is not signed.
pub(super) async fn with_web_identity(
    http: &CloudHttp,
    endpoint: Url,
    role: &str,
    token: &Secret,
    source: String,
) -> Result<Keys, CloudError> {
    let request = CloudHttp::form(
        endpoint,
        &[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", VERSION),
            ("RoleArn", role),
            ("RoleSessionName", SESSION),
            ("WebIdentityToken", token.expose()),
        ],
    );
    let what = format!("role {role} with {source}");
    let answer = http.bytes(&request, &what).await?;
    read(&answer, source).ok_or(CloudError::Answer { what })
}

/// Becomes a role with other keys.
pub(super) async fn with_keys(
    http: &CloudHttp,
    endpoint: Url,
    role: &str,
    external_id: Option<&str>,
    keys: &Keys,
    place: (&str, SystemTime),
) -> Result<Keys, CloudError> {
    let mut pairs = vec![
        ("Action", "AssumeRole"),
        ("Version", VERSION),
        ("RoleArn", role),
        ("RoleSessionName", SESSION),
    ];
    pairs.extend(external_id.map(|id| ("ExternalId", id)));
    let request = CloudHttp::form(endpoint, &pairs);
    let Body::Bytes(body) = request.body.clone() else {
        return Err(CloudError::config("form", "has no body"));
    };
    let (region, now) = place;
    let request = sign(request, &body, keys, region, "sts", now)?;
    let what = format!("role {role} with keys of {}", keys.source);
    let answer = http.bytes(&request, &what).await?;
    read(&answer, format!("role {role}")).ok_or(CloudError::Answer { what })
}

/// Reads the keys out of the service's XML: four elements of plain text.
fn read(answer: &[u8], source: String) -> Option<Keys> {
    let text = std::str::from_utf8(answer).ok()?;
    let (_, text) = text.split_once("<Credentials>")?;
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once('<')?;
        Some(
            value
                .trim()
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"")
                .replace("&amp;", "&"),
        )
    };
    Some(Keys {
        access_key_id: element("AccessKeyId")?,
        secret_access_key: Secret::new(element("SecretAccessKey")?),
        session_token: element("SessionToken").map(Secret::new),
        expires: element("Expiration").and_then(|text| super::keys::time(&text)),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        let answer = b"<AssumeRoleResponse xmlns=\"x\"><AssumeRoleResult><AssumedRoleUser><Arn>a</Arn></AssumedRoleUser>\
            <Credentials><AccessKeyId>ASIA</AccessKeyId>\n<SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t&amp;</SessionToken>\
            <Expiration>2026-01-02T03:04:05Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let keys = read(answer, "x".to_owned()).unwrap();
        assert_eq!(keys.access_key_id, "ASIA");
        assert_eq!(keys.secret_access_key.expose(), "s/+=");
        assert_eq!(keys.session_token.unwrap().expose(), "t&");
        assert!(keys.expires.is_some());
        assert!(read(b"<Error/>", "x".to_owned()).is_none());
    }
}
