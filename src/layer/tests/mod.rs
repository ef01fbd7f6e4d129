//! The hostile corpus and the round trips.

mod alone;
mod builder;
mod hostile;
mod round_trip;
