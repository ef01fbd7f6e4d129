//! One 512-byte tar header, read strictly: fields and checksum, without the extensions that may follow.

use tar::Header;

/// The size of a tar block in bytes.
pub(super) const BLOCK_BYTES: usize = 512;

/// What makes a header unacceptable.
pub(super) type Rule = &'static str;

/// The fields of one header as they stand.
#[derive(Debug, Clone)]
pub(super) struct RawHeader {
    pub(super) block: Header,
    pub(super) type_flag: u8,
    pub(super) size: u64,
}

impl RawHeader {
    /// Checks the sum and reads the two fields that every kind of entry needs.
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Self, Rule> {
        let header = Header::from_byte_slice(block);
        let old = header.as_old();
        let stated = octal(&old.cksum).ok_or("the checksum field is not a number")?;
        let (unsigned, signed) = sums(block);
        if stated != unsigned && i64::try_from(stated) != Ok(signed) {
            return Err("the header's checksum is wrong");
        }
        let size = number(&old.size).ok_or("the size is not a number")?;
        Ok(Self {
            block: header.clone(),
            type_flag: old.linkflag[0],
            size: u64::try_from(size).map_err(|_| "the size is negative")?,
        })
    }

    /// Joins the name with a POSIX prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.block.as_old().name);
        match self.block.as_ustar() {
            Some(ustar) if ustar.magic == *b"ustar\0" && ustar.prefix[0] != 0 => {
                let mut joined = until_nul(&ustar.prefix).to_vec();
                joined.push(b'/');
                joined.extend_from_slice(name);
                joined
            }
            _ => name.to_vec(),
        }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.block.as_old().linkname).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u32, Rule> {
        let mode = number(&self.block.as_old().mode).ok_or("the mode is not a number")?;
        let mode = u64::try_from(mode).map_err(|_| "the mode is negative")?;
        Ok(u32::try_from(mode & 0o7777).unwrap_or_default())
    }

    pub(super) fn uid(&self) -> Result<u32, Rule> {
        id(number(&self.block.as_old().uid))
    }

    pub(super) fn gid(&self) -> Result<u32, Rule> {
        id(number(&self.block.as_old().gid))
    }

    pub(super) fn mtime(&self) -> Result<i64, Rule> {
        number(&self.block.as_old().mtime).ok_or("the modification time is not a number")
    }

    /// Reads the device numbers; old headers without them mean 0:0.
    pub(super) fn device(&self) -> Result<(u32, u32), Rule> {
        let (major, minor) = match (self.block.as_ustar(), self.block.as_gnu()) {
            (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
            (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
            (None, None) => return Ok((0, 0)),
        };
        let part = |field: &[u8]| {
            let value = number(field).ok_or("the device number is not a number")?;
            u32::try_from(value).map_err(|_| "the device number is out of range")
        };
        Ok((part(major)?, part(minor)?))
    }
}

/// Accepts an id that the kernel can store: 2³²-1 means "leave as it is" to chown.
pub(super) fn id(value: Option<i64>) -> Result<u32, Rule> {
    let value = value.ok_or("the user or group id is not a number")?;
    match u32::try_from(value) {
        Ok(u32::MAX) | Err(_) => Err("the user or group id is out of range"),
        Ok(id) => Ok(id),
    }
}

/// Reads a numeric field: octal digits, or base-256 where the first byte has its high bit.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 == 0 {
        return i64::try_from(octal(field)?).ok();
    }
    let is_negative = first & 0x40 != 0;
    let mut value: i64 = if is_negative { -1 } else { 0 };
    for (at, &byte) in field.iter().enumerate() {
        let byte = if at == 0 && !is_negative {
            byte & 0x7f
        } else {
            byte
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
        if at == 0 && is_negative {
            // The first byte of a negative number is its sign and six bits.
            value = i64::from(byte) - 256;
        }
    }
    Some(value)
}

/// Reads octal digits with spaces or NULs around them; nothing at all is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let is_padding = |b: &u8| *b == b' ' || *b == 0;
    let start = field
        .iter()
        .position(|b| !is_padding(b))
        .unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_padding) {
        return None;
    }
    digits[..end]
        .iter()
        .try_fold(0u64, |value, &digit| match digit {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        })
}

/// Sums the block with its checksum field taken as spaces: as POSIX has it, and as old programs with signed bytes did.
fn sums(block: &[u8; BLOCK_BYTES]) -> (u64, i64) {
    let (mut unsigned, mut signed) = (0u64, 0i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    (unsigned, signed)
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        for (field, expect) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"77x", None),
            (b"7 7\0", None),
            (b"8", None),
            (b"-1", None),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x00", Some(256)),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                Some(-1),
            ),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
                Some(-2),
            ),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX),
            ),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xc0\0\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field), expect, "{field:?}");
        }
        assert!(id(Some(u32::MAX.into())).is_err() && id(Some(-1)).is_err());
        assert_eq!(id(Some(0xffff_fffe)), Ok(0xffff_fffe));
    }
}
