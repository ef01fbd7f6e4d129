//! `longshore push`: sends an image that lies in files to registries.

use clap::Args;

use crate::build::BuildError;
use crate::output::Content;

use super::UsageError;
use super::env::Env;
use super::transfer::{self, Failure, Scratch, TransferArgs};

/// The flags of `longshore push`.
#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// An OCI layout, as a directory or a tar, or an archive of `docker save`; `:TAG` chooses among several images
    #[arg(value_name = "PATH[:TAG]")]
    pub source: String,
    /// The image references to push to
    #[arg(value_name = "REFERENCE")]
    pub destinations: Vec<String>,
    /// An image reference to push to, too; may be repeated
    #[arg(
        short = 'd',
        long,
        visible_alias = "tag",
        short_alias = 't',
        value_name = "REFERENCE",
        help_heading = "Output"
    )]
    pub destination: Vec<String>,
    /// The flags of every push.
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Pushes.
pub(super) fn push(args: &PushArgs, env: &Env) -> u8 {
    transfer::run(&args.transfer, env, async |transfer| {
        let mut destinations = transfer::destinations("REFERENCE", &args.destinations)?;
        destinations.extend(transfer::destinations("--destination", &args.destination)?);
        if destinations.is_empty() {
            let reason = "say where to push to";
            return Err(UsageError::flag("--destination", reason).into());
        }
        let scratch = Scratch::new(env)?;
        let (path, tag) = transfer::path_and_tag(&args.source);
        // The files come first: what is no image is told without asking a registry.
        let content =
            Content::of_files(&path, tag.as_deref(), scratch.path()).map_err(BuildError::from)?;
        transfer.check(&destinations).await?;
        transfer.push(&content, &destinations).await?;
        Ok::<(), Failure>(())
    })
}
