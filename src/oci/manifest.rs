//! Manifests and indexes (image-spec manifest.md, image-index.md; Docker's schema 2 has the same shape).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Descriptor, Digest, MediaType};

/// The manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u8,
    /// The manifest's own type; absent in some OCI manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, one for each platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u8,
    /// The index's own type; absent in some OCI indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a manifest URL may answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Manifest>),
    /// Several images.
    Index(Index),
}

/// Why bytes are not a manifest or an index.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are not JSON of the expected shape.
    #[error("the document is not a valid manifest or index: {0}")]
    Json(#[from] serde_json::Error),
    /// `layers` and `manifests` in one document, or a type that contradicts the content (CVE-2021-41190).
    #[error("the document is ambiguous: its content does not fit the media type \"{0}\"")]
    Ambiguous(MediaType),
    /// Docker's manifest schema 1, or another version.
    #[error(
        "manifest schema version {0} is not supported: push the image again with a current tool"
    )]
    SchemaVersion(u64),
    /// Content that a descriptor carries in `data` and that is not what it describes (descriptor.md "Embedded Content").
    #[error("the content that the descriptor of {0} carries in \"data\" is other content")]
    EmbeddedData(Digest),
    /// A type that is neither manifest nor index.
    #[error("media type \"{0}\" is not an image manifest or index")]
    MediaType(MediaType),
}

impl Document {
    /// Parses `bytes`, which were served as `content_type`; the document's own `mediaType` must agree with it.
    ///
    /// # Errors
    /// [`DocumentError`] says what does not fit. Nothing of an ambiguous document may be used.
    pub fn parse(bytes: &[u8], content_type: &MediaType) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            #[serde(default)]
            schema_version: u64,
            media_type: Option<MediaType>,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe = serde_json::from_slice(bytes)?;
        check_embedded(bytes)?;
        if probe.schema_version != 2 {
            return Err(DocumentError::SchemaVersion(probe.schema_version));
        }
        let looks_like_index = probe.manifests.is_some();
        let looks_like_manifest = probe.layers.is_some() || probe.config.is_some();
        let declared = probe.media_type.unwrap_or_else(|| content_type.clone());
        let known = |media_type: &MediaType| media_type.is_index() || media_type.is_manifest();
        if known(content_type) && declared.to_oci() != content_type.to_oci() {
            return Err(DocumentError::Ambiguous(declared));
        }
        if looks_like_index && looks_like_manifest {
            return Err(DocumentError::Ambiguous(declared));
        }
        if declared.is_index() || (!known(&declared) && looks_like_index) {
            if looks_like_manifest {
                return Err(DocumentError::Ambiguous(declared));
            }
            return Ok(Self::Index(serde_json::from_slice(bytes)?));
        }
        if declared.is_manifest() || (!known(&declared) && looks_like_manifest) {
            if looks_like_index {
                return Err(DocumentError::Ambiguous(declared));
            }
            return Ok(Self::Manifest(Box::new(serde_json::from_slice(bytes)?)));
        }
        Err(DocumentError::MediaType(declared))
    }
}

/// Checks the content that descriptors carry. It is not used: what is not what it says shows a document not to be trusted.
fn check_embedded(bytes: &[u8]) -> Result<(), DocumentError> {
    #[derive(Deserialize)]
    struct Carrier {
        config: Option<Carried>,
        #[serde(default)]
        layers: Vec<Carried>,
        #[serde(default)]
        manifests: Vec<Carried>,
    }
    #[derive(Deserialize)]
    struct Carried {
        digest: Digest,
        size: i64,
        data: Option<String>,
    }
    // Few documents have any, and what is wrong with the rest is told where it is read.
    if !bytes.windows(6).any(|word| word == b"\"data\"") {
        return Ok(());
    }
    let Carrier {
        config,
        layers,
        manifests,
    } = serde_json::from_slice(bytes)?;
    for carried in config.into_iter().chain(layers).chain(manifests) {
        let Some(data) = carried.data else { continue };
        let is_right = STANDARD.decode(data).is_ok_and(|content| {
            let mut digester = carried.digest.digester();
            digester.update(&content);
            i64::try_from(content.len()) == Ok(carried.size) && digester.finish() == carried.digest
        });
        if !is_right {
            return Err(DocumentError::EmbeddedData(carried.digest));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    #[test]
    fn a_document_is_one_thing_only() {
        let oci = MediaType::from(MediaType::OCI_MANIFEST);
        let parse =
            |text: &str, media_type: &MediaType| Document::parse(text.as_bytes(), media_type);
        let manifest = format!(r#"{{"schemaVersion":2,{CONFIG},"layers":[]}}"#);
        assert!(matches!(parse(&manifest, &oci), Ok(Document::Manifest(_))));
        assert!(matches!(
            parse(&manifest, &"text/plain".into()),
            Ok(Document::Manifest(_))
        ));
        assert!(parse(&manifest, &MediaType::OCI_INDEX.into()).is_err());
        let both = format!(r#"{{"schemaVersion":2,{CONFIG},"layers":[],"manifests":[]}}"#);
        assert!(matches!(
            parse(&both, &oci),
            Err(DocumentError::Ambiguous(_))
        ));
        assert!(matches!(
            parse(r#"{"schemaVersion":1}"#, &oci),
            Err(DocumentError::SchemaVersion(1))
        ));
        let lying = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}",{CONFIG},"layers":[]}}"#,
            MediaType::OCI_INDEX
        );
        assert!(matches!(
            parse(&lying, &oci),
            Err(DocumentError::Ambiguous(_))
        ));
        assert!(parse("[]", &oci).is_err());
        for (data, is_right) in [("", true), ("eA==", false), ("=", false)] {
            let carrying = manifest.replace(r#""size":0"#, &format!(r#""size":0,"data":"{data}""#));
            assert_eq!(parse(&carrying, &oci).is_ok(), is_right, "{data}");
        }
    }
}
