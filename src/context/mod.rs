//! Build contexts: the files that a build may copy from, and the rules that keep files out of it.

pub mod glob;
pub mod ignore;
#[cfg(test)]
mod ignore_tests;
