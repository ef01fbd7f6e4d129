//! What was typed and the environment, to what the engine is asked to do.
//!
//! Flags win over `LONGSHORE_*`, that over `KANIKO_*`, that over the built-in. Everything is checked here, before the
//! build begins: a wrong reference must not cost an hour.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::auth::Files;
use crate::build::{CacheOptions, LayerOptions, Outputs, Request, SnapshotOptions};
use crate::context::{DockerfileSource, Layout, Source, SourceError};
use crate::oci::{Compression, Platform, Reference};
use crate::output::Format;
use crate::plan::MULTI_PLATFORM;

use super::UsageError;
use super::cache;
use super::contexts;
use super::env::Env;
use super::flags::{BuildArgs, CompressionFlag, FormatFlag, SnapshotModeFlag, parse_bool};
use super::{registries, run_flags};

/// The directory of our own image in which the state is, a volume.
const IMAGE_STATE: &str = "/longshore/state";
/// The file that only our own image has.
pub(super) const IMAGE_MARKER: &str = "/longshore/image-marker";
/// Where the state is for root elsewhere.
const ROOT_STATE: &str = "/var/lib/longshore";

/// What the process edge knows and the engine does not look up.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The environment.
    pub(super) env: Env,
    /// Whether the program was called by kaniko's name.
    pub(super) is_executor: bool,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// A number that differs between processes.
    pub(super) seed: u64,
    /// How many processors there are.
    pub(super) processors: usize,
}

/// Makes the request out of flags and environment.
pub(super) fn resolve(args: &BuildArgs, around: &Surroundings) -> Result<Request, UsageError> {
    let env = &around.env;
    let registry = registries::options(&args.registries, env)?;
    let http = registries::http_config(env, &registry, around.seed)?;
    let plain_http = &registry.insecure_registries;
    let files = Files::default();
    let keychain = Arc::new(super::keychain::chain(
        &args.credentials,
        env,
        &http,
        plain_http,
        &files,
    )?);
    let stores = super::keychain::stores(&args.credentials, env, &http, &files)?;
    let (caching, mounts) = cache::options(args, around, &http, &files)?;
    let snapshot = SnapshotOptions {
        by_time_only: args.snapshot_mode == Some(SnapshotModeFlag::Time),
        ignored: ignored(args),
    };
    let mut build_args = pairs_of(
        &[&args.build_arg[..], &args.listed_build_arg[..]].concat(),
        env,
    )?;
    let asks_for_index = build_args
        .iter()
        .rev()
        .find(|(name, _)| name == MULTI_PLATFORM)
        .is_some_and(|(_, value)| parse_bool(value) == Some(true));
    if asks_for_index {
        return Err(UsageError::flag(
            "--build-arg",
            format_args!(
                "{MULTI_PLATFORM} asks for an index of images: make one with `longshore index create`"
            ),
        ));
    }
    let epoch = epoch(&mut build_args, env)?;
    let mut context = context(args, around)?;
    let secrets = run_flags::secrets(&args.secret, env)?;
    super::git::settle(&mut context, &args.git, &build_args, env)?;
    let dockerfile = DockerfileSource::parse(args.dockerfile.clone())
        .map_err(|error| UsageError::flag("--dockerfile", error))?;
    let is_stdin = [
        dockerfile == DockerfileSource::Stdin,
        matches!(context, Source::Stdin | Source::Dash),
    ];
    if is_stdin == [true, true] {
        return Err(UsageError::flag(
            "--dockerfile=-",
            "standard input is the context already",
        ));
    }
    let is_stdin = is_stdin.contains(&true);
    let contexts = contexts::contexts(&args.build_context, is_stdin, &build_args, env)?;
    Ok(Request {
        git: super::git::access(&context, &secrets, env)?,
        context,
        context_sub_path: args.context_sub_path.clone(),
        context_limit: args.context_limit,
        contexts,
        dockerfile,
        build_args,
        // CI systems pass an empty text for what nobody set.
        target: args.target.clone().filter(|target| !target.is_empty()),
        platform: match &args.custom_platform {
            Some(text) => text
                .parse::<Platform>()
                .map_err(|error| UsageError::flag("--custom-platform", error))?,
            None => Platform::host(),
        },
        is_platform_explicit: args.custom_platform.is_some(),
        labels: args
            .label
            .iter()
            .map(|text| pair("--label", text))
            .collect::<Result<_, _>>()?,
        outputs: outputs(args, env)?,
        layers: LayerOptions {
            newest_secs: args.reproducible.then(|| epoch.unwrap_or(0)),
            is_dated_by_commit: args.reproducible && epoch.is_none(),
            ..layer_options(args)?
        },
        snapshot,
        http,
        registry,
        stores,
        keychain,
        files,
        download_retries: args.image_download_retry,
        extract_retries: args.image_fs_extract_retry,
        push_retries: args.send.push_retry,
        checks_push: !args.send.skip_push_permission_check,
        state_dir: state_dir(args.state_dir.as_deref(), env)?,
        hosts: std::fs::read_to_string("/etc/hosts").ok(),
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").ok(),
        secrets,
        agents: run_flags::agents(&args.ssh, env)?,
        network: run_flags::network(args.network),
        allows_insecure: run_flags::allows_insecure(&args.allow)?,
        created: epoch.unwrap_or(if args.reproducible { 0 } else { around.now }),
        mounts,
        cache: CacheOptions {
            is_created_explicit: args.reproducible || epoch.is_some(),
            ..caching
        },
        warm: cache::warm(args, around.now)?,
        threads: args.jobs.map_or(around.processors, NonZeroUsize::get),
    })
}

/// The time that the image is to carry. The variable is a build argument too, as with buildx, and a build argument of that name
/// says the time.
fn epoch(build_args: &mut Vec<(String, String)>, env: &Env) -> Result<Option<i64>, UsageError> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    if !build_args.iter().any(|(name, _)| name == NAME)
        && let Some(text) = env.text(NAME)
    {
        build_args.push((NAME.to_owned(), text.to_owned()));
    }
    let text = build_args.iter().rev().find(|(name, _)| name == NAME);
    text.map(|(_, text)| text.trim())
        .filter(|text| !text.is_empty())
        .map(|text| {
            text.parse()
                .map_err(|_| UsageError::variable(NAME, text, "seconds since 1970"))
        })
        .transpose()
}

/// Where layers and work directories are kept.
pub(super) fn state_dir(flag: Option<&Path>, env: &Env) -> Result<PathBuf, UsageError> {
    if let Some(path) = flag {
        return Ok(absolute(path));
    }
    if let Some(path) = env
        .os("LONGSHORE_STATE_DIR")
        .or_else(|| env.os("KANIKO_DIR"))
    {
        return Ok(absolute(Path::new(path)));
    }
    if Path::new(IMAGE_MARKER).exists() {
        return Ok(IMAGE_STATE.into());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(ROOT_STATE.into());
    }
    if let Some(path) = env.os("XDG_STATE_HOME") {
        return Ok(absolute(&Path::new(path).join("longshore")));
    }
    match env.os("HOME") {
        Some(home) => Ok(absolute(&Path::new(home).join(".local/state/longshore"))),
        None => Err(UsageError::NoStateDir),
    }
}

/// A path that does not depend on the working directory any more.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// What must stay where it is while an in-place build uses `/`: the directory that files are copied from, and caches.
pub(super) fn keep(args: &BuildArgs, is_executor: bool) -> Vec<PathBuf> {
    let mut keep = cache::directories(args);
    match source(&context_text(args, is_executor)) {
        Ok(Source::Directory(path)) => keep.push(absolute(&path)),
        Ok(
            Source::Archive(_)
            | Source::Stdin
            | Source::Dash
            | Source::Object(_)
            | Source::Web(_)
            | Source::Layout(_)
            | Source::Git(_),
        )
        | Err(_) => {}
    }
    keep.extend(contexts::directories(&args.build_context));
    // The root itself cannot be kept; what a mistake is, is told when the context is opened.
    keep.retain(|path| path != Path::new("/"));
    keep
}

pub(super) fn context_text(args: &BuildArgs, is_executor: bool) -> Cow<'_, str> {
    // As in kaniko, a context without a name leaves the bucket.
    let context = args.context.as_ref();
    let context = context.filter(|text| !text.is_empty() || args.bucket.is_none());
    match (context, &args.context_directory, &args.bucket) {
        (Some(text), _, _) | (None, Some(text), _) => text.into(),
        (None, None, Some(bucket)) if bucket.contains("://") => bucket.into(),
        (None, None, Some(bucket)) => format!("gs://{bucket}").into(),
        (None, None, None) if is_executor => "/workspace".into(),
        (None, None, None) => ".".into(),
    }
}

fn context(args: &BuildArgs, around: &Surroundings) -> Result<Source, UsageError> {
    if args.bucket.is_some() && args.context.as_ref().is_some_and(|text| !text.is_empty()) {
        let reason =
            "it stands for the context, and --context names another: leave one of them out";
        return Err(UsageError::flag("--bucket", reason));
    }
    let source = source(&context_text(args, around.is_executor))
        .map_err(|error| UsageError::flag("--context", error))?;
    Ok(match source {
        Source::Directory(path) => Source::Directory(absolute(&path)),
        Source::Archive(path) => Source::Archive(absolute(&path)),
        Source::Layout(layout) => Source::Layout(Layout {
            path: absolute(&layout.path),
            ..layout
        }),
        Source::Stdin | Source::Dash | Source::Object(_) | Source::Web(_) | Source::Git(_) => {
            source
        }
    })
}

/// What a text names; a directory that is there is one, even if its name could be that of a repository.
pub(super) fn source(text: &str) -> Result<Source, SourceError> {
    if !text.contains("://") && Path::new(text).is_dir() {
        return Ok(Source::Directory(text.into()));
    }
    Source::parse(text)
}

/// Build arguments; a name alone takes its value from the environment.
pub(super) fn pairs_of(
    build_args: &[String],
    env: &Env,
) -> Result<Vec<(String, String)>, UsageError> {
    build_args
        .iter()
        .map(|text| match text.split_once('=') {
            Some(("", _)) => Err(UsageError::flag(
                "--build-arg",
                format_args!("\"{text}\" has no name: write NAME=VALUE"),
            )),
            Some((name, value)) => Ok(Some((name.to_owned(), value.to_owned()))),
            None => Ok(env.text(text).map(|value| (text.clone(), value.to_owned()))),
        })
        .filter_map(Result::transpose)
        .collect()
}

fn pair(flag: &'static str, text: &str) -> Result<(String, String), UsageError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(UsageError::flag(
            flag,
            format_args!("\"{text}\" is not of the form NAME=VALUE"),
        )),
    }
}

/// The paths that are kept out of layers.
fn ignored(args: &BuildArgs) -> Vec<String> {
    let var_run = args.ignore_var_run.then(|| "/var/run".to_owned());
    args.ignore_path.iter().cloned().chain(var_run).collect()
}

fn outputs(args: &BuildArgs, env: &Env) -> Result<Outputs, UsageError> {
    let destinations = args
        .destination
        .iter()
        .map(|text| destination("--destination", text))
        .collect::<Result<Vec<_>, _>>()?;
    let no_push = match args.no_push {
        Some(no_push) => no_push,
        None => ["LONGSHORE_NO_PUSH", "KANIKO_NO_PUSH"]
            .into_iter()
            .find_map(|name| Some((name, env.text(name)?)))
            .map_or(Ok(false), |(name, text)| {
                let expected = "true or false";
                parse_bool(text).ok_or_else(|| UsageError::variable(name, text, expected))
            })?,
    };
    let reports = args.reports.reports(!destinations.is_empty())?;
    let format = format(args.image_format);
    if format == Format::Docker {
        let reason = "has no place in docker's format: use --image-format=oci";
        if args.compression == Some(CompressionFlag::Zstd) {
            return Err(UsageError::flag("--compression=zstd", reason));
        }
        if !args.annotation.is_empty() {
            return Err(UsageError::flag("--annotation", reason));
        }
    }
    let mut outputs = Outputs {
        pushes: !no_push && !destinations.is_empty(),
        ignores_immutable_tags: args.send.push_ignore_immutable_tag_errors,
        labels_revision: args.ci.ci_labels.unwrap_or(true),
        format,
        annotations: annotations(&args.annotation)?,
        destinations,
        tar_path: args.tar_path.as_deref().map(absolute),
        oci_layout_path: args.oci_layout_path.as_deref().map(absolute),
        reports,
    };
    let goes_nowhere = outputs.destinations.is_empty()
        && outputs.tar_path.is_none()
        && outputs.oci_layout_path.is_none()
        && !no_push;
    if goes_nowhere {
        outputs.oci_layout_path = Some(absolute(Path::new(DEFAULT_LAYOUT)));
    }
    Ok(outputs)
}

/// Reads a reference to push to.
pub(super) fn destination(flag: &'static str, text: &str) -> Result<Reference, UsageError> {
    let reference: Reference = text
        .parse()
        .map_err(|error| UsageError::flag(flag, error))?;
    match reference.digest() {
        Some(_) => Err(UsageError::flag(
            flag,
            format_args!("\"{text}\" has a digest: an image is pushed to a tag"),
        )),
        None => Ok(reference),
    }
}

/// The family of media types; OCI's if nobody said.
pub(super) fn format(flag: Option<FormatFlag>) -> Format {
    match flag {
        Some(FormatFlag::Docker) => Format::Docker,
        Some(FormatFlag::Oci) | None => Format::Oci,
    }
}

/// Reads annotations; the last of a name counts.
pub(super) fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    texts
        .iter()
        .map(|text| pair("--annotation", text))
        .collect()
}

/// Where the image goes if nobody said.
const DEFAULT_LAYOUT: &str = "image.oci";

fn layer_options(args: &BuildArgs) -> Result<LayerOptions, UsageError> {
    let compression = match args.compression {
        Some(CompressionFlag::Gzip) | None => Compression::Gzip,
        Some(CompressionFlag::Zstd) => Compression::Zstd,
    };
    let highest = match compression {
        Compression::Zstd => 22,
        Compression::Gzip | Compression::None => 9,
    };
    // kaniko's -1 means the default.
    let level = args.compression_level.filter(|level| *level != -1);
    if let Some(level) = level.filter(|level| !(1..=highest).contains(level)) {
        return Err(UsageError::flag(
            "--compression-level",
            format_args!("{level} is not between 1 and {highest}"),
        ));
    }
    Ok(LayerOptions {
        compression,
        level,
        single: args.single_snapshot,
        ..LayerOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::flags::Executor;

    fn request(args: &[&str], env: &[(&str, &str)]) -> Result<Request, UsageError> {
        let args = Executor::try_parse_from(["executor"].iter().chain(args)).unwrap();
        let mut env: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        env.push(("HOME".into(), "/nonexistent".into()));
        let around = Surroundings {
            env: Env::new(env),
            is_executor: true,
            now: 7,
            seed: 0,
            processors: 2,
        };
        resolve(&args.build, &around)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let variables = [
            ("LONGSHORE_STATE_DIR", "/a"),
            ("KANIKO_DIR", "/b"),
            ("KANIKO_NO_PUSH", "true"),
        ];
        let asked = request(&["-d", "x.io/y"], &variables).unwrap();
        assert_eq!(
            (asked.state_dir.to_str(), asked.outputs.pushes),
            (Some("/a"), false)
        );
        let asked = request(
            &["-d", "x.io/y", "--state-dir=/c", "--no-push=false"],
            &variables,
        )
        .unwrap();
        assert_eq!(
            (asked.state_dir.to_str(), asked.outputs.pushes),
            (Some("/c"), true)
        );
        let asked = request(&[], &[("SOURCE_DATE_EPOCH", "5"), ("KANIKO_DIR", "/b")]).unwrap();
        assert_eq!((asked.created, asked.state_dir.to_str()), (5, Some("/b")));
    }

    #[test]
    fn an_image_that_goes_nowhere_goes_to_a_layout() {
        let layout = |args: &[&str]| request(args, &[]).unwrap().outputs.oci_layout_path;
        assert!(layout(&[]).is_some_and(|path| path.ends_with(DEFAULT_LAYOUT)));
        assert_eq!(layout(&["--no-push"]), None);
        assert_eq!(layout(&["-d", "x.io/y"]), None);
        assert_eq!(layout(&["--tar-path", "x.tar"]), None);
    }

    #[test]
    fn build_arguments_without_a_value_come_from_the_environment() {
        let asked = request(
            &["--build-arg=A", "--build-arg=B=2", "--build-arg=C"],
            &[("A", "1")],
        )
        .unwrap();
        assert_eq!(
            asked.build_args,
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "2".to_owned())
            ]
        );
    }

    #[test]
    fn a_list_of_build_arguments_ends_at_a_semicolon() {
        let spelled = ["--build-args", "A=1", "--destination=x", ";", "--target="];
        let asked = request(&spelled, &[]).unwrap();
        assert_eq!(
            asked.build_args,
            [
                ("A".to_owned(), "1".to_owned()),
                ("--destination".to_owned(), "x".to_owned())
            ]
        );
        assert!(asked.outputs.destinations.is_empty());
        assert_eq!(asked.target, None);
        assert!(
            request(&["--build-args", ";"], &[])
                .unwrap()
                .build_args
                .is_empty()
        );
    }

    #[test]
    fn mistakes_are_told_before_the_build() {
        for args in [
            &["-d", "Upper"][..],
            &[
                "-d",
                "x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ],
            &["-c", "s3:///key"],
            &["--label", "x"],
            &["--build-arg", "=x"],
            &["--compression-level", "10"],
            &["--custom-platform", "x"],
            &["--image-name-with-digest-file", "f"],
            &["--digest-file", "s3://bucket/d"],
            &["--registry-certificate", "h=/nonexistent"],
        ] {
            assert!(request(args, &[]).is_err(), "{args:?}");
        }
        assert!(request(&[], &[("KANIKO_NO_PUSH", "maybe")]).is_err());
    }
}
