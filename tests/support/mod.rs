//! What tests share: servers that run inside the test, with faults on demand.

pub(crate) mod registry;
