//! Images that lie in files: an OCI layout as a directory or a tar, and the archive that `docker save` writes.
//!
//! Documents are verified against their digests here, layers when they are sent. Nothing is unpacked: a layer is read
//! out of the archive. Layers that `docker save` left uncompressed are compressed with gzip on the way, as kaniko does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;

use super::content::{check_index, is_image, parse, platform};
use super::image::{Format, in_format};
use super::source::failed;
use super::{Content, ContentBlob, Error};
use crate::oci::{
    Compression, Descriptor, Digest, Digester, Document, IMAGE_LAYOUT_FILE, ImageConfig, Index,
    Manifest, MediaType, REF_NAME_ANNOTATION,
};
use crate::registry::{BlobSource, DOCUMENT_LIMIT};

/// Size of reads.
const READ_SIZE: usize = 256 * 1024;

/// The index of a layout.
const INDEX_FILE: &str = "index.json";

/// The file of `docker save` that names configurations and layers.
const SAVE_FILE: &str = "manifest.json";

/// How many links in an archive may lead to each other.
const LINKS_MAX: usize = 8;

/// Files of an image, by name.
enum Files {
    Directory(PathBuf),
    Archive {
        path: PathBuf,
        entries: BTreeMap<String, Entry>,
    },
}

#[derive(Clone, Debug)]
enum Entry {
    /// Where its bytes begin and how many there are.
    File { offset: u64, size: u64 },
    /// Another entry.
    Link(String),
}

impl Content {
    /// Opens the image or index in an OCI layout or an archive. Where a layout has several, `tag` says which. Compressed
    /// copies of layers are written to `scratch`, a directory that is made if need be and must outlive the content.
    ///
    /// # Errors
    /// When there is no such image, or its documents are not what their digests say.
    pub fn of_files(path: &Path, tag: Option<&str>, scratch: &Path) -> Result<Self, Error> {
        let files = Files::open(path)?;
        let is_saved = files.find(SAVE_FILE).is_some();
        if files.find(INDEX_FILE).is_some() && files.find(IMAGE_LAYOUT_FILE).is_some() {
            let descriptor = choose(&files, tag)?;
            let content = files.content(descriptor, 0)?;
            // What `docker save` writes is a layout, too, in which layers are not compressed.
            let is_plain = content
                .blobs
                .iter()
                .any(|blob| blob.descriptor.media_type == MediaType::OCI_LAYER);
            if !(is_saved && is_plain) {
                return Ok(content);
            }
        }
        if is_saved {
            return saved(&files, tag, scratch);
        }
        Err(files.refuse(format!(
            "it is no image: there is neither {INDEX_FILE} with {IMAGE_LAYOUT_FILE} nor {SAVE_FILE} in it"
        )))
    }
}

impl Content {
    /// Opens the image or index in an OCI layout that is a directory: the one of a digest, else of a tag, else the only one.
    ///
    /// # Errors
    /// When there is no such image, or its documents are not what their digests say.
    pub fn of_layout(
        path: &Path,
        tag: Option<&str>,
        digest: Option<&Digest>,
    ) -> Result<Self, Error> {
        let files = Files::Directory(path.to_owned());
        if files.find(INDEX_FILE).is_none() || files.find(IMAGE_LAYOUT_FILE).is_none() {
            return Err(files.refuse(format!(
                "it is no OCI layout: {INDEX_FILE} or {IMAGE_LAYOUT_FILE} is not in it"
            )));
        }
        let Some(digest) = digest else {
            return files.content(choose(&files, tag)?, 0);
        };
        let mut pending = index_of(&files)?.manifests;
        while let Some(descriptor) = pending.pop() {
            let content = files.content(descriptor, 0)?;
            if let Some(found) = content.with_digest(digest) {
                return Ok(found);
            }
        }
        Err(files.refuse(format!("there is no image {digest} in it")))
    }

    /// What has the digest, of this and what is below it.
    fn with_digest(&self, digest: &Digest) -> Option<Self> {
        if self.descriptor.digest == *digest {
            return Some(self.clone());
        }
        self.children
            .iter()
            .find_map(|child| child.with_digest(digest))
    }
}

impl Files {
    fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(|source| failed("read", path, source))?;
        if metadata.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let bad = |source| failed("read", path, source);
        let mut file = File::open(path).map_err(bad)?;
        let mut magic = [0; 4];
        let got = file.read(&mut magic).map_err(bad)?;
        if compression(&magic[..got]) != Compression::None {
            return Err(Error::Content {
                what: path.display().to_string(),
                reason: "the archive is compressed: decompress it first".to_owned(),
            });
        }
        file.seek(SeekFrom::Start(0)).map_err(bad)?;
        let mut archive = tar::Archive::new(file);
        let mut entries = BTreeMap::new();
        let no_tar = |error: io::Error| Error::Content {
            what: path.display().to_string(),
            reason: format!("it is no image: it cannot be read as a tar archive: {error}"),
        };
        for entry in archive.entries_with_seek().map_err(no_tar)? {
            let entry = entry.map_err(no_tar)?;
            let name = entry.path().map_err(bad)?;
            let Some(name) = name.to_str().map(plain_name) else {
                continue;
            };
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let (offset, size) = (entry.raw_file_position(), entry.size());
                    entries.insert(name, Entry::File { offset, size });
                }
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let target = entry.link_name().map_err(bad)?;
                    let Some(target) = target.as_deref().and_then(Path::to_str) else {
                        continue;
                    };
                    let target = if entry.header().entry_type() == tar::EntryType::Symlink {
                        beside(&name, target)
                    } else {
                        plain_name(target)
                    };
                    entries.insert(name, Entry::Link(target));
                }
                _ => {}
            }
        }
        Ok(Self::Archive {
            path: path.to_owned(),
            entries,
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Archive { path, .. } => path,
        }
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Content {
            what: self.path().display().to_string(),
            reason,
        }
    }

    /// Gives where a file's bytes are: the file, the offset, the size.
    fn find(&self, name: &str) -> Option<(PathBuf, u64, u64)> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name);
                let metadata = std::fs::metadata(&path).ok()?;
                metadata.is_file().then_some((path, 0, metadata.len()))
            }
            Self::Archive { path, entries } => {
                let mut name = plain_name(name);
                for _ in 0..LINKS_MAX {
                    match entries.get(&name)? {
                        Entry::File { offset, size } => {
                            return Some((path.clone(), *offset, *size));
                        }
                        Entry::Link(target) => name.clone_from(target),
                    }
                }
                None
            }
        }
    }

    fn part(&self, name: &str) -> Result<(PathBuf, u64, u64), Error> {
        self.find(name)
            .ok_or_else(|| self.refuse(format!("{} is missing", name.escape_debug())))
    }

    /// Reads a document.
    fn read(&self, name: &str) -> Result<Bytes, Error> {
        let (path, offset, size) = self.part(name)?;
        if size > DOCUMENT_LIMIT {
            return Err(self.refuse(format!(
                "{} has {size} bytes, more than the {DOCUMENT_LIMIT} that are accepted",
                name.escape_debug()
            )));
        }
        let bad = |source| failed("read", &path, source);
        let mut read = Vec::new();
        region(&path, offset, size)
            .and_then(|mut file| file.read_to_end(&mut read))
            .map_err(bad)?;
        Ok(read.into())
    }

    fn blob_name(digest: &Digest) -> String {
        format!("blobs/{}/{}", digest.algorithm(), digest.hex())
    }

    /// Reads a document and verifies it.
    fn document(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let bytes = self.read(&Self::blob_name(&descriptor.digest))?;
        let mut digester = descriptor.digest.digester();
        digester.update(&bytes);
        let actual = digester.finish();
        if actual != descriptor.digest {
            return Err(self.refuse(format!(
                "digest mismatch: expected {}, got {actual}",
                descriptor.digest
            )));
        }
        Ok(bytes)
    }

    /// Reads a manifest or index of a layout with all below it.
    fn content(&self, descriptor: Descriptor, depth: usize) -> Result<Content, Error> {
        let bytes = self.document(&descriptor)?;
        let what = format!("{} in {}", descriptor.digest, self.path().display());
        let found = Descriptor::new(
            descriptor.media_type.clone(),
            descriptor.digest.clone(),
            bytes.len() as u64,
        );
        match parse(&what, &descriptor, &bytes)? {
            Document::Manifest(manifest) => {
                let mut places = BTreeMap::new();
                for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    if part.media_type.is_foreign() {
                        continue;
                    }
                    let (path, offset, size) = self.part(&Self::blob_name(&part.digest))?;
                    if size != part.size {
                        return Err(self.refuse(format!(
                            "blob {} has {size} bytes instead of {}",
                            part.digest, part.size
                        )));
                    }
                    places.insert(part.digest.clone(), BlobSource::Part { path, offset });
                }
                let nowhere = BlobSource::Bytes(Bytes::new());
                let mut content = Content::of_manifest(found, bytes, &manifest, |part| {
                    places.get(&part.digest).unwrap_or(&nowhere).clone()
                });
                if is_image(&manifest) {
                    content.descriptor.platform = platform(&self.document(&manifest.config)?);
                }
                content.described(&what, descriptor)
            }
            Document::Index(index) => {
                check_index(&what, &index, depth)?;
                let children = index
                    .manifests
                    .into_iter()
                    .map(|child| self.content(child, depth + 1))
                    .collect::<Result<_, _>>()?;
                Content::of_index(found, bytes, children).described(&what, descriptor)
            }
        }
    }
}

fn index_of(files: &Files) -> Result<Index, Error> {
    serde_json::from_slice(&files.read(INDEX_FILE)?)
        .map_err(|error| files.refuse(format!("{INDEX_FILE} cannot be read: {error}")))
}

/// Chooses the image of a layout: the one with the tag, or the only one.
fn choose(files: &Files, tag: Option<&str>) -> Result<Descriptor, Error> {
    let index = index_of(files)?;
    let name_of =
        |descriptor: &Descriptor| descriptor.annotations.get(REF_NAME_ANNOTATION).cloned();
    let names: Vec<String> = index.manifests.iter().filter_map(name_of).collect();
    let wanted = |descriptor: &&Descriptor| {
        tag.is_none_or(|tag| name_of(descriptor).as_deref() == Some(tag))
    };
    let mut fitting = index.manifests.iter().filter(wanted);
    let mut descriptor = match (fitting.next(), fitting.next()) {
        (Some(only), None) => only.clone(),
        (None, _) => {
            return Err(files.refuse(match tag {
                Some(tag) => format!("there is no image with the tag \"{}\"", tag.escape_debug()),
                None => "there is no image in it".to_owned(),
            }));
        }
        (Some(_), Some(_)) => {
            return Err(files.refuse(format!(
                "there are several images in it: say which, as {}:TAG; it has {}",
                files.path().display(),
                names.join(", ")
            )));
        }
    };
    // They name the image within the layout and mean nothing elsewhere.
    descriptor.annotations.clear();
    Ok(descriptor)
}

/// Reads what `docker save` wrote.
fn saved(files: &Files, tag: Option<&str>, scratch: &Path) -> Result<Content, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Saved {
        config: String,
        #[serde(default)]
        repo_tags: Option<Vec<String>>,
        layers: Vec<String>,
    }
    let images: Vec<Saved> = serde_json::from_slice(&files.read(SAVE_FILE)?)
        .map_err(|error| files.refuse(format!("{SAVE_FILE} cannot be read: {error}")))?;
    let has_tag = |image: &&Saved| {
        let names = image.repo_tags.as_deref().unwrap_or_default();
        tag.is_none_or(|tag| {
            names
                .iter()
                .any(|name| name == tag || name.ends_with(&format!(":{tag}")))
        })
    };
    let mut fitting = images.iter().filter(has_tag);
    let (Some(image), None) = (fitting.next(), fitting.next()) else {
        return Err(files.refuse(
            "there must be exactly one image in it, or one with the tag: save it alone".to_owned(),
        ));
    };
    let config = files.read(&image.config)?;
    let parsed: ImageConfig = serde_json::from_slice(&config)
        .map_err(|error| files.refuse(format!("its configuration cannot be read: {error}")))?;
    let diff_ids = &parsed.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        return Err(files.refuse(format!(
            "it has {} layers and its configuration names {}",
            image.layers.len(),
            diff_ids.len()
        )));
    }
    let mut blobs = Vec::new();
    for (name, diff_id) in image.layers.iter().zip(diff_ids) {
        blobs.push(layer(files, name, diff_id, scratch)?);
    }
    let config_descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config);
    let media_type = in_format(&MediaType::OCI_MANIFEST.into(), Format::Oci)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media_type.clone()),
        config: config_descriptor.clone(),
        layers: blobs.iter().map(|blob| blob.descriptor.clone()).collect(),
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec_pretty(&manifest).map_err(|source| Error::Json {
        what: "the manifest",
        source,
    })?;
    let mut descriptor = Descriptor::of(media_type, &bytes);
    descriptor.platform = platform(&config);
    let config_digest = config_descriptor.digest.clone();
    blobs.insert(
        0,
        ContentBlob {
            descriptor: config_descriptor,
            source: BlobSource::Bytes(config),
        },
    );
    Ok(Content {
        descriptor,
        bytes: bytes.into(),
        config: Some(config_digest),
        blobs,
        children: Vec::new(),
    })
}

/// Hashes a layer of `docker save`, and compresses it if it is not.
fn layer(
    files: &Files,
    name: &str,
    diff_id: &Digest,
    scratch: &Path,
) -> Result<ContentBlob, Error> {
    let (path, offset, size) = files.part(name)?;
    let bad = |source| failed("read", &path, source);
    let mut head = Vec::new();
    region(&path, offset, size.min(4))
        .and_then(|mut file| file.read_to_end(&mut head))
        .map_err(bad)?;
    let found = compression(&head);
    if found != Compression::None {
        let mut digester = diff_id.digester();
        copy(region(&path, offset, size).map_err(bad)?, |bytes| {
            digester.update(bytes);
            Ok(())
        })
        .map_err(bad)?;
        return Ok(ContentBlob {
            descriptor: Descriptor::new(MediaType::oci_layer(found), digester.finish(), size),
            source: BlobSource::Part { path, offset },
        });
    }
    std::fs::create_dir_all(scratch).map_err(|source| failed("create", scratch, source))?;
    let target = scratch.join(format!("{}.tar.gz", diff_id.hex()));
    let wrong = |source| failed("write", &target, source);
    let file = File::create(&target).map_err(wrong)?;
    let hashed = Hashed {
        file: io::BufWriter::with_capacity(READ_SIZE, file),
        digester: Digest::of(b"").digester(),
        size: 0,
    };
    let mut encoder = flate2::write::GzEncoder::new(hashed, flate2::Compression::default());
    let mut plain = diff_id.digester();
    copy(region(&path, offset, size).map_err(bad)?, |bytes| {
        plain.update(bytes);
        encoder.write_all(bytes)
    })
    .map_err(wrong)?;
    let actual = plain.finish();
    if actual != *diff_id {
        return Err(files.refuse(format!(
            "layer {}: digest mismatch: expected {diff_id}, got {actual}",
            name.escape_debug()
        )));
    }
    let mut hashed = encoder.finish().map_err(wrong)?;
    hashed.file.flush().map_err(wrong)?;
    Ok(ContentBlob {
        descriptor: Descriptor::new(
            MediaType::oci_layer(Compression::Gzip),
            hashed.digester.finish(),
            hashed.size,
        ),
        source: BlobSource::File(target),
    })
}

/// A file whose bytes are hashed and counted as they are written.
struct Hashed {
    file: io::BufWriter<File>,
    digester: Digester,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.digester.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Gives every piece of a reader to a function.
fn copy(mut from: impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to(&buffer[..count])?,
        }
    }
}

fn region(path: &Path, offset: u64, size: u64) -> io::Result<io::Take<File>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.take(size))
}

/// Tells a compression by its first bytes (RFC 1952, RFC 8878).
fn compression(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// A name without `./` at its beginning.
fn plain_name(name: &str) -> String {
    let parts = name.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

/// The name that a link beside `name` leads to.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_archives_are_made_plain() {
        assert_eq!(plain_name("./blobs/sha256/x"), "blobs/sha256/x");
        assert_eq!(beside("a/layer.tar", "../b/layer.tar"), "b/layer.tar");
        assert_eq!(beside("a/b", "../../../etc/passwd"), "etc/passwd");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let refused = |path: &Path, expect: &str| {
            let error = Content::of_files(path, None, directory.path()).expect_err("no image");
            assert!(error.to_string().contains(expect), "{error}");
        };
        refused(directory.path(), "it is no image");
        refused(&directory.path().join("none"), "No such file");
        let gzip = directory.path().join("image.tar.gz");
        std::fs::write(&gzip, [0x1f, 0x8b, 8, 0]).expect("written");
        refused(&gzip, "compressed");
    }
}
