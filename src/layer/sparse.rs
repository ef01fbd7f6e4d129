//! Where the content of a sparse file goes.

use super::header::{Rule, number};

/// More pieces than this are an attack, not a file.
pub(super) const EXTENTS_MAX: usize = 1 << 18;

/// A piece of content in a file with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Reads a numeric field of a GNU header.
pub(super) fn field(raw: &[u8]) -> Result<u64, Rule> {
    number(raw)
        .and_then(|value| u64::try_from(value).ok())
        .ok_or("the map of a sparse file is malformed")
}

/// Appends one pair of a GNU header; an empty pair says nothing.
pub(super) fn push_gnu(
    extents: &mut Vec<Extent>,
    offset: [u8; 12],
    length: [u8; 12],
) -> Result<(), Rule> {
    if offset[0] == 0 && length[0] == 0 {
        return Ok(());
    }
    if extents.len() >= EXTENTS_MAX {
        return Err("a sparse file has too many pieces");
    }
    extents.push(Extent {
        offset: field(&offset)?,
        length: field(&length)?,
    });
    Ok(())
}

/// Pairs offsets with lengths.
pub(super) fn extents(numbers: &[u64]) -> Result<Vec<Extent>, Rule> {
    if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > EXTENTS_MAX {
        return Err("the map of a sparse file is malformed");
    }
    let pairs = numbers.chunks_exact(2);
    Ok(pairs
        .map(|pair| Extent {
            offset: pair[0],
            length: pair[1],
        })
        .collect())
}

/// Checks that pieces are in order, apart, inside the file, and as long as what is stored.
pub(super) fn check(extents: &[Extent], real_size: u64, stored: u64) -> Result<(), Rule> {
    let (mut end, mut total) = (0u64, 0u64);
    for extent in extents {
        if extent.offset < end {
            return Err("pieces of a sparse file overlap or are out of order");
        }
        end = extent
            .offset
            .checked_add(extent.length)
            .ok_or("a sparse file is too long")?;
        total += extent.length;
    }
    if end > real_size || i64::try_from(real_size).is_err() {
        return Err("a piece of a sparse file lies behind its end");
    }
    if total != stored {
        return Err("the map of a sparse file does not match what is stored");
    }
    Ok(())
}
