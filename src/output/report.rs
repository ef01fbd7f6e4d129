//! Files that tell what was made: digest files in kaniko's formats, and a metadata file as buildx writes it.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use url::Url;

use super::source::failed;
use super::{Error, Published};
use crate::http::{Body, Http, Method, Request, header, redact_url};
use crate::oci::{DOCKER_HUB, Reference};
use crate::registry::Partial;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Into a file.
    File(PathBuf),
    /// To a server, by PUT, as kaniko does.
    Url(Url),
}

/// A URL is shown without what may be secret in it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(&redact_url(url)),
        }
    }
}

/// The files to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// `--digest-file`: the digest and nothing else, not even a newline.
    pub digest: Option<Report>,
    /// `--image-name-with-digest-file`: a line `registry/repository@digest` for each name.
    pub name_with_digest: Option<Report>,
    /// `--image-name-tag-with-digest-file`: a line `registry/repository:tag@digest` for each name.
    pub name_tag_with_digest: Option<Report>,
    /// `--metadata-file`: a JSON object.
    pub metadata: Option<Report>,
}

/// Writes the files, each complete or not at all. Missing directories are made, for the user alone.
///
/// # Deviation
/// kaniko writes tags into both name files when both are asked for; here each keeps its format.
///
/// # Errors
/// The first file that cannot be written.
pub async fn write_reports(
    reports: &Reports,
    published: &Published,
    names: &[Reference],
    http: &Http,
) -> Result<(), Error> {
    let digest = &published.descriptor.digest;
    if let Some(report) = &reports.digest {
        write(report, digest.as_str().into(), http).await?;
    }
    if let Some(report) = &reports.name_with_digest {
        let lines = names
            .iter()
            .map(|name| format!("{}@{digest}", qualified(name)));
        write(report, text(lines).into(), http).await?;
    }
    if let Some(report) = &reports.name_tag_with_digest {
        let lines = names
            .iter()
            .map(|name| format!("{}:{}@{digest}", qualified(name), name.tag_or_latest()));
        write(report, text(lines).into(), http).await?;
    }
    if let Some(report) = &reports.metadata {
        write(report, metadata(published, names)?, http).await?;
    }
    Ok(())
}

fn text(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// The keys are those of buildx.
fn metadata(published: &Published, names: &[Reference]) -> Result<Vec<u8>, Error> {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("{}:{}", name.name(), name.tag_or_latest()))
        .collect();
    let mut metadata = json!({});
    if let Some(config) = &published.config_digest {
        metadata["containerimage.config.digest"] = config.as_str().into();
    }
    let descriptor = serde_json::to_value(&published.descriptor).map_err(|source| Error::Json {
        what: "the metadata",
        source,
    })?;
    metadata["containerimage.descriptor"] = descriptor;
    metadata["containerimage.digest"] = published.descriptor.digest.as_str().into();
    if !names.is_empty() {
        metadata["image.name"] = names.join(",").into();
    }
    let mut text = serde_json::to_vec_pretty(&metadata).map_err(|source| Error::Json {
        what: "the metadata",
        source,
    })?;
    text.push(b'\n');
    Ok(text)
}

/// `registry/repository`, with Docker Hub called as kaniko calls it.
fn qualified(name: &Reference) -> String {
    let registry = if name.registry() == DOCKER_HUB {
        "index.docker.io"
    } else {
        name.registry()
    };
    format!("{registry}/{}", name.repository())
}

async fn write(report: &Report, bytes: Vec<u8>, http: &Http) -> Result<(), Error> {
    match report {
        Report::File(path) => write_file(path, &bytes),
        Report::Url(url) => put(url, bytes, http).await,
    }
}

async fn put(url: &Url, bytes: Vec<u8>, http: &Http) -> Result<(), Error> {
    let request = Request::new(Method::PUT, url.clone())
        .header(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/plain; charset=utf-8"),
        )
        .body(Body::Bytes(bytes.into()));
    let response = http
        .send_retrying(&request)
        .await
        .map_err(|source| Error::Send { source })?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(Error::Refused {
        url: redact_url(url),
        status: response.status(),
    })
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent);
        made.map_err(|source| failed("create", parent, source))?;
    }
    // A link, a device or a pipe is written through. So is a file that is a mount of its own, which cannot be
    // replaced: Kubernetes' termination log, for one.
    let is_special = std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let replaced = if is_special {
        Err(io::ErrorKind::Unsupported.into())
    } else {
        replace(path, bytes)
    };
    match replaced {
        Err(error) if is_special || cannot_replace(&error) => std::fs::write(path, bytes),
        other => other,
    }
    .map_err(|source| failed("write", path, source))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (partial, mut file) = Partial::create_sync(path)?;
    file.write_all(bytes)?;
    drop(file);
    partial.keep()
}

fn cannot_replace(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(
        error.kind(),
        CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::http::HttpConfig;
    use crate::oci::{Descriptor, Digest, MediaType};

    fn published() -> Published {
        Published {
            descriptor: Descriptor::of(MediaType::OCI_MANIFEST, b"manifest"),
            config_digest: Some(Digest::of(b"config")),
            pushed: Vec::new(),
            layout: None,
            archive: None,
        }
    }

    fn http() -> Http {
        Http::new(HttpConfig::default()).expect("a client")
    }

    fn names() -> Vec<Reference> {
        ["app", "ghcr.io/a/b:v1", "localhost:5000/x:v2"]
            .map(|name| name.parse().expect("a reference"))
            .into()
    }

    #[tokio::test]
    async fn the_formats_are_kanikos() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join("made/here").join(name);
        let file = |name: &str| Some(Report::File(path(name)));
        let reports = Reports {
            digest: file("digest"),
            name_with_digest: file("name"),
            name_tag_with_digest: file("tag"),
            metadata: file("metadata"),
        };
        write_reports(&reports, &published(), &names(), &http())
            .await
            .expect("written");
        let digest = Digest::of(b"manifest");
        let read = |name: &str| std::fs::read_to_string(path(name)).expect("a file");
        assert_eq!(read("digest"), digest.as_str());
        assert_eq!(read("digest").len(), 71);
        assert_eq!(
            read("name"),
            format!(
                "index.docker.io/library/app@{digest}\nghcr.io/a/b@{digest}\nlocalhost:5000/x@{digest}\n"
            )
        );
        assert_eq!(
            read("tag"),
            format!(
                "index.docker.io/library/app:latest@{digest}\nghcr.io/a/b:v1@{digest}\nlocalhost:5000/x:v2@{digest}\n"
            )
        );
        let metadata: serde_json::Value = serde_json::from_str(&read("metadata")).expect("JSON");
        assert_eq!(metadata["containerimage.digest"], digest.as_str());
        assert_eq!(
            metadata["containerimage.descriptor"]["mediaType"],
            MediaType::OCI_MANIFEST
        );
        assert_eq!(
            metadata["image.name"],
            "docker.io/library/app:latest,ghcr.io/a/b:v1,localhost:5000/x:v2"
        );
        let mode = std::fs::metadata(path(""))
            .expect("the directory")
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o700);
        let entries = std::fs::read_dir(path("")).expect("the directory").count();
        assert_eq!(entries, 4, "nothing unfinished is left");
    }

    #[tokio::test]
    async fn a_link_is_written_through_and_an_older_file_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "something that is longer than a digest".repeat(9)).expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        for path in [&link, &file] {
            let reports = Reports {
                digest: Some(Report::File(path.clone())),
                ..Reports::default()
            };
            write_reports(&reports, &published(), &[], &http())
                .await
                .expect("written");
            assert_eq!(
                std::fs::read_to_string(&file).expect("a file"),
                Digest::of(b"manifest").as_str()
            );
        }
        assert!(link.is_symlink());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let reports = Reports {
            digest: Some(Report::File(directory.path().to_path_buf())),
            ..Reports::default()
        };
        let error = write_reports(&reports, &published(), &[], &http())
            .await
            .expect_err("a directory is no file");
        assert!(
            error
                .to_string()
                .contains(&directory.path().display().to_string()),
            "{error}"
        );
    }
}
