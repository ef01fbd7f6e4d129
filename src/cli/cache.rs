//! The flags of the cache, to what the engine is asked to remember.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use crate::build::{CacheOptions, CachePlace};
use crate::oci::Reference;

use super::UsageError;
use super::flags::{BuildArgs, switch};
use super::resolve::{Surroundings, absolute};

/// The flags of the cache.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// Look layers up in a cache, and keep new ones there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub cache: bool,
    /// Where layers are cached: a repository, or a directory as `oci:PATH` [default: the first destination's, with /cache]
    #[arg(long, value_name = "REPOSITORY", help_heading = "Cache")]
    pub cache_repo: Option<String>,
    /// For how long a cached layer is used [default: 336h]
    #[arg(long, value_name = "DURATION", help_heading = "Cache")]
    pub cache_ttl: Option<String>,
    /// Cache layers of COPY and ADD [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub cache_copy_layers: Option<bool>,
    /// Cache layers of RUN and WORKDIR [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub cache_run_layers: Option<bool>,
    /// Accepted: layers are streamed and never held in memory, whatever this says
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub compressed_caching: Option<bool>,
    /// Only look layers up, keep none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub no_push_cache: bool,
}

/// For how long a layer is used: two weeks, as in kaniko.
const DEFAULT_TTL_SECS: i64 = 336 * 3600;

/// Makes the options out of kaniko's flags.
///
/// # Deviation
/// kaniko caches layers of COPY only with `--cache-copy-layers`. Here both are on: a build in which nothing changed finds
/// everything, and a key of a COPY costs no more than reading the files. A layer of a kind that is switched off is
/// neither looked up nor kept for itself; as a part of what lies under another layer it is.
pub(super) fn options(args: &BuildArgs, around: &Surroundings) -> Result<CacheOptions, UsageError> {
    let place = kaniko_place(args)?;
    let args = &args.caching;
    let ttl_secs = match &args.cache_ttl {
        Some(text) => duration(text).ok_or_else(|| {
            UsageError::flag(
                "--cache-ttl",
                format_args!("\"{text}\" is not a duration such as 336h or 1h30m"),
            )
        })?,
        None => DEFAULT_TTL_SECS,
    };
    let to = if args.no_push_cache {
        Vec::new()
    } else {
        place.clone().into_iter().collect()
    };
    Ok(CacheOptions {
        from: place.into_iter().collect(),
        to,
        ttl_secs: Some(ttl_secs),
        now: around.now,
        is_created_explicit: around.env.text("SOURCE_DATE_EPOCH").is_some(),
        runs: args.cache_run_layers.unwrap_or(true),
        copies: args.cache_copy_layers.unwrap_or(true),
    })
}

/// The place that `--cache` and `--cache-repo` name.
fn kaniko_place(args: &BuildArgs) -> Result<Option<CachePlace>, UsageError> {
    let flag = "--cache-repo";
    if !args.caching.cache {
        return Ok(None);
    }
    let text = match (&args.caching.cache_repo, args.destination.first()) {
        (Some(text), _) => text.clone(),
        (None, Some(destination)) => {
            let reference: Reference = destination
                .parse()
                .map_err(|error| UsageError::flag("--destination", error))?;
            format!("{}/cache", reference.name())
        }
        (None, None) => {
            return Err(UsageError::flag(
                "--cache",
                "needs a place: name a --destination, or --cache-repo",
            ));
        }
    };
    if let Some(path) = text.strip_prefix("oci:") {
        if path.is_empty() {
            return Err(UsageError::flag(flag, "\"oci:\" names no directory"));
        }
        return Ok(Some(CachePlace::Directory(absolute(Path::new(path)))));
    }
    let reference: Reference = text
        .parse()
        .map_err(|error| UsageError::flag(flag, error))?;
    if reference.tag().is_some() || reference.digest().is_some() {
        return Err(UsageError::flag(
            flag,
            format_args!("\"{text}\" names an image: name a repository, the tags are the cache's"),
        ));
    }
    Ok(Some(CachePlace::Registry(reference)))
}

/// The directories of caches, which must stay where they are while an in-place build uses `/`.
pub(super) fn directories(args: &BuildArgs) -> Vec<PathBuf> {
    match kaniko_place(args) {
        Ok(Some(CachePlace::Directory(path))) => vec![path],
        Ok(Some(CachePlace::Registry(_)) | None) | Err(_) => Vec::new(),
    }
}

/// A duration as Go writes it, in seconds: `336h`, `1h30m`, `90s`, `1.5h`.
pub(super) fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut secs = 0.0;
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let factor = match &rest[digits..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        secs += number * factor;
        rest = &rest[unit..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float is clamped, and fractions of seconds do not matter"
    )]
    (!text.is_empty()).then_some(secs as i64)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_gos() {
        for (text, expect) in [
            ("336h", Some(1_209_600)),
            ("1h30m", Some(5400)),
            ("1.5h", Some(5400)),
            ("90s", Some(90)),
            ("0", Some(0)),
            ("1500ms", Some(1)),
            ("", None),
            ("5", None),
            ("h", None),
            ("2w", None),
            ("-1h", None),
        ] {
            assert_eq!(duration(text), expect, "{text}");
        }
    }
}
