//! `longshore index create`: one name for the images of several platforms.

use clap::{Args, Subcommand};

use crate::build::BuildError;
use crate::oci::{Platform, Reference};
use crate::output::{self, Content, IndexOptions, Member};

use super::UsageError;
use super::env::Env;
use super::flags::FormatFlag;
use super::resolve;
use super::transfer::{self, Failure, Scratch, Transfer, TransferArgs};

/// The subcommands of `longshore index`.
#[derive(Debug, Subcommand)]
pub(super) enum IndexCommand {
    /// Make an index of images that exist and push it; images of other repositories are mounted or copied
    Create(Box<CreateArgs>),
}

/// The flags of `longshore index create`.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The names of the index
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// An image or index to be in it: a reference, or the path of an OCI layout or archive (`./DIR`, `oci:DIR:TAG`); its platform
    /// is what it says itself, or what is said here; repeated
    #[arg(
        long,
        value_name = "[PLATFORM=]IMAGE",
        required = true,
        help_heading = "Input"
    )]
    pub image: Vec<String>,
    /// A platform that must be among them; may be repeated, or several with commas
    #[arg(
        long,
        value_name = "PLATFORM",
        value_delimiter = ',',
        help_heading = "Input"
    )]
    pub platform: Vec<String>,
    /// An annotation of the index; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Output")]
    pub annotation: Vec<String>,
    /// The family of the index's media type [default: docker if all images are of it and there is no annotation, else oci]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Output")]
    pub image_format: Option<FormatFlag>,
    /// The flags of every push.
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Creates the index.
pub(super) fn create(args: &CreateArgs, env: &Env) -> u8 {
    transfer::run(&args.transfer, env, async |transfer| {
        let names = transfer::destinations("NAME", &args.names)?;
        let options = IndexOptions {
            annotations: resolve::annotations(&args.annotation)?,
            format: args.image_format.map(|flag| resolve::format(Some(flag))),
            required: args
                .platform
                .iter()
                .map(|text| platform("--platform", text))
                .collect::<Result<_, _>>()?,
        };
        let images = args
            .image
            .iter()
            .map(|text| Wanted::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let scratch = Scratch::new(env)?;
        transfer.check(&names).await?;
        let reading = images.iter().map(|wanted| wanted.read(transfer, &scratch));
        let members = futures_util::future::try_join_all(reading).await?;
        let index = output::index(members, options).map_err(BuildError::from)?;
        transfer.push(&index, &names).await?;
        Ok::<(), Failure>(())
    })
}

/// An image as it was typed.
struct Wanted {
    text: String,
    place: Place,
    platform: Option<Platform>,
}

enum Place {
    Registry(Reference),
    Files(String),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, UsageError> {
        let flag = "--image";
        let (platform, image) = match text.split_once('=') {
            Some((os, image)) => (Some(platform(flag, os)?), image),
            None => (None, text),
        };
        let is_path = ["/", "./", "../", "oci:"]
            .iter()
            .any(|prefix| image.starts_with(prefix));
        let place = if is_path {
            Place::Files(image.to_owned())
        } else {
            Place::Registry(
                image
                    .parse()
                    .map_err(|error| UsageError::flag(flag, error))?,
            )
        };
        Ok(Self {
            text: image.to_owned(),
            place,
            platform,
        })
    }

    async fn read(&self, transfer: &Transfer<'_>, scratch: &Scratch) -> Result<Member, BuildError> {
        let content = match &self.place {
            Place::Registry(reference) => Content::of_registry(&transfer.client, reference).await?,
            Place::Files(text) => {
                let (path, tag) = transfer::path_and_tag(text);
                Content::of_files(&path, tag.as_deref(), scratch.path())?
            }
        };
        Ok(Member {
            name: self.text.clone(),
            content,
            platform: self.platform.clone(),
        })
    }
}

fn platform(flag: &'static str, text: &str) -> Result<Platform, UsageError> {
    text.parse().map_err(|error| UsageError::flag(flag, error))
}
