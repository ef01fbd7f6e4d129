//! The hostile corpus and the round trips.

mod builder;
mod hostile;
mod round_trip;
