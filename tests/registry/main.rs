//! The registry room against registries: one inside the test with scripted faults, and the real docker-registry.

mod auth;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod buckets;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod caches;
mod faults;
mod leaks;
mod output;
mod pull;
mod push;
mod real;
mod referrers;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longshore::auth::{Credential, CredentialKind, Fixed};
use longshore::http::{Http, HttpConfig, RetryPolicy, Secret};
use longshore::oci::{
    Compression, Descriptor, Digest, ImageConfig, Index, MediaType, Platform, Reference,
};
use longshore::output::{
    Assembly, Format, Image, ImageLayer, LayerSource, Output, Reports, assemble, publish,
    remote_layers, write_reports,
};
use longshore::registry::{
    Action as For, BlobPush, BlobSource, BlobUpload, Client, Error, OnBytes, RegistryOptions,
};
use support::registry::{Action, Auth, IDENTITY, PASSWORD, Registry};

const LAYER_SIZE: usize = 3 << 20;

fn client_with(credentials: &[(String, CredentialKind)], options: RegistryOptions) -> Client {
    let credential = |kind: &CredentialKind| Credential {
        kind: kind.clone(),
        source: "the test".to_owned(),
    };
    let fixed = credentials
        .iter()
        .map(|(host, kind)| (host.clone(), credential(kind)))
        .collect();
    let config = HttpConfig {
        hosts: options.host_tls(),
        stall_timeout: Duration::from_millis(700),
        retry: RetryPolicy {
            first_wait: Duration::from_millis(5),
            ..RetryPolicy::default()
        },
        ..HttpConfig::default()
    };
    Client::new(
        Http::new(config).expect("HTTP clients"),
        Arc::new(Fixed(fixed)),
        options,
    )
}

fn client(registry: &Registry) -> Client {
    let password = CredentialKind::Password {
        username: "user".to_owned(),
        password: Secret::new(PASSWORD),
    };
    client_with(&[(registry.host(), password)], RegistryOptions::default())
}

fn reference(registry: &Registry, rest: &str) -> Reference {
    format!("{}/{rest}", registry.host())
        .parse()
        .expect("a reference")
}

/// Bytes that are not all alike.
fn noise(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn platform() -> Platform {
    "linux/amd64".parse().expect("a platform")
}

/// An image of two layers, whose bytes need not be a tar for a registry.
fn image(directory: &Path, format: Format) -> Image {
    let layers = [1, 2].map(|number| {
        let bytes = noise(LAYER_SIZE, number);
        let path = directory.join(format!("layer{number}"));
        std::fs::write(&path, &bytes).expect("a file");
        ImageLayer {
            descriptor: Descriptor::of(MediaType::oci_layer(Compression::Gzip), &bytes),
            diff_id: Digest::of(&[number]),
            source: LayerSource::File(path),
        }
    });
    assemble(Assembly {
        config: ImageConfig::scratch(&platform()),
        layers: layers.into(),
        format,
        annotations: BTreeMap::new(),
    })
    .expect("an image")
}

async fn push(
    image: &Image,
    client: &Client,
    destinations: &[Reference],
) -> Result<(), longshore::output::Error> {
    let output = Output::Registry {
        destinations: destinations.into(),
        mount_from: Vec::new(),
        ignores_immutable: false,
    };
    publish(image, &[output], client, None).await.map(|_| ())
}

/// A registry with one image in `base`, and a client.
async fn with_image(auth: Auth) -> (Registry, Client, Image, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(auth);
    let client = client(&registry);
    let image = image(directory.path(), Format::Oci);
    push(&image, &client, &[reference(&registry, "base:v1")])
        .await
        .expect("a push");
    registry.state().requests.clear();
    (registry, client, image, directory)
}

async fn download(
    client: &Client,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("blob");
    let result = client
        .blob_to_file(reference, descriptor, &path, None)
        .await;
    let left = std::fs::read_dir(directory.path())
        .expect("the directory")
        .count();
    match result {
        Ok(()) => {
            assert_eq!(left, 1);
            Ok(std::fs::read(&path).expect("the blob"))
        }
        Err(error) => {
            assert_eq!(left, 0, "a failed download leaves nothing");
            Err(error)
        }
    }
}
