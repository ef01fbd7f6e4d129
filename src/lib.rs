//! longshore builds container images from Dockerfiles inside CI jobs: no daemon, no privileges.
//!
//! This file is the map: it declares the rooms. ARCHITECTURE.md says what each is for and which may use which;
//! `build` holds the numbered story of a build.

pub mod auth;
pub mod build;
pub mod cache;
pub mod ci;
pub mod cli;
pub mod context;
pub mod dockerfile;
pub mod http;
pub mod layer;
pub mod oci;
pub mod output;
pub mod plan;
pub mod registry;
pub mod rootfs;
pub mod sandbox;
pub mod snapshot;
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure")),
    expect(
        unused_variables,
        unreachable_code,
        clippy::unused_async,
        reason = "without a cloud there is no bucket"
    )
)]
#[cfg_attr(
    all(
        not(test),
        not(any(feature = "s3", feature = "gcs", feature = "azure"))
    ),
    expect(unused_assignments, reason = "as above; tests have one of their own")
)]
pub mod store;
pub mod sys;
