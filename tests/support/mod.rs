//! What tests share: servers that run inside the test, with faults on demand.

pub(crate) mod forged;
pub(crate) mod front;
pub(crate) mod names;
pub(crate) mod registry;
pub(crate) mod tls;
