//! `longshore cache list` and `longshore cache prune`: what a cache keeps, in a directory or a registry.

use std::path::Path;

use clap::{Args, Subcommand};

use crate::cache::{self, Kept, Pruned, RepositoryEntries, StoredEntries};
use crate::oci::Reference;

use super::cache::duration;
use super::env::Env;
use super::flags::LogArgs;
use super::keychain::CredentialArgs;
use super::registries::RegistryArgs;
use super::render::bytes_text;
use super::resolve::absolute;
use super::transfer::{Access, Failure, with_client};
use super::{UsageError, diagnostic, print_line};

/// The flags of `longshore cache list` and `longshore cache prune`.
#[derive(Debug, Args)]
pub(super) struct KeptArgs {
    /// The cache: a repository, with a tag if the entries' tags begin with one, or a directory, as `oci:PATH` or as a path
    #[arg(long, value_name = "REPOSITORY|DIRECTORY")]
    pub cache_repo: String,
    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,
    /// Where credentials come from.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// The flags of the log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The flags of `longshore cache prune`.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The cache.
    #[command(flatten)]
    pub kept: KeptArgs,
    /// Remove what was not used for so long, in a registry what was made so long ago: 336h, 1h30m
    #[arg(long, value_name = "DURATION")]
    pub max_age: Option<String>,
    /// Remove what was used the longest ago, in a registry the oldest, until the layers have so many bytes at most: 500000000, 500MB, 10GB
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
}

/// What to do with a cache.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// List what a cache keeps, the least recently used first
    List(Box<KeptArgs>),
    /// Remove entries, and the layers that no other entry needs
    Prune(Box<PruneArgs>),
}

/// Carries a command out; `now` is in seconds since 1970.
pub(super) fn command(command: &CacheCommand, env: &Env, now: i64) -> u8 {
    let args = match command {
        CacheCommand::List(args) => args,
        CacheCommand::Prune(args) => &args.kept,
    };
    let access = Access {
        registries: &args.registries,
        credentials: &args.credentials,
        log: args.log,
    };
    with_client(&access, env, async |client, _| {
        let place = Entries::of(&args.cache_repo, client)?;
        match command {
            CacheCommand::List(_) => {
                for kept in place.list().await? {
                    print_line(&line(&kept));
                }
            }
            CacheCommand::Prune(args) => {
                let (since, max_size) = limits(args, now)?;
                let pruned = place.prune(since, max_size).await?;
                let bytes = bytes_text(pruned.bytes);
                print_line(&format!(
                    "{} entries and {bytes} of layers removed",
                    pruned.entries
                ));
            }
        }
        Ok(())
    })
}

fn line(kept: &Kept) -> String {
    format!(
        "{}  {}  {:>10}  {}",
        kept.key,
        jiff::Timestamp::from_second(kept.used).unwrap_or_default(),
        bytes_text(kept.layer.size),
        kept.step,
    )
}

/// Since when something must have been used to stay, and how large all of it may be.
fn limits(args: &PruneArgs, now: i64) -> Result<(Option<i64>, Option<u64>), UsageError> {
    let max_age = match &args.max_age {
        None => None,
        Some(text) => Some(duration(text).ok_or_else(|| {
            UsageError::flag(
                "--max-age",
                format_args!("\"{text}\" is not a duration such as 336h"),
            )
        })?),
    };
    let max_size = match &args.max_size {
        None => None,
        Some(text) => Some(size(text).ok_or_else(|| {
            UsageError::flag(
                "--max-size",
                format_args!("\"{text}\" is not a size such as 500MB"),
            )
        })?),
    };
    if max_age.is_none() && max_size.is_none() {
        return Err(UsageError::flag(
            "cache prune",
            "say --max-age or --max-size",
        ));
    }
    Ok((max_age.map(|age| now.saturating_sub(age)), max_size))
}

/// The entries of a place.
enum Entries {
    Directory(StoredEntries),
    Repository(RepositoryEntries),
}

impl Entries {
    fn of(text: &str, client: crate::registry::Client) -> Result<Self, UsageError> {
        let flag = "--cache-repo";
        if let Some(reason) = looked_after(text) {
            return Err(UsageError::flag(flag, reason));
        }
        let path = text.strip_prefix("oci:");
        if path.is_some() || text.starts_with(['/', '.']) || Path::new(text).is_dir() {
            let path = Path::new(path.unwrap_or(text));
            if !path.is_dir() {
                let reason = format!("{} is not a directory", path.display());
                return Err(UsageError::flag(flag, reason));
            }
            return Ok(Self::Directory(StoredEntries::new(absolute(path))));
        }
        let reference: Reference = text
            .parse()
            .map_err(|error| UsageError::flag(flag, error))?;
        if reference.digest().is_some() {
            let reason = format!("\"{text}\" has a digest: name a repository");
            return Err(UsageError::flag(flag, reason));
        }
        Ok(Self::Repository(RepositoryEntries::new(client, &reference)))
    }

    async fn list(&self) -> Result<Vec<Kept>, Failure> {
        match self {
            Self::Directory(entries) => entries.list().map_err(failure),
            Self::Repository(entries) => entries.list().await.map_err(failure),
        }
    }

    async fn prune(&self, since: Option<i64>, max_size: Option<u64>) -> Result<Pruned, Failure> {
        match self {
            Self::Directory(entries) => entries.prune(since, max_size).map_err(failure),
            Self::Repository(entries) => entries.prune(since, max_size).await.map_err(failure),
        }
    }
}

/// Why a place that is neither a directory nor a registry is not listed and pruned: it is looked after otherwise.
fn looked_after(text: &str) -> Option<&'static str> {
    let is_in = |beginnings: &[&str]| beginnings.iter().any(|one| text.starts_with(one));
    if is_in(&[
        "s3://",
        "gs://",
        "https://",
        "type=s3",
        "type=gcs",
        "type=azblob",
    ]) {
        return Some(
            "a bucket is not listed or pruned here: let a lifecycle rule of the bucket delete what is old below the cache's prefix; a layer that is gone is made again",
        );
    }
    is_in(&["type=gha"]).then_some(
        "GitHub looks after its cache by itself: what was not used for a week goes, and the oldest when there is no room; see the repository's list of caches",
    )
}

fn failure(error: cache::Error) -> Failure {
    let hint = match &error {
        cache::Error::Registry(error) if error.is_undeletable() => Some(
            "this registry does not allow deletion: switch it on there (docker's registry: REGISTRY_STORAGE_DELETE_ENABLED=true), or let the registry's own retention remove what is old",
        ),
        cache::Error::Registry(error) if error.is_denied() => {
            Some("deleting takes more rights than pushing: name a credential that may delete")
        }
        _ => None,
    };
    Failure::Plain {
        message: diagnostic::chain(&error),
        hint: hint.map(str::to_owned),
    }
}

/// A size in bytes, with the units of powers of 1000 that the log uses.
pub(super) fn size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}
