//! ADD of URLs and repositories: what is elsewhere to a directory of its own.
//!
//! As in BuildKit, a file behind a URL has mode 0600 and the time that the server says it was modified, 1970 if it says none.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use url::Url;

use crate::http::{
    Authorization, Http, Method, Origin, Request, Response, Secret, header, is_transient,
    printable, redact_url, retry_after,
};
use crate::oci::{Digest, Digester};
use crate::plan::{CopySource, CopyStep, UrlSource};
use crate::rootfs::{Leaf, RelPath, Rootfs};
use crate::sandbox::Content;

use super::repository::Git;
use super::sources::{Found, SourceTree};
use super::{CopyError, DownloadError};

/// The largest file, in bytes: more than any archive that one adds to an image, less than what a server that never ends
/// could do to a disk.
const SIZE_MAX: u64 = 64 << 30;
/// Who may read the file.
const MODE: u32 = 0o600;

/// The secrets of a build by their ids.
type Secrets = BTreeMap<String, Content>;

/// A file that was downloaded, or the files of a repository.
#[derive(Debug)]
pub(super) struct Downloaded {
    rootfs: Rootfs,
    /// The file; the root if it is all of them.
    name: RelPath,
    url: String,
}

impl Downloaded {
    /// The directory, which holds nothing else.
    pub(super) fn tree(&self) -> SourceTree<'_> {
        SourceTree {
            rootfs: &self.rootfs,
            ignore: None,
            keeps_owner: false,
            owners: Arc::default(),
            name: self.url.clone(),
        }
    }

    /// The file, or all of them.
    pub(super) fn found(&self) -> Result<Found, CopyError> {
        if self.name.is_root() {
            return Ok(Found {
                path: RelPath::root(),
                name: Vec::new(),
                metadata: self.rootfs.open_dir(&self.name)?.metadata()?,
            });
        }
        let file = self.rootfs.open_file(&self.name, Leaf::Keep)?;
        drop(file);
        let (dir, name) = self.rootfs.parent(&self.name)?;
        let metadata = dir.lstat(name)?.ok_or_else(|| CopyError::Write {
            path: self.name.to_string(),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        Ok(Found {
            path: self.name.clone(),
            name: name.to_vec(),
            metadata,
        })
    }
}

/// Downloads the URLs of a copy, all at the same time, and fetches its repositories, below `directory`. What comes of it is in
/// the order of the sources.
pub(super) fn download(
    step: &CopyStep,
    git: Git<'_>,
    secrets: &Secrets,
    directory: &Path,
) -> Result<Vec<Downloaded>, CopyError> {
    let mut urls = Vec::new();
    let mut done = Vec::new();
    for (number, source) in step.sources.iter().enumerate() {
        let directory = directory.join(number.to_string());
        match source {
            CopySource::Url(url) => urls.push((number, url, directory)),
            CopySource::Repository(repository) => {
                let fetched = Downloaded {
                    rootfs: git.fetch(repository, &directory)?,
                    name: RelPath::root(),
                    url: "the repository".to_owned(),
                };
                done.push((number, fetched));
            }
            CopySource::Path(_) | CopySource::Parents { .. } | CopySource::Inline { .. } => {}
        }
    }
    if let Some((_, first, _)) = urls.first() {
        let first = redacted(&first.url.value);
        let downloads = urls.into_iter().map(|(number, url, directory)| async move {
            let downloaded = one(url, git.http, secrets, directory).await?;
            Ok::<_, CopyError>((number, downloaded))
        });
        let all = futures_util::future::try_join_all(downloads);
        match super::block_on(git.services, all) {
            Ok(downloaded) => done.extend(downloaded?),
            // Called off: nothing else ends the wait.
            Err(_) => {
                return Err(CopyError::Download {
                    url: first,
                    source: Box::new(DownloadError::Cancelled),
                });
            }
        }
    }
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, downloaded)| downloaded).collect())
}

async fn one(
    source: &UrlSource,
    http: &Http,
    secrets: &Secrets,
    directory: PathBuf,
) -> Result<Downloaded, CopyError> {
    let failed = |error| CopyError::Download {
        url: redacted(&source.url.value),
        source: Box::new(error),
    };
    let write = |path: &Path, source| {
        failed(DownloadError::Write {
            path: path.to_owned(),
            source,
        })
    };
    std::fs::create_dir_all(&directory).map_err(|error| write(&directory, error))?;
    let path = directory.join(&source.name);
    let url = Url::parse(&source.url.value)
        .map_err(|error| failed(DownloadError::Url(error.to_string())))?;
    let request = Request::new(Method::GET, url.clone())
        .authorization(authorization(&url, secrets).map_err(failed)?);
    let (modified, digest) = to_file(http, &request, &path, source.checksum.as_ref())
        .await
        .map_err(failed)?;
    if let Some(expected) = source.checksum.as_ref().filter(|wanted| **wanted != digest) {
        return Err(failed(DownloadError::Checksum {
            found: digest,
            expected: expected.clone(),
        }));
    }
    let finish = || {
        let file = File::options().write(true).open(&path)?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.set_times(FileTimes::new().set_modified(modified))
    };
    finish().map_err(|error| write(&path, error))?;
    Ok(Downloaded {
        rootfs: Rootfs::open(&directory)?,
        name: RelPath::root().child(source.name.as_bytes()),
        url: redact_url(&url),
    })
}

/// Who we are to the host of a URL: the secret `HTTP_AUTH_TOKEN_<host>`, else `HTTP_AUTH_HEADER_<host>`, as in BuildKit. It goes
/// to no other server, also not after a redirect.
fn authorization(url: &Url, secrets: &Secrets) -> Result<Option<Authorization>, DownloadError> {
    let (Some(host), Some(origin)) = (url.host_str(), Origin::of(url)) else {
        return Ok(None);
    };
    for (prefix, scheme) in [("HTTP_AUTH_TOKEN_", "Bearer "), ("HTTP_AUTH_HEADER_", "")] {
        let id = format!("{prefix}{host}");
        let Some(content) = secrets.get(&id) else {
            continue;
        };
        // A file ends with a line feed.
        let text = std::str::from_utf8(content.expose()).map(str::trim_ascii_end);
        let text = text.ok().filter(|text| {
            let mut bytes = text.bytes();
            !text.is_empty() && bytes.all(|byte| byte == b' ' || byte.is_ascii_graphic())
        });
        let text = text.ok_or(DownloadError::Secret { id })?;
        let value = Secret::new(format!("{scheme}{text}"));
        return Ok(Some(Authorization::new(origin, value)));
    }
    Ok(None)
}

/// Downloads until the file is whole, or the policy says enough. Returns its time and its digest.
async fn to_file(
    http: &Http,
    request: &Request,
    path: &Path,
    checksum: Option<&Digest>,
) -> Result<(SystemTime, Digest), DownloadError> {
    let mut backoff = http.backoff();
    loop {
        let (error, asked) = match http.send(request.clone()).await {
            Ok(response) if response.status().is_success() => {
                let modified = response
                    .header(&header::LAST_MODIFIED)
                    .and_then(http_date)
                    .unwrap_or(SystemTime::UNIX_EPOCH);
                match body(response, path, checksum).await {
                    Ok(digest) => return Ok((modified, digest)),
                    Err(error) => (error, None),
                }
            }
            Ok(response) => {
                let status = response.status();
                let asked = retry_after(response.headers());
                (DownloadError::Status { status }, asked)
            }
            Err(error) => (DownloadError::Http(error), None),
        };
        let may_pass = match &error {
            DownloadError::Status { status } => is_transient(*status),
            DownloadError::Http(error) => error.is_transient(),
            DownloadError::Length { .. } => true,
            DownloadError::Url(_)
            | DownloadError::TooLarge { .. }
            | DownloadError::Checksum { .. }
            | DownloadError::Write { .. }
            | DownloadError::Secret { .. }
            | DownloadError::Cancelled => false,
        };
        match backoff.next_wait(asked).filter(|_| may_pass) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(error),
        }
    }
}

/// Writes a body to a file and hashes it.
async fn body(
    mut response: Response,
    path: &Path,
    checksum: Option<&Digest>,
) -> Result<Digest, DownloadError> {
    let failed = |source| DownloadError::Write {
        path: path.to_owned(),
        source,
    };
    let too_large = DownloadError::TooLarge { limit: SIZE_MAX };
    let expected = response.content_length();
    if expected.is_some_and(|length| length > SIZE_MAX) {
        return Err(too_large);
    }
    let mut file = File::create(path).map_err(failed)?;
    let mut digester = checksum.map_or_else(Digester::sha256, Digest::digester);
    let mut received = 0;
    while let Some(chunk) = response.chunk().await? {
        received += chunk.len() as u64;
        if received > SIZE_MAX {
            return Err(too_large);
        }
        digester.update(&chunk);
        file.write_all(&chunk).map_err(failed)?;
    }
    match expected.filter(|length| *length != received) {
        Some(expected) => Err(DownloadError::Length { expected, received }),
        None => Ok(digester.finish()),
    }
}

/// Reads the time of an HTTP header in its three forms (RFC 9110 section 5.6.7).
fn http_date(text: &str) -> Option<SystemTime> {
    let parsed = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ]
    .iter()
    .find_map(|form| jiff::civil::DateTime::strptime(form, text.trim()).ok())?;
    let seconds = parsed
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_second();
    let seconds = u64::try_from(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A URL for messages.
fn redacted(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => redact_url(&url),
        Err(_) => printable(url.rsplit('@').next().unwrap_or_default(), 200),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_three_forms() {
        let expect = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http_date(text), expect, "{text}");
        }
        for text in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37 +0100"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
