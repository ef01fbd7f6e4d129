//! Black-box tests of the real program: each builds something and ends by inspecting the image, or what was left in its
//! place. They need no network, no service and no privilege; what a machine does not allow is skipped aloud.

mod image;
mod machine;
#[cfg_attr(
    not(all(feature = "s3", feature = "gcs", feature = "azure")),
    expect(dead_code, reason = "the tests of clouds use the rest")
)]
mod mock;
mod program;
#[expect(dead_code, reason = "the tests of the registry room use the rest")]
#[path = "../support/mod.rs"]
mod support;

mod actions_cache;
mod adding;
mod caching;
mod changes;
mod chaos;
mod checks;
mod ci;
#[cfg(all(feature = "s3", feature = "gcs", feature = "azure"))]
mod clouds;
mod contexts;
mod copying;
mod credentials;
mod debugging;
mod diagnostics;
mod downloads;
mod explaining;
mod faults;
mod filters;
mod forging;
mod indexes;
mod inline;
mod mirrors;
mod mistakes;
mod mounts;
mod named;
mod naming;
mod outputs;
mod proxies;
mod pruning;
mod pushing;
mod registries;
mod repeating;
#[cfg(feature = "git")]
mod repositories;
mod running;
mod saving;
mod settings;
mod signals;
mod stages;
#[cfg(feature = "s3")]
mod stores;
mod warming;
mod web;
