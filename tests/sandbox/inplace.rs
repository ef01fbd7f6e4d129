//! In place.

pub(crate) const CASES: &[crate::Case] = &[];
