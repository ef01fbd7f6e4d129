//! An image as it was written, read without any code of the program and verified on the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::registry::Registry;

/// `sha256:` and the hash of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A file of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written, without a slash at the end.
    pub(crate) path: Vec<u8>,
    /// `f` file, `d` directory, `l` symbolic link, `h` hard link, `p` pipe, `c` and `b` devices.
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: u64,
    /// What a link names.
    pub(crate) link: Vec<u8>,
    pub(crate) content: Vec<u8>,
    /// Extended attributes.
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

impl Entry {
    /// Its content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("text")
    }
}

/// A layer of an image.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) entries: Vec<Entry>,
}

impl Layer {
    /// The paths, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        let lossy = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
        self.entries.iter().map(lossy).collect()
    }

    /// An entry, if it is there.
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.path == path.as_bytes())
    }

    /// An entry that must be there.
    pub(crate) fn entry(&self, path: &str) -> &Entry {
        self.get(path)
            .unwrap_or_else(|| panic!("no {path} in {:?}", self.paths()))
    }
}

/// An image whose every digest was verified.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) digest: String,
    /// The size of the manifest in bytes.
    pub(crate) size: u64,
    pub(crate) manifest: Value,
    pub(crate) document: Value,
    pub(crate) layers: Vec<Layer>,
}

impl Image {
    /// Reads an OCI layout with one image.
    pub(crate) fn of_layout(directory: &Path) -> Self {
        let file = |name: &str| {
            let path = directory.join(name);
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let layout: Value = serde_json::from_slice(&file("oci-layout")).expect("JSON");
        assert_eq!(layout["imageLayoutVersion"], "1.0.0");
        let index: Value = serde_json::from_slice(&file("index.json")).expect("JSON");
        assert_eq!(index["schemaVersion"], 2);
        let manifests = index["manifests"].as_array().expect("manifests");
        assert_eq!(manifests.len(), 1, "{index}");
        Self::of_descriptor(&manifests[0], |descriptor| {
            let wanted = descriptor["digest"].as_str().expect("a digest");
            file(&format!("blobs/{}", wanted.replace(':', "/")))
        })
    }

    /// Reads what a tag of a registry points at.
    pub(crate) fn of_registry(registry: &Registry, repository: &str, tag: &str) -> Self {
        let bytes = registry
            .manifest(repository, tag)
            .unwrap_or_else(|| panic!("no {repository}:{tag}"));
        let descriptor = serde_json::json!({
            "digest": digest(&bytes), "size": bytes.len(), "mediaType": "application/vnd.oci.image.manifest.v1+json",
        });
        Self::of_descriptor(&descriptor, |wanted| {
            let name = wanted["digest"].as_str().expect("a digest");
            if name == descriptor["digest"] {
                return bytes.to_vec();
            }
            let key = (repository.to_owned(), name.to_owned());
            let found = registry.state().blobs.get(&key).cloned();
            found
                .unwrap_or_else(|| panic!("no {name} in {repository}"))
                .to_vec()
        })
    }

    fn of_descriptor(descriptor: &Value, fetch: impl Fn(&Value) -> Vec<u8>) -> Self {
        let verified = |descriptor: &Value| {
            let bytes = fetch(descriptor);
            assert_eq!(
                digest(&bytes),
                descriptor["digest"].as_str().expect("a digest")
            );
            assert_eq!(bytes.len() as u64, descriptor["size"], "{descriptor}");
            bytes
        };
        let manifest: Value = serde_json::from_slice(&verified(descriptor)).expect("JSON");
        assert_eq!(manifest["schemaVersion"], 2);
        assert_eq!(manifest["mediaType"], descriptor["mediaType"]);
        let document: Value = serde_json::from_slice(&verified(&manifest["config"])).expect("JSON");
        let blobs = manifest["layers"].as_array().expect("layers");
        let layers = blobs.iter().map(|layer| {
            let media_type = layer["mediaType"].as_str().expect("a type").to_owned();
            (media_type, verified(layer))
        });
        let layers = layers.collect();
        let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
        let size = descriptor["size"].as_u64().expect("a size");
        let image = Self::assemble(digest, manifest.clone(), document, layers);
        Self { size, ..image }
    }

    /// Reads what `docker load` would read; gives the names too.
    pub(crate) fn of_archive(path: &Path) -> (Self, Vec<String>) {
        let mut files = BTreeMap::new();
        for entry in read_tar(&fs::read(path).expect("an archive")) {
            let name = String::from_utf8(entry.path).expect("a name");
            assert!(files.insert(name, entry.content).is_none());
        }
        let list: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        let manifest = &list[0];
        let texts = |value: &Value| -> Vec<String> {
            let values = value.as_array().expect("a list");
            values
                .iter()
                .map(|text| text.as_str().expect("a text").to_owned())
                .collect()
        };
        let config = &files[manifest["Config"].as_str().expect("a name")];
        let document = serde_json::from_slice(config).expect("JSON");
        let layers = texts(&manifest["Layers"])
            .iter()
            .map(|name| (String::new(), files[name].clone()))
            .collect();
        let image = Self::assemble(digest(config), manifest.clone(), document, layers);
        (image, texts(&manifest["RepoTags"]))
    }

    fn assemble(
        digest: String,
        manifest: Value,
        document: Value,
        blobs: Vec<(String, Vec<u8>)>,
    ) -> Self {
        let diff_ids = document["rootfs"]["diff_ids"].as_array().expect("diff ids");
        assert_eq!(document["rootfs"]["type"], "layers");
        assert_eq!(diff_ids.len(), blobs.len(), "{document}");
        let history = document["history"].as_array().cloned().unwrap_or_default();
        let full = history.iter().filter(|entry| entry["empty_layer"] != true);
        assert_eq!(full.count(), blobs.len(), "history and layers: {document}");
        let layers = blobs
            .into_iter()
            .zip(diff_ids)
            .map(|((media_type, blob), diff_id)| {
                let (plain, kind) = uncompressed(&blob);
                if !media_type.is_empty() {
                    assert!(media_type.ends_with(kind), "{media_type} is {kind}");
                }
                assert_eq!(self::digest(&plain), *diff_id, "the diff id");
                Layer {
                    media_type,
                    digest: self::digest(&blob),
                    entries: read_tar(&plain),
                }
            });
        let layers = layers.collect();
        Self {
            digest,
            size: 0,
            manifest,
            layers,
            document: document.clone(),
        }
    }

    /// The settings of a container.
    pub(crate) fn config(&self) -> &Value {
        &self.document["config"]
    }

    /// What is left of the layers in the end, by path.
    pub(crate) fn tree(&self) -> BTreeMap<String, Entry> {
        let mut tree: BTreeMap<String, Entry> = BTreeMap::new();
        for layer in &self.layers {
            let path = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
            for entry in &layer.entries {
                let path = path(entry);
                let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
                let prefix = if dir.is_empty() {
                    String::new()
                } else {
                    format!("{dir}/")
                };
                if name == ".wh..wh..opq" {
                    tree.retain(|path, _| !path.starts_with(&prefix));
                } else if let Some(gone) = name.strip_prefix(".wh.") {
                    let (gone, below) = (format!("{prefix}{gone}"), format!("{prefix}{gone}/"));
                    tree.retain(|path, _| *path != gone && !path.starts_with(&below));
                }
            }
            for entry in &layer.entries {
                if !path(entry)
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .starts_with(".wh.")
                {
                    tree.insert(path(entry), entry.clone());
                }
            }
        }
        tree
    }

    /// A file of the finished tree.
    pub(crate) fn file(&self, path: &str) -> Entry {
        let tree = self.tree();
        tree.get(path)
            .unwrap_or_else(|| panic!("no {path} in {:?}", tree.keys()))
            .clone()
    }

    /// The paths of the finished tree, directories with a slash.
    pub(crate) fn paths(&self) -> Vec<String> {
        let name = |(path, entry): (String, Entry)| match entry.kind {
            'd' => format!("{path}/"),
            _ => path,
        };
        self.tree().into_iter().map(name).collect()
    }

    /// `created_by` of the history, in order.
    pub(crate) fn history(&self) -> Vec<String> {
        let entries = self.document["history"].as_array().expect("a history");
        let text = |entry: &Value| entry["created_by"].as_str().unwrap_or_default().to_owned();
        entries.iter().map(text).collect()
    }

    /// The environment, `NAME=value`.
    pub(crate) fn env(&self) -> Vec<String> {
        let list = self.config()["Env"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        list.iter().map(text).collect()
    }
}

fn uncompressed(blob: &[u8]) -> (Vec<u8>, &'static str) {
    let mut plain = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        let mut reader = flate2::bufread::MultiGzDecoder::new(blob);
        reader.read_to_end(&mut plain).expect("gzip");
        return (plain, "gzip");
    }
    if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return (zstd::decode_all(blob).expect("zstd"), "zstd");
    }
    (blob.to_vec(), "tar")
}

fn read_tar(bytes: &[u8]) -> Vec<Entry> {
    let mut archive = tar::Archive::new(bytes);
    let mut entries = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut xattrs = BTreeMap::new();
        if let Some(records) = entry.pax_extensions().expect("records") {
            for record in records {
                let record = record.expect("a record");
                if let Some(name) = record.key().expect("a key").strip_prefix("SCHILY.xattr.") {
                    xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
                }
            }
        }
        let kind = match entry.header().entry_type() {
            tar::EntryType::Regular => 'f',
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Link => 'h',
            tar::EntryType::Fifo => 'p',
            tar::EntryType::Char => 'c',
            tar::EntryType::Block => 'b',
            other => panic!("an entry of type {other:?}"),
        };
        let mut path = entry.path_bytes().into_owned();
        if path.last() == Some(&b'/') {
            path.pop();
        }
        let header = entry.header();
        let found = Entry {
            path,
            kind,
            mode: header.mode().expect("a mode"),
            uid: header.uid().expect("a uid"),
            gid: header.gid().expect("a gid"),
            mtime: header.mtime().expect("a time"),
            link: entry
                .link_name_bytes()
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default(),
            content: Vec::new(),
            xattrs,
        };
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        entries.push(Entry { content, ..found });
    }
    entries
}

/// Makes a tar out of `(path, kind, content or link, mode)`.
pub(crate) fn tar_of(entries: &[(&str, char, &str, u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        let body = match kind {
            'f' => content.as_bytes(),
            _ => b"",
        };
        header.set_size(body.len() as u64);
        header.set_entry_type(match kind {
            'f' => tar::EntryType::Regular,
            'd' => tar::EntryType::Directory,
            'l' => tar::EntryType::Symlink,
            'h' => tar::EntryType::Link,
            other => panic!("{other}"),
        });
        if matches!(kind, 'l' | 'h') {
            builder
                .append_link(&mut header, path, content)
                .expect("a link");
        } else {
            builder
                .append_data(&mut header, path, body)
                .expect("an entry");
        }
    }
    builder.into_inner().expect("a tar")
}

/// Compresses with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

/// Puts an image of one layer into a registry.
pub(crate) fn put_base(
    registry: &Registry,
    repository: &str,
    tag: &str,
    tar: &[u8],
    config: &Value,
) -> String {
    let layers = put_layers(registry, (repository, tag), &[tar], &[tar], config);
    layers.into_iter().next().expect("one layer")
}

/// Puts an image into a registry whose configuration says that its layers are `said`; gives the digests of the layers.
pub(crate) fn put_layers(
    registry: &Registry,
    (repository, tag): (&str, &str),
    tars: &[&[u8]],
    said: &[&[u8]],
    config: &Value,
) -> Vec<String> {
    let diff_ids: Vec<_> = said.iter().map(|tar| digest(tar)).collect();
    let history = vec![serde_json::json!({"created_by": "the test"}); tars.len()];
    let mut document = serde_json::json!({
        "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    document["created"] = "2001-09-09T01:46:40Z".into();
    let document = document.to_string();
    let mut layers = Vec::new();
    let mut descriptors = Vec::new();
    for tar in tars {
        let blob = gzip(tar);
        layers.push(digest(&blob));
        descriptors.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&blob), "size": blob.len(),
        }));
        registry.put_blob(repository, blob);
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(document.as_bytes()), "size": document.len()},
        "layers": descriptors,
    });
    registry.put_blob(repository, document);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest(repository, tag, media_type, manifest.to_string());
    layers
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
