//! The flag table: what may be typed, in kaniko's words where kaniko has one.
//!
//! Every flag that is declared here does what its help says. Flags of kaniko that longshore does not support are listed
//! in [`UNSUPPORTED`] with what to do instead, so that they end in an explanation and are never ignored.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::auth::AuthArgs;
use super::cache::CacheArgs;
use super::check::CheckArgs;
use super::ci::CiCommandArgs;
use super::debug::DebugArgs;
use super::doctor::DoctorArgs;
use super::index::IndexCommand;
use super::kept::CacheCommand;
use super::keychain::CredentialArgs;
use super::login::LoginArgs;
use super::push::PushArgs;
use super::registries::RegistryArgs;
use super::reports::{AcceptedArgs, ReportArgs, SendArgs};
use super::warm::WarmArgs;

/// Builds container images from Dockerfiles inside CI jobs: no daemon, no privileges.
#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    max_term_width = 110,
    disable_help_subcommand = true
)]
pub(super) struct Program {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program under kaniko's name, `executor`: the build flags stand at the top level.
#[derive(Debug, Parser)]
#[command(
    name = "executor",
    version,
    max_term_width = 110,
    subcommand_negates_reqs = true
)]
pub(super) struct Executor {
    /// The flags of a build.
    #[command(flatten)]
    pub build: BuildArgs,
}

/// The program under the name of kaniko's other program, `warmer`.
#[derive(Debug, Parser)]
#[command(name = "warmer", version, max_term_width = 110)]
pub(super) struct Warmer {
    /// Its flags.
    #[command(flatten)]
    pub warm: WarmArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Build an image from a Dockerfile and push or write it
    Build(Box<BuildArgs>),
    /// Push an OCI layout or an archive of `docker save`
    Push(Box<PushArgs>),
    /// Make an index of images for several platforms
    #[command(subcommand)]
    Index(IndexCommand),
    /// Say what is wrong or doubtful in a Dockerfile, without building it
    Check(Box<CheckArgs>),
    /// Say what the parser, the expansion, the ignore rules or the plan make of something, as JSON
    Debug(DebugArgs),
    /// Save the user name and password of a registry in config.json
    Login(LoginArgs),
    /// Say which source a registry's credential would come from, and why not from the others
    Auth(AuthArgs),
    /// Say which isolations this machine allows and what stands in the way of the others
    Doctor(DoctorArgs),
    /// Put back what an interrupted in-place build had set aside
    Restore,
    /// Say which CI system is found, what a build with these flags would do, and where each value comes from
    Ci(Box<CiCommandArgs>),
    /// Build what the inputs of the GitHub action say (`INPUT_*` variables)
    Action,
    /// Print the version
    Version,
    /// Put base images into a directory, for builds with --cache-dir
    Warm(Box<WarmArgs>),
    /// List or remove what a cache keeps, in a directory or a registry
    #[command(subcommand)]
    Cache(CacheCommand),
}

/// The flags that have to do with the CI system.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct CiArgs {
    /// The CI system: auto, none, or a name [default: auto]
    #[arg(long, value_name = "NAME", help_heading = "CI")]
    pub ci: Option<String>,
    /// Push; without a destination, to the image that the CI system names
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "CI")]
    pub push: Option<bool>,
    /// A name without a tag, which --tags make destinations of; may be repeated or hold several lines
    #[arg(long, value_name = "NAME", help_heading = "CI")]
    pub images: Vec<String>,
    /// A tag rule in docker/metadata-action's grammar; may be repeated or hold several lines
    #[arg(long, value_name = "RULE", help_heading = "CI")]
    pub tags: Vec<String>,
    /// What holds for all tags: latest=auto|true|false, prefix=, suffix=
    #[arg(long, value_name = "FLAVOR", help_heading = "CI")]
    pub flavor: Vec<String>,
    /// Label the image with commit, source and version [default: where --push, --images or --tags make its name; with its commit, where the context is one of git]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "CI")]
    pub ci_labels: Option<bool>,
    /// Write what was made: github, dotenv, properties, json or tekton; may be repeated
    #[arg(long, value_name = "FORMAT=PATH", help_heading = "CI")]
    pub ci_output: Vec<String>,
    /// Push from a fork's change request, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "CI")]
    pub push_from_forks: bool,
}

/// How RUN steps are kept apart from the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum IsolationFlag {
    /// The strongest that a probe finds to work
    #[default]
    Auto,
    /// Mount and, where needed, user namespaces
    Namespace,
    /// The container's own root directory, set aside and put back
    Inplace,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Colours where the terminal has them
    #[default]
    Color,
    /// Plain text
    Text,
    /// One JSON object a line
    Json,
}

/// How much the log says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Verbosity {
    /// Nothing but the final error
    Panic,
    /// As panic
    Fatal,
    /// Errors
    Error,
    /// Errors and warnings
    Warn,
    /// A line for every step
    #[default]
    Info,
    /// What the builder does inside
    Debug,
    /// Everything
    Trace,
}

/// How changes are told apart after a RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum SnapshotModeFlag {
    /// Exact
    #[default]
    Full,
    /// Exact, as full
    Redo,
    /// By modification time only
    Time,
}

/// The network of RUN steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NetworkFlag {
    /// The builder's own
    Default,
    /// A loopback interface only
    None,
    /// The builder's own
    Host,
}

/// The compression of new layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CompressionFlag {
    /// gzip (RFC 1952)
    Gzip,
    /// Zstandard (RFC 8878)
    Zstd,
}

/// The family of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatFlag {
    /// The OCI image specification
    Oci,
    /// Docker's image manifest, version 2, schema 2
    Docker,
}

/// The flags of `longshore build`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is typed"
)]
pub(super) struct BuildArgs {
    /// The Dockerfile: a path, looked up in the working directory first, then in the context; `-` for standard input; or an
    /// http or https URL
    #[arg(
        short = 'f',
        long,
        visible_alias = "file",
        value_name = "PATH",
        default_value = "Dockerfile",
        help_heading = "Input"
    )]
    pub dockerfile: PathBuf,
    /// The build context: a directory, `dir://DIR`, `tar://FILE`, `tar://stdin`, `-` for an archive or a Dockerfile on standard input, or an archive at a URL, `https://HOST/PATH[#sha256:DIGITS]`, or in a bucket: `s3://BUCKET/KEY`, `gs://BUCKET/OBJECT`, `https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB`; or a git repository: `git://HOST/PATH[#REFERENCE[#COMMIT]]`, `https://HOST/PATH.git[#REFERENCE[:DIR]]`, `ssh://USER@HOST/PATH`, `USER@HOST:PATH` [default: .; as executor: /workspace]
    #[arg(short = 'c', long, value_name = "URL", help_heading = "Input")]
    pub context: Option<String>,
    /// The most that an archive with a context may unpack to, in bytes or with k, m or g
    #[arg(long, value_name = "SIZE", default_value = "100g", value_parser = size, help_heading = "Input")]
    pub context_limit: u64,
    /// A bucket whose `context.tar.gz` is the context; of Google's, unless it has a scheme
    #[arg(
        short = 'b',
        long,
        value_name = "BUCKET",
        conflicts_with = "context_directory",
        hide = true,
        help_heading = "Input"
    )]
    pub bucket: Option<String>,
    /// The directory of the context to use as its root
    #[arg(long, value_name = "PATH", help_heading = "Input")]
    pub context_sub_path: Option<PathBuf>,
    /// How a git context is fetched: `branch=NAME`, `recurse-submodules=BOOL`, `depth=COMMITS` (0 for all), `insecure-skip-tls=BOOL`, `keep-git-dir=BOOL`, `single-branch=BOOL` (nothing else is ever fetched); may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Input")]
    pub git: Vec<String>,
    /// A build argument; NAME alone takes its value from the environment
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Input")]
    pub build_arg: Vec<String>,
    /// Several build arguments, up to a `;` of its own: for CI systems that spell lists out
    #[arg(long = "build-args", value_name = "NAME[=VALUE]", num_args = 0.., value_terminator = ";", allow_hyphen_values = true, help_heading = "Input")]
    pub listed_build_arg: Vec<String>,
    /// What stands for a name in FROM, COPY --from and RUN --mount=from=, or for a stage: a context as of --context,
    /// docker-image://IMAGE or oci-layout://DIR[:TAG][@DIGEST]
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Input")]
    pub build_context: Vec<String>,
    /// The stage to build [default: the last]
    #[arg(long, value_name = "STAGE", help_heading = "Input")]
    pub target: Option<String>,
    /// The platform to build for, os/architecture[/variant] [default: this machine's]
    #[arg(
        long,
        visible_alias = "platform",
        alias = "customPlatform",
        value_name = "PLATFORM",
        help_heading = "Input"
    )]
    pub custom_platform: Option<String>,
    /// The directory to build in, as a positional argument in docker's manner
    #[arg(
        value_name = "CONTEXT",
        conflicts_with = "context",
        help_heading = "Input"
    )]
    pub context_directory: Option<String>,

    /// An image reference to push to; may be repeated
    #[arg(
        short = 'd',
        long,
        visible_alias = "tag",
        short_alias = 't',
        value_name = "REFERENCE",
        help_heading = "Output"
    )]
    pub destination: Vec<String>,
    /// Do not push the image
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Output")]
    pub no_push: Option<bool>,
    /// Write a tar that `docker load` reads
    #[arg(long, alias = "tarPath", value_name = "FILE", help_heading = "Output")]
    pub tar_path: Option<PathBuf>,
    /// Write an OCI image layout
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub oci_layout_path: Option<PathBuf>,
    /// Files that tell what was made.
    #[command(flatten)]
    pub reports: ReportArgs,
    /// A label of the image; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Output")]
    pub label: Vec<String>,
    /// An annotation of the image's manifest; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Output")]
    pub annotation: Vec<String>,
    /// The family of media types [default: oci]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Output")]
    pub image_format: Option<FormatFlag>,
    /// The compression of new layers [default: gzip]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Output")]
    pub compression: Option<CompressionFlag>,
    /// The level of compression: gzip 1 to 9, zstd 1 to 22 [default: gzip 6, zstd 3]
    #[arg(
        long,
        value_name = "LEVEL",
        allow_negative_numbers = true,
        help_heading = "Output"
    )]
    pub compression_level: Option<i32>,
    /// One layer for each stage instead of one for each step
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Output")]
    pub single_snapshot: bool,
    /// Make the same image again from the same input: it carries SOURCE_DATE_EPOCH, else the time of a git context's commit, else 1970, and
    /// no file of a new layer is newer
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Output")]
    pub reproducible: bool,

    /// How registries are reached.
    #[command(flatten)]
    pub registries: RegistryArgs,
    /// How often a failed download of a base image is tried again as a whole
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Registries"
    )]
    pub image_download_retry: u32,
    /// How often a failed download of a base image's layer is tried again as a whole, where that is more
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Registries"
    )]
    pub image_fs_extract_retry: u32,
    /// The push as a whole.
    #[command(flatten)]
    pub send: SendArgs,

    /// A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=VARIABLE; may be repeated
    #[arg(long, value_name = "SPEC", help_heading = "RUN steps")]
    pub secret: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh: default, ID or ID=SOCKET; may be repeated
    #[arg(long, value_name = "ID[=SOCKET]", help_heading = "RUN steps")]
    pub ssh: Vec<String>,
    /// Allow RUN --security=insecure (security.insecure); network.host is always allowed
    #[arg(long, value_name = "NAME", help_heading = "RUN steps")]
    pub allow: Vec<String>,
    /// The network of RUN steps that name none
    #[arg(long, value_enum, value_name = "NETWORK", help_heading = "RUN steps")]
    pub network: Option<NetworkFlag>,

    /// Where credentials come from.
    #[command(flatten)]
    pub credentials: CredentialArgs,

    /// The flags of the cache.
    #[command(flatten)]
    pub caching: CacheArgs,

    /// How RUN steps are isolated
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Build")]
    pub isolation: Option<IsolationFlag>,
    /// Build in place although this is not longshore's own image
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub force: bool,
    /// Where layers and work directories are kept
    #[arg(
        long,
        visible_alias = "kaniko-dir",
        value_name = "DIR",
        help_heading = "Build"
    )]
    pub state_dir: Option<PathBuf>,
    /// How changes are told apart after a RUN
    #[arg(
        long,
        alias = "snapshotMode",
        value_enum,
        value_name = "MODE",
        help_heading = "Build"
    )]
    pub snapshot_mode: Option<SnapshotModeFlag>,
    /// A path that never gets into a layer; may be repeated
    #[arg(long, value_name = "PATH", help_heading = "Build")]
    pub ignore_path: Vec<String>,
    /// Keep /var/run out of layers, too; kaniko does so unless told otherwise
    #[arg(long, alias = "whitelist-var-run", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Build")]
    pub ignore_var_run: bool,
    /// What is always done.
    #[command(flatten)]
    pub accepted: AcceptedArgs,
    /// The number of threads for compression and scans [default: the processors there are]
    #[arg(long, value_name = "N", help_heading = "Build")]
    pub jobs: Option<NonZeroUsize>,

    /// The flags that have to do with the CI system.
    #[command(flatten)]
    pub ci: CiArgs,

    /// The flags of the log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The flags of the log.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LogArgs {
    /// How much the log says
    #[arg(
        short = 'v',
        long,
        value_enum,
        value_name = "LEVEL",
        help_heading = "Log"
    )]
    pub verbosity: Option<Verbosity>,
    /// How the log is written
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Log")]
    pub log_format: Option<LogFormat>,
    /// Put the time before every line
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL", help_heading = "Log")]
    pub log_timestamp: Option<bool>,
}

impl std::fmt::Debug for CredentialArgs {
    /// What was typed for a registry may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialArgs")
            .field("credential_helpers", &self.credential_helpers)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LoginArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginArgs")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// Flags of kaniko that are known and not supported, with what to do instead.
pub(super) const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "materialize",
        "nothing of a build stays at /: write the image with --tar-path or --oci-layout-path",
    ),
    (
        "dryrun",
        "`longshore check` looks for mistakes without a build, `longshore debug plan` prints the steps",
    ),
];

/// What Go's `ParseBool` takes, as kaniko does.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number of bytes, or of what a letter says.
fn size(text: &str) -> Result<u64, &'static str> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return Err("expected a number of bytes, such as 500m or 2g"),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << unit))
        .ok_or("expected a number of bytes, such as 500m or 2g")
}

/// The value of a switch, which is true when none is typed.
pub(super) fn switch(text: &str) -> Result<bool, &'static str> {
    parse_bool(text).ok_or("expected true or false")
}

/// Whether `argument` switches off what is off without it.
pub(super) fn is_unsupported_switched_off(argument: &str) -> bool {
    let switch = argument
        .strip_prefix("--")
        .and_then(|rest| rest.split_once('='));
    switch.is_some_and(|(name, value)| {
        UNSUPPORTED.iter().any(|(flag, _)| *flag == name) && parse_bool(value) == Some(false)
    })
}

/// What to do instead of the unsupported flag that `argument` is, if it is one.
pub(super) fn unsupported(argument: &str) -> Option<(&'static str, &'static str)> {
    let name = argument.strip_prefix("--")?;
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    UNSUPPORTED.iter().copied().find(|(flag, _)| *flag == name)
}
