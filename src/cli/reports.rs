//! Where an image is pushed to and what tells of it: flags that a build, `push` and `index create` share.

use std::path::Path;

use clap::{ArgAction, Args};
use url::Url;

use crate::output::{Report, Reports};

use super::UsageError;
use super::flags::switch;
use super::resolve::absolute;

/// The flags of files that tell what was made.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Write the image's digest to a file, or PUT it to an https:// URL
    #[arg(long = "digest-file", value_name = "FILE", help_heading = "Output")]
    pub digest: Option<String>,
    /// Write name@digest of every destination to a file or URL
    #[arg(
        long = "image-name-with-digest-file",
        value_name = "FILE",
        help_heading = "Output"
    )]
    pub name_with_digest: Option<String>,
    /// Write name:tag@digest of every destination to a file or URL
    #[arg(
        long = "image-name-tag-with-digest-file",
        value_name = "FILE",
        help_heading = "Output"
    )]
    pub name_tag_with_digest: Option<String>,
    /// Write digests, names and descriptor as JSON to a file or URL
    #[arg(long = "metadata-file", value_name = "FILE", help_heading = "Output")]
    pub metadata: Option<String>,
}

impl ReportArgs {
    /// Reads where the reports go; whoever has no names cannot have them written.
    pub(super) fn reports(&self, has_names: bool) -> Result<Reports, UsageError> {
        const NAMES: &str = "--image-name-with-digest-file";
        const TAGS: &str = "--image-name-tag-with-digest-file";
        for (flag, text) in [
            (NAMES, &self.name_with_digest),
            (TAGS, &self.name_tag_with_digest),
        ] {
            if text.is_some() && !has_names {
                return Err(UsageError::flag(flag, "needs a --destination to name"));
            }
        }
        Ok(Reports {
            digest: report("--digest-file", self.digest.as_deref())?,
            name_with_digest: report(NAMES, self.name_with_digest.as_deref())?,
            name_tag_with_digest: report(TAGS, self.name_tag_with_digest.as_deref())?,
            metadata: report("--metadata-file", self.metadata.as_deref())?,
        })
    }
}

fn report(flag: &'static str, text: Option<&str>) -> Result<Option<Report>, UsageError> {
    let Some(text) = text else { return Ok(None) };
    let Some((scheme, _)) = text.split_once("://") else {
        return Ok(Some(Report::File(absolute(Path::new(text)))));
    };
    if !["http", "https"].contains(&scheme) {
        let reason = "name a file, or a URL with https://";
        return Err(UsageError::flag(flag, reason));
    }
    Url::parse(text)
        .map(|url| Some(Report::Url(url)))
        .map_err(|error| UsageError::flag(flag, error))
}

/// The flags of a push as a whole.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SendArgs {
    /// How often a failed push is tried again as a whole [each request has its own retries]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Registries"
    )]
    pub push_retry: u32,
    /// Succeed if a tag exists that must not change; it stays as it is
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub push_ignore_immutable_tag_errors: bool,
    /// Do not check first whether the destinations accept a push
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub skip_push_permission_check: bool,
}

/// Flags of kaniko whose promise is always kept.
#[derive(Debug, Args)]
pub(super) struct AcceptedArgs {
    /// Accepted: unused stages are always skipped
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub skip_unused_stages: Option<bool>,
    /// Accepted: cleaning up is what longshore always does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub cleanup: Option<bool>,
    /// Accepted: every build starts clean
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub pre_cleanup: Option<bool>,
    /// Accepted: the container's files are always put back
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub preserve_context: Option<bool>,
    /// Accepted: what a RUN changed is always found without reading what it did not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub use_new_run: Option<bool>,
    /// Accepted: metadata is always computed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub force_build_metadata: Option<bool>,
}
