//! The flags of the cache, to what the engine is asked to remember.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use crate::auth::Files;
use crate::build::{CacheOptions, CachePlace, MountOptions};
use crate::cache::WarmBases;
use crate::http::HttpConfig;
use crate::oci::Reference;
use crate::store::Stores;

use super::UsageError;
use super::env::Env;
use super::flags::{BuildArgs, switch};
use super::kept::size;
use super::places::{self, Around, Direction, Named};
use super::resolve::{Surroundings, absolute};

/// The flags of the cache.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is typed"
)]
pub(super) struct CacheArgs {
    /// Look layers up in a cache, and keep new ones there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub cache: bool,
    /// Where layers are cached: a repository, or a directory as `oci:PATH` [default: the first destination's, with /cache]
    #[arg(long, value_name = "REPOSITORY", help_heading = "Cache")]
    pub cache_repo: Option<String>,
    /// A cache to look layers up in, as buildx takes it: `type=registry,ref=REFERENCE`, `type=local,src=DIR`, `type=gha`, `type=s3`, `type=gcs`, `type=azblob`; may be repeated
    #[arg(long, value_name = "CACHE", help_heading = "Cache")]
    pub cache_from: Vec<String>,
    /// A cache to keep new layers in: `type=registry,ref=REFERENCE`, `type=local,dest=DIR`, `type=gha`, `type=inline`, `type=s3`, `type=gcs`, `type=azblob`; may be repeated
    #[arg(long, value_name = "CACHE", help_heading = "Cache")]
    pub cache_to: Vec<String>,
    /// A directory of base images that `longshore warm` put there [default: /cache with --cache, if it exists]
    #[arg(long, value_name = "DIR", help_heading = "Cache")]
    pub cache_dir: Option<PathBuf>,
    /// For how long a cached layer is used, and an image of --cache-dir [default: 336h]
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
    /// Say of each step whether it is in the cache, and if not, what changed since the last build that kept it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub cache_explain: bool,
    /// Save the caches of RUN --mount=type=cache where layers are kept, and restore them from where layers are looked up
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub cache_mounts: bool,
    /// A place to restore cache mounts from, as --cache-from takes it; may be repeated
    #[arg(long, value_name = "CACHE", help_heading = "Cache")]
    pub cache_mounts_from: Vec<String>,
    /// A place to save cache mounts in, as --cache-to takes it; may be repeated
    #[arg(long, value_name = "CACHE", help_heading = "Cache")]
    pub cache_mounts_to: Vec<String>,
    /// A name that tells cache mounts apart from others of the same id: a project, a branch. Those after the first are only read, in order; an
    /// empty one is what all builds share [default: in a CI system the branch, tag or change request, then the branches that it comes from]
    #[arg(long, value_name = "NAME", help_heading = "Cache")]
    pub cache_mounts_scope: Vec<String>,
    /// A cache mount whose files have more bytes is not saved [default: 5GB]
    #[arg(long, value_name = "SIZE", help_heading = "Cache")]
    pub cache_mounts_max_size: Option<String>,
    /// Only look layers up and restore cache mounts, keep none
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Cache")]
    pub no_push_cache: bool,
}

/// For how long a layer is used: two weeks, as in kaniko.
const DEFAULT_TTL_SECS: i64 = 336 * 3600;

/// Makes the options out of kaniko's flags and buildx's: for layers, and for cache mounts.
///
/// # Deviation
/// kaniko caches layers of COPY only with `--cache-copy-layers`. Here both are on: a build in which nothing changed finds
/// everything, and a key of a COPY costs no more than reading the files. A layer of a kind that is switched off is
/// neither looked up nor kept for itself; as a part of what lies under another layer it is.
pub(super) fn options(
    args: &BuildArgs,
    around: &Surroundings,
    http: &HttpConfig,
    files: &Files,
) -> Result<(CacheOptions, MountOptions), UsageError> {
    let credentials = &args.credentials;
    let stores = |env: &Env| super::keychain::stores(credentials, env, http, files);
    let places_around = Around {
        env: &around.env,
        stores: &stores,
    };
    let place = kaniko_place(args)?;
    let args = &args.caching;
    let mut from: Vec<CachePlace> = place.clone().into_iter().collect();
    let mut to: Vec<CachePlace> = place.into_iter().collect();
    let mut notices = Vec::new();
    let mut is_inline = false;
    let mut required = Vec::new();
    for (direction, texts, places) in [
        (Direction::From, &args.cache_from, &mut from),
        (Direction::To, &args.cache_to, &mut to),
    ] {
        for text in texts {
            let (named, is_required) = places::named(direction, text, &places_around)?;
            match named {
                Named::Place(place) => {
                    if is_required {
                        required.push(place.clone());
                    }
                    places.push(place);
                }
                Named::Inline => is_inline = true,
                Named::Absent(reason) if !notices.contains(&reason) => notices.push(reason),
                Named::Absent(_) => {}
            }
        }
    }
    let ttl_secs = ttl_secs(args.cache_ttl.as_deref())?;
    let mounts = mounts(args, (&from, &to), &places_around, &mut notices)?;
    if args.no_push_cache {
        to.clear();
        is_inline = false;
    }
    let layers = CacheOptions {
        from,
        to,
        required,
        is_inline,
        ttl_secs: Some(ttl_secs),
        now: around.now,
        is_created_explicit: false,
        runs: args.cache_run_layers.unwrap_or(true),
        copies: args.cache_copy_layers.unwrap_or(true),
        notices,
        explains: args.cache_explain,
    };
    Ok((layers, mounts))
}

const MOUNTS_FROM: &str = "--cache-mounts-from";
const MOUNTS_TO: &str = "--cache-mounts-to";

/// The most that the files of a cache mount may have, in bytes: about what a CI system keeps for a job.
const DEFAULT_MOUNT_SIZE: u64 = 5_000_000_000;

/// Where cache mounts are saved and restored; `layers` is where layers are looked up and kept.
fn mounts(
    args: &CacheArgs,
    layers: (&[CachePlace], &[CachePlace]),
    around: &Around<'_>,
    notices: &mut Vec<String>,
) -> Result<MountOptions, UsageError> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    if args.cache_mounts {
        if layers.0.is_empty() && layers.1.is_empty() {
            return Err(UsageError::flag(
                "--cache-mounts",
                "needs a place: --cache, --cache-from or --cache-to, or say --cache-mounts-from and --cache-mounts-to",
            ));
        }
        let beside =
            |places: &[CachePlace]| places.iter().cloned().map(places::mounts_in).collect();
        (from, to) = (beside(layers.0), beside(layers.1));
    }
    for (flag, direction, texts, named) in [
        (
            MOUNTS_FROM,
            Direction::From,
            &args.cache_mounts_from,
            &mut from,
        ),
        (MOUNTS_TO, Direction::To, &args.cache_mounts_to, &mut to),
    ] {
        for text in texts {
            match places::of_mounts(flag, direction, text, around)? {
                Ok(place) => named.push(place),
                Err(reason) if !notices.contains(&reason) => notices.push(reason),
                Err(_) => {}
            }
        }
    }
    if args.no_push_cache {
        to.clear();
    }
    let max_size = match &args.cache_mounts_max_size {
        Some(text) => size(text).ok_or_else(|| {
            UsageError::flag(
                "--cache-mounts-max-size",
                format_args!("\"{text}\" is not a size such as 500MB"),
            )
        })?,
        None => DEFAULT_MOUNT_SIZE,
    };
    Ok(MountOptions {
        from,
        to,
        scopes: args.cache_mounts_scope.clone(),
        max_size,
    })
}

/// Where kaniko's warmer puts images, and its executor looks for them.
pub(super) const DEFAULT_WARM: &str = "/cache";

/// For how long what is kept is used.
pub(super) fn ttl_secs(text: Option<&str>) -> Result<i64, UsageError> {
    match text {
        Some(text) => duration(text).ok_or_else(|| {
            UsageError::flag(
                "--cache-ttl",
                format_args!("\"{text}\" is not a duration such as 336h or 1h30m"),
            )
        }),
        None => Ok(DEFAULT_TTL_SECS),
    }
}

/// The base images that are on this machine already.
pub(super) fn warm(args: &BuildArgs, now: i64) -> Result<Option<WarmBases>, UsageError> {
    let ttl_secs = ttl_secs(args.caching.cache_ttl.as_deref())?;
    let directory = warm_directory(&args.caching);
    Ok(directory.map(|directory| WarmBases::new(directory, now.saturating_sub(ttl_secs))))
}

fn warm_directory(args: &CacheArgs) -> Option<PathBuf> {
    match &args.cache_dir {
        Some(directory) => Some(absolute(directory)),
        None => Some(PathBuf::from(DEFAULT_WARM)).filter(|path| args.cache && path.is_dir()),
    }
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
    let (env, stores) = (Env::default(), |_: &Env| Ok(Stores::default()));
    let nowhere = Around {
        env: &env,
        stores: &stores,
    };
    let caching = &args.caching;
    let from = caching.cache_from.iter().chain(&caching.cache_mounts_from);
    let from = from.map(|text| (Direction::From, text));
    let to = caching.cache_to.iter().chain(&caching.cache_mounts_to);
    let named = from.chain(to.map(|text| (Direction::To, text)));
    // What is wrong is told when the options are made; a directory needs nothing of the environment.
    let places =
        named.filter_map(
            |(direction, text)| match places::named(direction, text, &nowhere) {
                Ok((Named::Place(place), _)) => Some(place),
                Ok((Named::Inline | Named::Absent(_), _)) | Err(_) => None,
            },
        );
    let kaniko = kaniko_place(args).ok().flatten();
    let warm = warm_directory(&args.caching).filter(|path| path.is_dir());
    places
        .chain(kaniko)
        .filter_map(|place| match place {
            CachePlace::Directory(path) => Some(path),
            CachePlace::Registry(_)
            | CachePlace::Image(_)
            | CachePlace::Bucket(_)
            | CachePlace::Gha(_) => None,
        })
        .chain(warm)
        .collect()
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
    use super::super::kept::size;
    use super::duration;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("500MB"), Some(500_000_000));
        assert_eq!(size("7"), Some(7));
        assert_eq!((size("x"), size("5TB"), size("")), (None, None, None));
    }

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
