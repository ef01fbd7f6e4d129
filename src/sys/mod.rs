//! The system calls that need `unsafe`, each behind a safe function; nothing else in the package contains any.
//!
//! Where rustix offers a safe call, the rooms use rustix directly and nothing is repeated here.
#![expect(
    unsafe_code,
    reason = "this room is where the rest of the package gets its safety from"
)]

pub mod descriptors;
pub mod namespace;
pub mod network;
pub mod seccomp;
