//! Caches in buckets as buildx names them: `type=s3`, `type=azblob`, and `type=gcs` in the same manner.

use crate::build::CachePlace;
use crate::cache::BucketOptions;
use crate::http::Secret;
use crate::store::Place;

use super::UsageError;
use super::env::Env;
use super::places::{Around, Fields};

/// The container that buildx uses.
const CONTAINER: &str = "buildkit-cache";

/// A bucket of S3. What a field does not say, Amazon's own variables and files say.
pub(super) fn s3(fields: &mut Fields<'_>, around: &Around<'_>) -> Result<CachePlace, UsageError> {
    let bucket = fields
        .take("bucket")
        .or_else(|| around.env.text("AWS_BUCKET"));
    let bucket = bucket.ok_or_else(|| fields.bad("type=s3 needs bucket="))?;
    let mut said = Said::default();
    said.set("AWS_REGION", fields.take("region"));
    said.set("S3_ENDPOINT", fields.take("endpoint_url"));
    match fields.take("use_path_style") {
        None => {}
        Some(value @ ("true" | "false")) => said.set("S3_FORCE_PATH_STYLE", Some(value)),
        Some(other) => {
            return Err(fields.bad(format_args!("use_path_style={other}: it is true or false")));
        }
    }
    let keys = ["access_key_id", "secret_access_key", "session_token"];
    let keys = keys.map(|name| fields.take(name));
    if keys[0].is_some() != keys[1].is_some() {
        return Err(fields.bad("access_key_id= and secret_access_key= belong together"));
    }
    if keys[0].is_some() {
        said.forget("AWS_SESSION_TOKEN");
    }
    said.set("AWS_ACCESS_KEY_ID", keys[0]);
    said.set("AWS_SECRET_ACCESS_KEY", keys[1]);
    said.set("AWS_SESSION_TOKEN", keys[2]);
    place(fields, around, &format!("s3://{bucket}"), &said)
}

/// A bucket of Google.
pub(super) fn gcs(fields: &mut Fields<'_>, around: &Around<'_>) -> Result<CachePlace, UsageError> {
    let bucket = fields.need("bucket")?;
    place(fields, around, &format!("gs://{bucket}"), &Said::default())
}

/// A container of Azure.
pub(super) fn azblob(
    fields: &mut Fields<'_>,
    around: &Around<'_>,
) -> Result<CachePlace, UsageError> {
    let url = fields.take("account_url");
    let url = url.or_else(|| around.env.text("BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"));
    let account = fields.take("account_name");
    let container = fields.take("container").unwrap_or(CONTAINER);
    let mut said = Said::default();
    said.set("AZURE_STORAGE_ACCESS_KEY", fields.take("secret_access_key"));
    let url = match (url, account) {
        (Some(url), None) => url.trim_end_matches('/').to_owned(),
        (None, Some(account)) => format!("https://{account}.blob.core.windows.net"),
        // An account that is reached elsewhere than at Azure.
        (Some(url), Some(account)) => {
            said.set("AZURE_STORAGE_BLOB_ENDPOINT", Some(url));
            format!("https://{account}.blob.core.windows.net")
        }
        (None, None) => {
            return Err(fields.bad("type=azblob needs account_url= or account_name="));
        }
    };
    place(fields, around, &format!("{url}/{container}"), &said)
}

/// What the user said of a store, as the variables that say the same.
#[derive(Default)]
struct Said {
    set: Vec<(&'static str, String)>,
    forgotten: Vec<&'static str>,
}

impl Said {
    fn set(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.set.push((name, value.to_owned()));
        }
    }

    fn forget(&mut self, name: &'static str) {
        self.forgotten.push(name);
    }
}

fn place(
    fields: &mut Fields<'_>,
    around: &Around<'_>,
    url: &str,
    said: &Said,
) -> Result<CachePlace, UsageError> {
    let mut prefix = fields.take("prefix").unwrap_or_default().to_owned();
    if !prefix.is_empty() && !prefix.ends_with('/') {
        prefix.push('/');
    }
    let place = match Place::parse(&format!("{url}/{prefix}")) {
        Some(Ok(place)) => place,
        Some(Err(error)) => return Err(fields.bad(format_args!("\"{url}\": {error}"))),
        None => {
            return Err(fields.bad(format_args!(
                "\"{url}\" is no place in Azure: name an account_name= beside it"
            )));
        }
    };
    let mut env: Env = around.env.clone();
    env.remove(&said.forgotten);
    for (name, value) in &said.set {
        env.set(name, value);
    }
    let name = fields.take("name").unwrap_or("longshore").to_owned();
    if name.contains([';', '/']) {
        return Err(fields.bad(format_args!("name={name}: one name, without / and ;")));
    }
    let below = |text: Option<&str>, default: &str| text.unwrap_or(default).to_owned();
    Ok(CachePlace::Bucket(Box::new(BucketOptions {
        stores: (around.stores)(&env)?,
        place,
        blobs: below(fields.take("blobs_prefix"), "blobs/"),
        documents: below(fields.take("manifests_prefix"), "manifests/"),
        name,
        said: Secret::new(format!("{:?}", said.set)),
    })))
}
