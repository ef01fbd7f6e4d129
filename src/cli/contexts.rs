//! `--build-context`: what stands for names in the Dockerfile.

use std::path::PathBuf;

use crate::build::{BuildContext, ContextPlace};
use crate::context::{Layout, Source};
use crate::oci::Reference;

use super::UsageError;
use super::env::Env;
use super::resolve::{self, absolute};

const FLAG: &str = "--build-context";

/// The name that BuildKit gives to the build context itself.
const MAIN: &str = "context";

/// Reads the values of the flag; `is_stdin_taken` says whether standard input is something else already.
pub(super) fn contexts(
    texts: &[String],
    mut is_stdin_taken: bool,
    build_args: &[(String, String)],
    env: &Env,
) -> Result<Vec<BuildContext>, UsageError> {
    let mut contexts = Vec::new();
    for text in texts {
        let (name, label, mut place) = parse(text)?;
        if let ContextPlace::Files(source) = &mut place {
            super::git::settle(source, &[], build_args, env)?;
        }
        if place == ContextPlace::Files(Source::Stdin)
            && std::mem::replace(&mut is_stdin_taken, true)
        {
            return Err(UsageError::flag(
                FLAG,
                "standard input can be one context only",
            ));
        }
        contexts.push(BuildContext { name, label, place });
    }
    Ok(contexts)
}

/// The directories of this machine that the values name.
pub(super) fn directories(texts: &[String]) -> Vec<PathBuf> {
    let places = texts.iter().filter_map(|text| Some(parse(text).ok()?.2));
    places
        .filter_map(|place| match place {
            ContextPlace::Files(Source::Directory(path)) | ContextPlace::Layout { path, .. } => {
                Some(path)
            }
            ContextPlace::Files(_) | ContextPlace::Image(_) | ContextPlace::Scratch => None,
        })
        .collect()
}

/// Reads one value: the name, the name as it was written, and the place.
fn parse(text: &str) -> Result<(Reference, String, ContextPlace), UsageError> {
    let wrong = |reason: String| UsageError::flag(FLAG, reason);
    let (label, value) = text
        .split_once('=')
        .filter(|(label, value)| !label.is_empty() && !value.is_empty())
        .ok_or_else(|| {
            wrong(format!(
                "\"{}\" is not of the form NAME=VALUE",
                text.escape_debug()
            ))
        })?;
    if label == MAIN {
        return Err(wrong(
            "the build context itself is given with --context".to_owned(),
        ));
    }
    if let Some((name, platform)) = label.split_once("::") {
        return Err(wrong(format!(
            "\"{label}\" is for one platform only, and a build here is of one platform: give {name}=... in the build of {platform}",
            label = label.escape_debug()
        )));
    }
    let name: Reference = label.to_ascii_lowercase().parse().map_err(|error| {
        wrong(format!(
            "\"{}\" is no name of an image or stage: {error}",
            label.escape_debug()
        ))
    })?;
    let reference = |text: &str| {
        text.parse::<Reference>()
            .map_err(|error| wrong(format!("{label}: {error}")))
    };
    let place = if let Some(image) = value.strip_prefix("docker-image://") {
        match image {
            "scratch" => ContextPlace::Scratch,
            image => ContextPlace::Image(reference(image)?),
        }
    } else if let Some(layout) = value.strip_prefix("oci-layout://") {
        let layout = Layout::parse(layout);
        place_of(layout.map_err(|reason| wrong(format!("{label}: {reason}")))?)
    } else if value.starts_with("target:") {
        return Err(wrong(format!(
            "{label}: targets of other builds exist in bake files only: build it first, and name its OCI layout as oci-layout://DIR"
        )));
    } else {
        let source = resolve::source(value).map_err(|error| wrong(format!("{label}: {error}")))?;
        match source {
            Source::Dash => {
                return Err(wrong(format!("{label}: write tar://stdin for an archive")));
            }
            // As oci-layout: an image, which a FROM can name too.
            Source::Layout(layout) => place_of(layout),
            Source::Directory(path) => ContextPlace::Files(Source::Directory(absolute(&path))),
            Source::Archive(path) => ContextPlace::Files(Source::Archive(absolute(&path))),
            Source::Stdin | Source::Object(_) | Source::Web(_) | Source::Git(_) => {
                ContextPlace::Files(source)
            }
        }
    };
    Ok((name, label.to_owned(), place))
}

fn place_of(layout: Layout) -> ContextPlace {
    ContextPlace::Layout {
        path: absolute(&layout.path),
        tag: layout.tag,
        digest: layout.digest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn values_are_told_apart() {
        let digest = Digest::of(b"x");
        let layout =
            |path: &str, tag: Option<&str>, digest: Option<&Digest>| ContextPlace::Layout {
                path: path.into(),
                tag: tag.map(str::to_owned),
                digest: digest.cloned(),
            };
        for (text, name, place) in [
            (
                "a=/b=c",
                "docker.io/library/a",
                ContextPlace::Files(Source::Directory("/b=c".into())),
            ),
            (
                "Build=tar:///x.tar",
                "docker.io/library/build",
                ContextPlace::Files(Source::Archive("/x.tar".into())),
            ),
            (
                "alpine:3=docker-image://x.io/y",
                "docker.io/library/alpine:3",
                ContextPlace::Image("x.io/y".parse().unwrap()),
            ),
            (
                "x=docker-image://scratch",
                "docker.io/library/x",
                ContextPlace::Scratch,
            ),
            (
                "x=oci-layout:///d",
                "docker.io/library/x",
                layout("/d", None, None),
            ),
            (
                "x=oci-layout:///d:t",
                "docker.io/library/x",
                layout("/d", Some("t"), None),
            ),
            (
                &format!("x=oci-layout:///d@{digest}"),
                "docker.io/library/x",
                layout("/d", None, Some(&digest)),
            ),
            (
                &format!("x=oci-layout:///a:1/d:t@{digest}"),
                "docker.io/library/x",
                layout("/a:1/d", Some("t"), Some(&digest)),
            ),
        ] {
            let (found, _, at) = parse(text).unwrap();
            assert_eq!((found.to_string().as_str(), &at), (name, &place));
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expect) in [
            ("x", "NAME=VALUE"),
            ("=x", "NAME=VALUE"),
            ("x=", "NAME=VALUE"),
            ("context=.", "--context"),
            ("a b=.", "no name"),
            ("a::linux/arm64=.", "give a=... in the build of linux/arm64"),
            ("x=docker-image://A", "x:"),
            ("x=oci-layout://", "no directory"),
            ("x=oci-layout://d@sha256:1", "x:"),
            ("x=target:y", "bake"),
            ("x=ftp://y", "ftp"),
            ("x=-", "tar://stdin"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
        let both = ["x=tar://stdin".to_owned()];
        let with = |is_taken| contexts(&both, is_taken, &[], &Env::new([]));
        assert!(with(true).is_err());
        assert!(with(false).is_ok());
    }
}
