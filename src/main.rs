//! The process edge: argv, environment, signals, exit code.

fn main() {}
