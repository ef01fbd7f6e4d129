//! `longshore warm`: base images into a directory, for builds with `--cache-dir`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use futures_util::stream::{self, StreamExt as _};

use crate::build::{BuildError, Event, Events as _};
use crate::cache::{WarmBases, Warmed};
use crate::dockerfile::{self, Dockerfile};
use crate::oci::{ImageConfig, Platform, Reference};
use crate::plan::{self, Options, RunNetwork};
use crate::registry::{Client, ResolvedImage};

use super::cache::{DEFAULT_WARM, ttl_secs};
use super::env::Env;
use super::flags::{LogArgs, switch};
use super::keychain::CredentialArgs;
use super::registries::RegistryArgs;
use super::render::{Renderer, bytes_text};
use super::transfer::{Access, Failure, with_client};
use super::{UsageError, diagnostic, print_line, resolve};

/// Images that are on the way at the same time.
const IMAGES_AT_ONCE: usize = 4;

/// The flags of `longshore warm`, as kaniko's warmer has them.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 at least one image is there; 1 none is; 2 the command line is wrong. The names of the images that are there \
are printed with their digests."
)]
pub(super) struct WarmArgs {
    /// An image; may be repeated
    #[arg(short = 'i', long, value_name = "REFERENCE")]
    pub image: Vec<String>,
    /// A Dockerfile whose images are meant; `-` is standard input
    #[arg(short = 'd', long, value_name = "FILE")]
    pub dockerfile: Option<PathBuf>,
    /// A build argument of the Dockerfile; NAME alone takes its value from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Where the images are put
    #[arg(short = 'c', long, value_name = "DIR", default_value = DEFAULT_WARM)]
    pub cache_dir: PathBuf,
    /// Fetch images that are there, too
    #[arg(short = 'f', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL")]
    pub force: bool,
    /// Images that are older are fetched again [default: 336h]
    #[arg(long, value_name = "DURATION")]
    pub cache_ttl: Option<String>,
    /// The platform, os/architecture[/variant] [default: this machine's]
    #[arg(
        long,
        visible_alias = "platform",
        alias = "customPlatform",
        value_name = "PLATFORM"
    )]
    pub custom_platform: Option<String>,
    /// How often the download of an image is tried again as a whole [each request has its own retries]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Registries"
    )]
    pub image_download_retry: u32,
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

/// Warms; `now` is in seconds since 1970.
///
/// # Deviation
/// kaniko leaves images alone that are too old. Here they are verified and fetched again. Images that a COPY or a mount
/// takes files from are fetched, too.
pub(super) fn warm(args: &WarmArgs, env: &Env, now: i64) -> u8 {
    let access = Access {
        registries: &args.registries,
        credentials: &args.credentials,
        log: args.log,
    };
    with_client(&access, env, async |client, renderer| {
        let work = Work::new(args, client, renderer, now)?;
        let mut wanted = Vec::new();
        for text in &args.image {
            let reference: Reference = text
                .parse()
                .map_err(|error| UsageError::flag("--image", error))?;
            wanted.push((reference, work.platform.clone(), None));
        }
        let mut failures = 0;
        if let Some(path) = &args.dockerfile {
            let (found, failed) = work.of_dockerfile(path, env).await?;
            wanted.extend(found);
            failures = failed;
        }
        if wanted.is_empty() && failures == 0 {
            let reason = "say which images: --image, or a --dockerfile that names one";
            return Err(UsageError::flag("warm", reason).into());
        }
        work.all(wanted).await
    })
}

/// An image with its platform, and what the registry says of it if that is known.
type Wanted = (Reference, Platform, Option<ResolvedImage>);

struct Work<'a> {
    args: &'a WarmArgs,
    client: Client,
    renderer: Arc<Renderer>,
    bases: WarmBases,
    platform: Platform,
}

impl<'a> Work<'a> {
    fn new(
        args: &'a WarmArgs,
        client: Client,
        renderer: Arc<Renderer>,
        now: i64,
    ) -> Result<Self, UsageError> {
        let ttl_secs = ttl_secs(args.cache_ttl.as_deref())?;
        let directory = resolve::absolute(&args.cache_dir);
        let platform = match &args.custom_platform {
            Some(text) => text
                .parse()
                .map_err(|error| UsageError::flag("--custom-platform", error))?,
            None => Platform::host(),
        };
        Ok(Self {
            args,
            client,
            renderer,
            bases: WarmBases::new(directory, now.saturating_sub(ttl_secs)),
            platform,
        })
    }

    /// Puts all images there. One that cannot be had is a warning, unless no other can.
    async fn all(&self, wanted: Vec<Wanted>) -> Result<(), Failure> {
        let results = stream::iter(wanted)
            .map(|wanted| self.one(wanted))
            .buffer_unordered(IMAGES_AT_ONCE)
            .collect::<Vec<bool>>()
            .await;
        if results.contains(&true) {
            return Ok(());
        }
        Err(Failure::Plain {
            message: "no image could be put into the directory".to_owned(),
            hint: None,
        })
    }

    async fn one(&self, (reference, platform, known): Wanted) -> bool {
        let mut tried = 0;
        loop {
            let result = match &known {
                Some(image) => self.keep(image).await,
                None => match self.client.resolve(&reference, &platform).await {
                    Ok(image) => self.keep(&image).await,
                    Err(error) => Err(diagnostic::chain(&error)),
                },
            };
            match result {
                Ok(()) => return true,
                Err(_) if tried < self.args.image_download_retry => {
                    tokio::time::sleep(Duration::from_secs(1 << tried.min(6))).await;
                    tried += 1;
                }
                Err(message) => {
                    self.warn(format!("{reference}: {message}"));
                    return false;
                }
            }
        }
    }

    async fn keep(&self, image: &ResolvedImage) -> Result<(), String> {
        let kept = self.bases.keep(&self.client, image, self.args.force);
        let kept = kept.await.map_err(|error| diagnostic::chain(&error))?;
        let name = format!("{}@{}", image.reference.name(), image.descriptor.digest);
        self.renderer.info(&match kept {
            Warmed::There => format!("{} is there", image.reference),
            Warmed::Fetched(bytes) => {
                format!("{} fetched: {}", image.reference, bytes_text(bytes))
            }
        });
        print_line(&name);
        Ok(())
    }

    /// The images that a Dockerfile names, in any of its stages, and how many stages have some that cannot be found out.
    async fn of_dockerfile(&self, path: &Path, env: &Env) -> Result<(Vec<Wanted>, usize), Failure> {
        let parsed = dockerfile::parse(&read(path)?).map_err(BuildError::from)?;
        let options = Options {
            target: None,
            build_args: resolve::pairs_of(&self.args.build_arg, env)?,
            target_platform: self.platform.clone(),
            is_platform_explicit: self.args.custom_platform.is_some(),
            build_platform: Platform::host(),
            labels: Vec::new(),
            network: RunNetwork::Default,
            contexts: Vec::new(),
        };
        let mut found: Vec<Wanted> = Vec::new();
        let mut failures = 0;
        for number in 0..parsed.stages.len() {
            let options = Options {
                target: Some(number.to_string()),
                ..options.clone()
            };
            if let Err(failure) = self.of_stage(&parsed, &options, &mut found).await? {
                self.warn(failure);
                failures += 1;
            }
        }
        Ok((found, failures))
    }

    /// Adds the images of a stage. Triggers of a base may name further images, hence the rounds.
    async fn of_stage(
        &self,
        parsed: &Dockerfile,
        options: &Options,
        found: &mut Vec<Wanted>,
    ) -> Result<Result<(), String>, Failure> {
        let mut configs: Vec<ImageConfig> = Vec::new();
        loop {
            let outline = plan::outline(parsed, options, &configs).map_err(BuildError::from)?;
            let Some(image) = outline.images.get(configs.len()) else {
                return Ok(Ok(()));
            };
            let (reference, platform) = (&image.reference, &image.platform);
            let known = found.iter().find_map(|(name, os, known)| {
                known
                    .as_ref()
                    .filter(|_| name == reference && os == platform)
            });
            if let Some(known) = known {
                configs.push(known.config.clone());
                continue;
            }
            match self.client.resolve(reference, platform).await {
                Ok(resolved) => {
                    configs.push(resolved.config.clone());
                    found.push((reference.clone(), platform.clone(), Some(resolved)));
                }
                Err(error) => {
                    return Ok(Err(format!("{reference}: {}", diagnostic::chain(&error))));
                }
            }
        }
    }

    fn warn(&self, message: String) {
        self.renderer.send(Event::Warning {
            message,
            span: None,
        });
    }
}

fn read(path: &Path) -> Result<Vec<u8>, UsageError> {
    let flag = "--dockerfile";
    if path.to_str().is_some_and(|text| text.contains("://")) {
        return Err(UsageError::flag(
            flag,
            "URLs are not supported: download the Dockerfile and name the file",
        ));
    }
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).map(|_| text)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| {
        UsageError::flag(
            flag,
            format_args!("cannot read {}: {error}", path.display()),
        )
    })
}
