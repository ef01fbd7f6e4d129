//! How registries are reached: the flags that all commands share which speak to one, and what they mean.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use crate::http::{HostTls, HttpConfig, Proxies};
use crate::registry::RegistryOptions;

use super::UsageError;
use super::env::Env;
use super::flags::switch;

/// Where docker and podman look for the certificates of single hosts.
const CERTS_DIRS: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Where kaniko's users put certificate authorities.
const KANIKO_CERTS: &str = "/kaniko/ssl/certs";

/// The flags of reaching registries.
#[derive(Clone, Debug, Default, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch that is typed"
)]
pub(super) struct RegistryArgs {
    /// Push over plain HTTP
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub insecure: bool,
    /// Pull over plain HTTP
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub insecure_pull: bool,
    /// A registry to speak plain HTTP with; may be repeated
    #[arg(long, value_name = "HOST", help_heading = "Registries")]
    pub insecure_registry: Vec<String>,
    /// Do not verify certificates when pushing or pulling
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub skip_tls_verify: bool,
    /// Do not verify certificates when pulling
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub skip_tls_verify_pull: bool,
    /// A registry whose certificate is not verified; may be repeated
    #[arg(long, value_name = "HOST", help_heading = "Registries")]
    pub skip_tls_verify_registry: Vec<String>,
    /// A certificate authority (PEM) to trust for one registry; may be repeated
    #[arg(long, value_name = "HOST=FILE", help_heading = "Registries")]
    pub registry_certificate: Vec<String>,
    /// A certificate and its key (PEM) to identify with to one registry; may be repeated
    #[arg(long, value_name = "HOST=CERT,KEY", help_heading = "Registries")]
    pub registry_client_cert: Vec<String>,
    /// Where to pull the images of a registry from instead; several with `;` between them; may be repeated
    #[arg(long, value_name = "REGISTRY=HOST[/PATH]", help_heading = "Registries")]
    pub registry_map: Vec<String>,
    /// A mirror to pull Docker Hub's images from; may be repeated
    #[arg(long, value_name = "HOST[/PATH]", help_heading = "Registries")]
    pub registry_mirror: Vec<String>,
    /// Do not fall back to a registry that has a map or mirror
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = switch, value_name = "BOOL", help_heading = "Registries")]
    pub skip_default_registry_fallback: bool,
}

/// Makes the settings of the registry client.
pub(super) fn options(args: &RegistryArgs, env: &Env) -> Result<RegistryOptions, UsageError> {
    let mut options = RegistryOptions {
        insecure: args.insecure,
        insecure_pull: args.insecure_pull,
        insecure_registries: args.insecure_registry.iter().cloned().collect(),
        skip_tls_verify: args.skip_tls_verify,
        skip_tls_verify_pull: args.skip_tls_verify_pull,
        skip_tls_verify_registries: args.skip_tls_verify_registry.iter().cloned().collect(),
        ..RegistryOptions::default()
    };
    for text in &args.registry_certificate {
        let flag = "--registry-certificate";
        let (host, file) = of_host(flag, text, "HOST=FILE")?;
        let file = existing(flag, file)?;
        options.certificates.entry(host).or_default().push(file);
    }
    for text in &args.registry_client_cert {
        let flag = "--registry-client-cert";
        let form = "HOST=CERT,KEY";
        let (host, files) = of_host(flag, text, form)?;
        let (chain, key) = files.split_once(',').ok_or_else(|| {
            UsageError::flag(flag, format_args!("\"{text}\" is not of the form {form}"))
        })?;
        let pair = (existing(flag, chain)?, existing(flag, key)?);
        options.client_certificates.insert(host, pair);
    }
    mirrors(&mut options, args, env)?;
    Ok(options)
}

/// Reads maps and mirrors: flags first, then the variable; maps before mirrors.
fn mirrors(
    options: &mut RegistryOptions,
    args: &RegistryArgs,
    env: &Env,
) -> Result<(), UsageError> {
    let variable = |names: [&'static str; 2]| {
        names
            .into_iter()
            .find_map(|name| Some((name, env.text(name)?)))
    };
    let mirrors = &mut options.mirrors;
    mirrors.is_exclusive = args.skip_default_registry_fallback;
    for text in &args.registry_map {
        mirrors
            .add_map(text)
            .map_err(|error| UsageError::flag("--registry-map", error))?;
    }
    if let Some((name, text)) = variable(["LONGSHORE_REGISTRY_MAP", "KANIKO_REGISTRY_MAP"]) {
        mirrors
            .add_map(text)
            .map_err(|error| UsageError::flag(name, error))?;
    }
    for text in &args.registry_mirror {
        mirrors
            .add_hub(text)
            .map_err(|error| UsageError::flag("--registry-mirror", error))?;
    }
    if let Some((name, text)) = variable(["LONGSHORE_REGISTRY_MIRROR", "KANIKO_REGISTRY_MIRROR"]) {
        for text in text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            mirrors
                .add_hub(text)
                .map_err(|error| UsageError::flag(name, error))?;
        }
    }
    Ok(())
}

fn of_host<'a>(
    flag: &'static str,
    text: &'a str,
    form: &str,
) -> Result<(String, &'a str), UsageError> {
    match text.split_once('=') {
        Some((host, rest)) if !host.is_empty() => Ok((host.to_owned(), rest)),
        Some(_) | None => Err(UsageError::flag(
            flag,
            format_args!("\"{text}\" is not of the form {form}"),
        )),
    }
}

fn existing(flag: &'static str, file: &str) -> Result<PathBuf, UsageError> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
    if file.is_file() {
        return Ok(file);
    }
    Err(UsageError::flag(
        flag,
        format_args!("{} is not a file", file.display()),
    ))
}

/// Makes the settings of the HTTP clients.
pub(super) fn http_config(
    env: &Env,
    registry: &RegistryOptions,
    seed: u64,
) -> Result<HttpConfig, UsageError> {
    let either = |upper: &str| {
        env.text(&upper.to_ascii_lowercase())
            .or_else(|| env.text(upper))
    };
    let proxies = Proxies::new(
        either("HTTP_PROXY"),
        either("HTTPS_PROXY"),
        either("NO_PROXY"),
    )
    .map_err(|error| UsageError::flag("HTTP_PROXY, HTTPS_PROXY or NO_PROXY", error))?;
    let mut http = HttpConfig {
        proxies,
        hosts: registry.host_tls(),
        jitter_seed: seed,
        ..HttpConfig::default()
    };
    for dir in CERTS_DIRS {
        for (host, found) in certs_of_hosts(Path::new(dir)) {
            let known = http.hosts.entry(host).or_default();
            known.ca_files.extend(found.ca_files);
            // What was typed wins over what lies there.
            known.client_cert = known.client_cert.take().or(found.client_cert);
        }
    }
    let file = env.os("SSL_CERT_FILE").map(PathBuf::from);
    let dirs = env
        .os("SSL_CERT_DIR")
        .map(|dirs| std::env::split_paths(dirs).collect::<Vec<_>>())
        .unwrap_or_default();
    if file.is_some() || !dirs.is_empty() {
        http.ca_files = file.into_iter().collect();
    }
    let kaniko = [PathBuf::from(KANIKO_CERTS)];
    for dir in dirs.iter().chain(&kaniko) {
        // As in Go, every file of the directory counts, whatever its name; a directory that is not there is empty.
        http.ca_files.extend(files_of(dir));
    }
    http.ca_files.sort();
    http.ca_files.dedup();
    Ok(http)
}

/// Reads docker's directory of certificates: below it one directory for each host, with authorities in `*.crt` and a
/// certificate of ours in `NAME.cert` with its key in `NAME.key`. What cannot be opened is passed over, as it may be
/// another user's.
fn certs_of_hosts(dir: &Path) -> Vec<(String, HostTls)> {
    let mut found = Vec::new();
    for host_dir in entries_of(dir).into_iter().filter(|path| path.is_dir()) {
        let Some(host) = host_dir.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let mut tls = HostTls::default();
        for file in files_of(&host_dir) {
            if std::fs::File::open(&file).is_err() {
                continue;
            }
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => tls.ca_files.push(file),
                Some("cert") if tls.client_cert.is_none() => {
                    let key = file.with_extension("key");
                    if std::fs::File::open(&key).is_ok() {
                        tls.client_cert = Some((file, key));
                    }
                }
                _ => {}
            }
        }
        if tls != HostTls::default() {
            found.push((crate::registry::dialled(host), tls));
        }
    }
    found
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files = entries_of(dir);
    files.retain(|path| path.is_file());
    files
}

/// The entries of a directory in order; one that is not there has none.
fn entries_of(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::new(
            variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        )
    }

    #[test]
    fn certificates_of_hosts_are_found_as_docker_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            path
        };
        let ca = put("a.io:5000/ca.crt");
        let cert = put("a.io:5000/client.cert");
        let key = put("a.io:5000/client.key");
        put("a.io:5000/README");
        put("b.io/client.cert");
        let hub = put("docker.io/ca.crt");
        put("stray.crt");
        let found = certs_of_hosts(dir.path());
        assert_eq!(
            found,
            [
                (
                    "a.io:5000".to_owned(),
                    HostTls {
                        ca_files: vec![ca],
                        client_cert: Some((cert, key)),
                        ..HostTls::default()
                    }
                ),
                (
                    "registry-1.docker.io".to_owned(),
                    HostTls {
                        ca_files: vec![hub],
                        ..HostTls::default()
                    }
                ),
            ]
        );
        assert_eq!(certs_of_hosts(Path::new("/nonexistent")), []);
    }

    #[test]
    fn maps_come_from_flags_and_one_variable() {
        let args = RegistryArgs {
            registry_map: vec!["a.io=one.io;b.io=two.io/x".to_owned()],
            registry_mirror: vec!["m.io".to_owned()],
            ..RegistryArgs::default()
        };
        let variables = [
            ("LONGSHORE_REGISTRY_MAP", "a.io=three.io"),
            ("KANIKO_REGISTRY_MAP", "not read"),
            ("KANIKO_REGISTRY_MIRROR", "n.io/hub, o.io"),
        ];
        let found = options(&args, &env(&variables)).unwrap().mirrors;
        let mut expect = crate::registry::Mirrors::default();
        for map in ["a.io=one.io", "b.io=two.io/x", "a.io=three.io"] {
            expect.add_map(map).unwrap();
        }
        for mirror in ["m.io", "n.io/hub", "o.io"] {
            expect.add_hub(mirror).unwrap();
        }
        assert_eq!(found, expect);
        let bad = [("KANIKO_REGISTRY_MIRROR", "https://m.io")];
        let error = options(&RegistryArgs::default(), &env(&bad)).unwrap_err();
        assert!(
            error.to_string().contains("KANIKO_REGISTRY_MIRROR"),
            "{error}"
        );
    }
}
