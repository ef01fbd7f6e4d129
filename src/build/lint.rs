//! The facts that the checks ask for: from the context, the base images and the request.

use std::io::Read;

use crate::context::Context;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::lint::{
    self, BaseFacts, ContextFacts, Facts, GitDirectory, IgnoreFacts, Report,
};
use crate::oci::{ImageConfig, Platform, Reference};
use crate::plan::{self, Options, Outline, OutlineBase};
use crate::rootfs::{Leaf, RelPath, Rootfs};

use super::BuildError;

/// So much of `.git/config` is looked through, in bytes.
const GIT_CONFIG_MAX: u64 = 1024 * 1024;

/// Ignore rules that hide all that a context holds.
const EVERYTHING: [&str; 5] = ["*", "**", "**/*", "/*", "/**"];

/// What of the build is known beside the Dockerfile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The files.
    pub context: Option<&'a Context>,
    /// The stages and images of the target; without it all stages are looked at.
    pub outline: Option<&'a Outline>,
    /// The configurations of the outline's images; fewer if they are not known.
    pub images: &'a [ImageConfig],
}

/// Runs the checks on a Dockerfile. `text` is what it was parsed from.
///
/// # Errors
/// When the configuration of the checks is not valid.
pub fn check(
    dockerfile: &Dockerfile,
    text: &[u8],
    options: &Options,
    known: Known<'_>,
) -> Result<Report, BuildError> {
    let automatic_args = plan::automatic_args(dockerfile, options);
    let rules = known.context.and_then(Context::ignore);
    let everything = rules.and_then(|rules| {
        let mut all = rules.rules().iter();
        let found = all.find(|rule| EVERYTHING.contains(&rule.text.as_str()))?;
        Some((found.text.as_str(), found.line))
    });
    let excluded_by = |path: &str| {
        let rule = rules?.excludes(path.as_bytes())?;
        Some((rule.text.clone(), rule.line))
    };
    let context = known.context.map(|context| ContextFacts {
        ignore: rules.map(|rules| IgnoreFacts {
            name: rules.name(),
            excluded_by: &excluded_by,
            has_reincludes: rules.has_reincludes(),
            everything,
        }),
        git: git_directory(context),
    });
    let facts = Facts {
        build_args: &options.build_args,
        automatic_args: &automatic_args,
        is_needed: &|number| {
            let stage = known.outline.and_then(|outline| outline.stages.get(number));
            stage.is_none_or(|stage| stage.reachable)
        },
        is_reference: &|text| text.parse::<Reference>().is_ok(),
        platform: &|text| {
            let platform: Platform = text.parse().ok()?;
            Some((platform.os, platform.architecture))
        },
        base: &|number| base(known, number),
        context,
    };
    Ok(lint::lint(dockerfile, text, &facts)?)
}

/// What is known of the image that a stage starts from.
fn base(known: Known<'_>, number: usize) -> Option<BaseFacts> {
    let outline = known.outline?;
    let stage = outline.stages.get(number)?;
    let Some(OutlineBase::Image(image)) = stage.base else {
        return None;
    };
    let config = known.images.get(image)?;
    let wanted = &outline.images.get(image)?.platform;
    let actual = config.platform();
    let differs = actual.os != wanted.os || actual.architecture != wanted.architecture;
    Some(BaseFacts {
        variables: config
            .config
            .env
            .iter()
            .map(|entry| {
                entry
                    .split_once('=')
                    .map_or(entry.as_str(), |(name, _)| name)
                    .to_owned()
            })
            .collect(),
        has_shell: config
            .config
            .shell
            .as_ref()
            .is_some_and(|shell| !shell.is_empty()),
        mismatch: differs.then(|| (actual.to_string(), wanted.to_string())),
    })
}

/// What a copy of the whole context takes of a git repository.
fn git_directory(context: &Context) -> GitDirectory {
    let is_hidden = |path: &[u8]| {
        context
            .ignore()
            .is_some_and(|rules| rules.excludes(path).is_some())
    };
    let files = context.rootfs();
    // Of a worktree or a submodule it is a file, which holds nothing but a path.
    let is_there = RelPath::parse(".git")
        .ok()
        .and_then(|path| files.lstat(&path).ok().flatten())
        .is_some_and(|metadata| metadata.is_dir());
    if !is_there || is_hidden(b".git") {
        return GitDirectory::Absent;
    }
    if !is_hidden(b".git/config") && has_credential(files) {
        return GitDirectory::WithCredential;
    }
    GitDirectory::Present
}

/// Whether `.git/config` holds an `extraheader` or a URL with a password or token.
fn has_credential(files: &Rootfs) -> bool {
    let Some(file) = RelPath::parse(".git/config")
        .ok()
        .filter(|path| {
            files
                .lstat(path)
                .ok()
                .flatten()
                .is_some_and(|metadata| metadata.is_file())
        })
        .and_then(|path| files.open_file(&path, Leaf::Keep).ok())
    else {
        return false;
    };
    let mut bytes = Vec::new();
    if file.take(GIT_CONFIG_MAX).read_to_end(&mut bytes).is_err() {
        return false;
    }
    String::from_utf8_lossy(&bytes).lines().any(|line| {
        let Some((key, value)) = line.split_once('=') else {
            return false;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        match key.as_str() {
            "extraheader" => value.to_ascii_lowercase().contains("authorization"),
            "url" | "pushurl" => {
                let rest = value
                    .strip_prefix("https://")
                    .or_else(|| value.strip_prefix("http://"));
                let authority = rest
                    .and_then(|rest| rest.split('/').next())
                    .unwrap_or_default();
                authority.rsplit_once('@').is_some_and(|(user, _)| {
                    // A name alone is a token if it is long: names of users are not.
                    user.contains(':') || user.len() >= TOKEN_LENGTH
                })
            }
            _ => false,
        }
    })
}

/// Tokens of the hosting services have more characters than this, names of users fewer.
const TOKEN_LENGTH: usize = 20;
