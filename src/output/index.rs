//! An index over images: one name for several platforms.

use std::collections::BTreeMap;

use super::image::{Format, in_format};
use super::{Content, Error};
use crate::oci::{Descriptor, Index, MediaType, Platform};

/// An image that is to be in an index.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the user calls it, for messages.
    pub name: String,
    /// The image, or an index whose images are taken over.
    pub content: Content,
    /// The platform, where it is not the one that the image says.
    pub platform: Option<Platform>,
}

/// What an index is made of.
#[derive(Clone, Debug, Default)]
pub struct IndexOptions {
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// The family of its media type; if it is not said, Docker's where all images are of it and there are no annotations.
    pub format: Option<Format>,
    /// Platforms that must be there.
    pub required: Vec<Platform>,
}

/// Makes an index. Its images keep their order and their bytes; an image that is named twice is in it once.
///
/// # Errors
/// When an image has no platform, two have the same one, or a required one is missing.
pub fn index(members: Vec<Member>, options: IndexOptions) -> Result<Content, Error> {
    let refuse = |reason: String| Error::Content {
        what: "index".to_owned(),
        reason,
    };
    let mut children: Vec<Content> = Vec::new();
    let mut known: Vec<(Platform, String)> = Vec::new();
    for member in members {
        let Member {
            name,
            content,
            platform,
        } = member;
        let is_index = content.descriptor.media_type.is_index();
        if is_index && platform.is_some() {
            return Err(refuse(format!(
                "{name} is an index itself: its platforms cannot be changed"
            )));
        }
        let images = if is_index {
            content.children
        } else {
            vec![content]
        };
        for mut image in images {
            if let Some(platform) = &platform {
                image.descriptor.platform = Some(platform.clone());
            }
            let digest = &image.descriptor.digest;
            if children.iter().any(|known| {
                known.descriptor.digest == *digest
                    && known.descriptor.platform == image.descriptor.platform
            }) {
                continue;
            }
            let described = image.descriptor.platform.as_ref();
            let Some(described) = described.filter(|platform| !platform.architecture.is_empty())
            else {
                return Err(refuse(format!(
                    "{name} says no platform: say it as PLATFORM={name}"
                )));
            };
            // Attestations and the like: there may be one for each image.
            if described.os != "unknown" {
                let described = described.normalized();
                if let Some((platform, other)) =
                    known.iter().find(|(platform, _)| *platform == described)
                {
                    return Err(refuse(format!(
                        "{other} and {name} are both for {platform}"
                    )));
                }
                known.push((described, name.clone()));
            }
            children.push(image);
        }
    }
    if known.is_empty() {
        return Err(refuse("there is no image to be in it".to_owned()));
    }
    let missing: Vec<String> = options
        .required
        .iter()
        .filter(|wanted| !known.iter().any(|(platform, _)| platform == *wanted))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        let has: Vec<String> = known
            .iter()
            .map(|(platform, _)| platform.to_string())
            .collect();
        return Err(refuse(format!(
            "no image is for {}; there are {}",
            missing.join(", "),
            has.join(", ")
        )));
    }
    encode(children, options)
}

fn encode(children: Vec<Content>, options: IndexOptions) -> Result<Content, Error> {
    let is_dockers = options.annotations.is_empty()
        && children
            .iter()
            .all(|child| child.descriptor.media_type.is_docker());
    let format = options.format.unwrap_or(if is_dockers {
        Format::Docker
    } else {
        Format::Oci
    });
    if format == Format::Docker && !options.annotations.is_empty() {
        return Err(Error::Content {
            what: "index".to_owned(),
            reason: "docker's format has no annotations: use the OCI format".to_owned(),
        });
    }
    let media_type = in_format(&MediaType::OCI_INDEX.into(), format)?;
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type.clone()),
        manifests: children
            .iter()
            .map(|child| child.descriptor.clone())
            .collect(),
        annotations: options.annotations,
    };
    let bytes = serde_json::to_vec_pretty(&index).map_err(|source| Error::Json {
        what: "the index",
        source,
    })?;
    let descriptor = Descriptor::of(media_type, &bytes);
    Ok(Content::of_index(descriptor, bytes.into(), children))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn member(name: &str, platform: &str, media_type: &str) -> Member {
        let mut descriptor = Descriptor::of(media_type, name.as_bytes());
        descriptor.platform = platform.parse().ok();
        Member {
            name: name.to_owned(),
            content: Content {
                descriptor,
                bytes: Bytes::from(name.to_owned()),
                config: None,
                blobs: Vec::new(),
                children: Vec::new(),
            },
            platform: None,
        }
    }

    fn oci(name: &str, platform: &str) -> Member {
        member(name, platform, MediaType::OCI_MANIFEST)
    }

    fn platforms(content: &Content) -> Vec<String> {
        let index: Index = serde_json::from_slice(&content.bytes).expect("an index");
        assert_eq!(
            index.media_type.as_ref(),
            Some(&content.descriptor.media_type)
        );
        let platform =
            |descriptor: &Descriptor| descriptor.platform.as_ref().map(ToString::to_string);
        index.manifests.iter().filter_map(platform).collect()
    }

    #[test]
    fn images_keep_their_order_and_are_there_once() {
        let inner = index(
            vec![oci("c", "linux/s390x"), oci("a", "linux/arm64")],
            IndexOptions::default(),
        )
        .expect("an index");
        let nested = Member {
            name: "nested".to_owned(),
            content: inner,
            platform: None,
        };
        let all = vec![oci("a", "linux/arm64"), oci("b", "linux/amd64"), nested];
        let made = index(all, IndexOptions::default()).expect("an index");
        assert_eq!(
            platforms(&made),
            ["linux/arm64", "linux/amd64", "linux/s390x"]
        );
        assert_eq!(made.descriptor.media_type, MediaType::OCI_INDEX);
    }

    #[test]
    fn platforms_are_checked() {
        let check = |members: Vec<Member>, required: &[&str], expect: &str| {
            let options = IndexOptions {
                required: required
                    .iter()
                    .map(|text| text.parse().expect("a platform"))
                    .collect(),
                ..IndexOptions::default()
            };
            let error = index(members, options).expect_err(expect).to_string();
            assert!(error.contains(expect), "{error}");
        };
        let twice = vec![oci("a", "linux/arm64"), oci("b", "linux/arm64/v8")];
        check(twice, &[], "a and b are both for linux/arm64");
        check(vec![oci("a", "")], &[], "a says no platform");
        check(vec![], &[], "there is no image");
        check(
            vec![oci("a", "linux/arm64")],
            &["linux/arm64", "linux/amd64"],
            "no image is for linux/amd64; there are linux/arm64",
        );
        let mut named = oci("b", "linux/arm64");
        named.platform = "linux/arm/v6".parse().ok();
        let made = index(
            vec![oci("a", "linux/arm64"), named],
            IndexOptions::default(),
        );
        assert_eq!(
            platforms(&made.expect("an index")),
            ["linux/arm64", "linux/arm/v6"]
        );
    }

    #[test]
    fn the_family_is_that_of_the_images() {
        let docker = |name, platform| member(name, platform, MediaType::DOCKER_MANIFEST);
        let made =
            |members, options| index(members, options).map(|made| made.descriptor.media_type);
        let both = || vec![docker("a", "linux/arm64"), docker("b", "linux/amd64")];
        let mixed = vec![docker("a", "linux/arm64"), oci("b", "linux/amd64")];
        let annotated = |format| IndexOptions {
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            format,
            ..IndexOptions::default()
        };
        let plain = IndexOptions::default;
        assert_eq!(
            made(both(), plain()).expect("made"),
            MediaType::DOCKER_INDEX
        );
        assert_eq!(made(mixed, plain()).expect("made"), MediaType::OCI_INDEX);
        assert_eq!(
            made(both(), annotated(None)).expect("made"),
            MediaType::OCI_INDEX
        );
        assert!(made(both(), annotated(Some(Format::Docker))).is_err());
    }
}
