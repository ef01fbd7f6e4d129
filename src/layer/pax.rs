//! PAX extended headers (POSIX pax "Extended Header"), read strictly: any malformed record is an error.

use crate::rootfs::{Timestamp, Xattrs};

use super::header::{Rule, id};

/// More attributes on one entry than any file system keeps are an attack.
const XATTRS_MAX: usize = 1000;
/// The kernel's own bounds (xattr(7)).
const XATTR_NAME_BYTES_MAX: usize = 255;
const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;
/// Where an attribute's name begins in a record's key.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What an extended header says about the next entry.
#[derive(Debug, Default, Clone)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: PaxSparse,
}

/// The `GNU.sparse.*` records of formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default, Clone)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn.
    pub(super) numbers: Vec<u64>,
    pub(super) has_map: bool,
    pub(super) map_in_body: bool,
}

/// Parses the body of an extended header.
pub(super) fn parse(body: &[u8]) -> Result<Pax, Rule> {
    let mut pax = Pax::default();
    let mut rest = body;
    while !rest.is_empty() {
        let (key, value, after) = record(rest)?;
        apply(&mut pax, key, value)?;
        rest = after;
    }
    Ok(pax)
}

/// A key, its value, and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits off one record: `LENGTH KEY=VALUE\n`, the length counting all of it.
fn record(bytes: &[u8]) -> Result<Record<'_>, Rule> {
    const RULE: Rule = "an extended header record is malformed";
    let space = bytes.iter().take(20).position(|&b| b == b' ').ok_or(RULE)?;
    let length = usize::try_from(decimal(&bytes[..space]).ok_or(RULE)?).map_err(|_| RULE)?;
    if length > bytes.len() || length < space + 4 {
        return Err(RULE);
    }
    let (record, after) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(RULE)?;
    let equals = record.iter().position(|&b| b == b'=').ok_or(RULE)?;
    if equals == 0 {
        return Err(RULE);
    }
    Ok((&record[..equals], &record[equals + 1..], after))
}

fn apply(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<(), Rule> {
    match key {
        b"path" => pax.path = Some(text(value)?),
        b"linkpath" => pax.link_path = Some(text(value)?),
        b"size" => pax.size = Some(size(value)?),
        b"uid" => pax.uid = Some(id(decimal_i64(value))?),
        b"gid" => pax.gid = Some(id(decimal_i64(value))?),
        b"mtime" => {
            pax.mtime = Some(time(value).ok_or("the modification time is not a decimal number")?);
        }
        b"GNU.sparse.name" => pax.sparse.name = Some(text(value)?),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
            pax.sparse.real_size = Some(size(value)?);
        }
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
            pax.sparse.has_map = true;
            let is_offset = key == b"GNU.sparse.offset";
            if is_offset != (pax.sparse.numbers.len().is_multiple_of(2)) {
                return Err("the map of a sparse file is malformed");
            }
            pax.sparse.numbers.push(size(value)?);
        }
        b"GNU.sparse.map" => {
            pax.sparse.has_map = true;
            pax.sparse.numbers = value
                .split(|&b| b == b',')
                .filter(|part| !value.is_empty() || !part.is_empty())
                .map(size)
                .collect::<Result<_, _>>()?;
        }
        b"GNU.sparse.major" => match value {
            b"1" => pax.sparse.map_in_body = true,
            b"0" => {}
            _ => return Err("the sparse format is not known"),
        },
        key => {
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                push_xattr(pax, name, value)?;
            }
        }
    }
    Ok(())
}

fn push_xattr(pax: &mut Pax, name: &[u8], value: &[u8]) -> Result<(), Rule> {
    if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX || name.contains(&0) {
        return Err("the name of an attribute is malformed");
    }
    if value.len() > XATTR_VALUE_BYTES_MAX {
        return Err("the value of an attribute is over 64 KiB");
    }
    if pax.xattrs.len() >= XATTRS_MAX {
        return Err("there are over 1000 attributes");
    }
    pax.xattrs.retain(|(known, _)| known != name);
    pax.xattrs.push((name.to_vec(), value.to_vec()));
    Ok(())
}

fn text(value: &[u8]) -> Result<Vec<u8>, Rule> {
    if value.is_empty() || value.contains(&0) {
        return Err("a name in an extended header is empty or holds a NUL");
    }
    Ok(value.to_vec())
}

fn size(value: &[u8]) -> Result<u64, Rule> {
    decimal(value)
        .filter(|&size| i64::try_from(size).is_ok())
        .ok_or("a size in an extended header is not a number")
}

/// Reads plain decimal digits.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn decimal_i64(digits: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match digits.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    let value = i64::try_from(decimal(digits)?).ok()?;
    Some(if is_negative { -value } else { value })
}

/// Reads `[-]SECONDS[.FRACTION]`; digits after the ninth are dropped.
fn time(value: &[u8]) -> Option<Timestamp> {
    let (whole, fraction) = match value.iter().position(|&b| b == b'.') {
        Some(dot) => (&value[..dot], Some(&value[dot + 1..])),
        None => (value, None),
    };
    let is_negative = whole.starts_with(b"-");
    let secs = decimal_i64(whole)?;
    let nanos = match fraction {
        None => 0,
        Some(digits) if digits.iter().all(u8::is_ascii_digit) => (0..9).fold(0, |value, at| {
            value * 10 + digits.get(at).map_or(0, |digit| u32::from(digit - b'0'))
        }),
        Some(_) => return None,
    };
    Some(match (is_negative, nanos) {
        (true, 1..) => Timestamp {
            secs: secs.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        },
        _ => Timestamp { secs, nanos },
    })
}

/// Formats a time for a record, the inverse of `time`.
pub(super) fn format_time(time: Timestamp) -> String {
    if time.nanos == 0 {
        return time.secs.to_string();
    }
    let (sign, secs, nanos) = if time.secs < 0 {
        (
            "-",
            (time.secs + 1).unsigned_abs(),
            1_000_000_000 - time.nanos,
        )
    } else {
        ("", time.secs.unsigned_abs(), time.nanos)
    };
    let fraction = format!("{nanos:09}");
    format!("{sign}{secs}.{}", fraction.trim_end_matches('0'))
}

/// Appends a record to the body of an extended header.
pub(super) fn push_record(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    // The length counts its own digits, which may make it one digit longer.
    if rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    body.extend_from_slice(length.to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_records_are_errors() {
        for bad in [
            &b"11 path=abcd\n"[..],
            b"99 path=abc\n",
            b"12 pathabcd\n\n",
            b"0 path=abc\n",
            b"x12 path=abc\n",
            b"12345678901234567890 path=abc\n",
            b"12 path=abcd",
            b"5 =a\n",
            b"12 path=a\0c\n",
            b"8 path=\n",
            b"10 size=x\n",
            b"11 size=-1\n",
            b"13 mtime=nan\n",
            b"13 mtime=1e9\n",
            b"13 mtime=0x1\n",
            b"9 mtime=\n",
            b"12 path=abc\n\0\0\0",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        for length in [
            1, 2, 80, 85, 86, 87, 88, 89, 90, 91, 984, 985, 986, 987, 988, 989, 990, 991, 992,
        ] {
            let value = vec![b'v'; length];
            let mut body = Vec::new();
            push_record(&mut body, b"path", &value);
            push_record(&mut body, b"SCHILY.xattr.user.a", b"x=\0\ny");
            let pax = parse(&body).unwrap();
            assert_eq!(pax.path, Some(value));
            assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"x=\0\ny".to_vec())]);
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, secs, nanos) in [
            ("1.5", 1, 500_000_000),
            ("0", 0, 0),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("1700000000.000000001", 1_700_000_000, 1),
        ] {
            let parsed = time(text.as_bytes()).unwrap();
            assert_eq!(parsed, Timestamp { secs, nanos }, "{text}");
            assert_eq!(format_time(parsed), text);
        }
        assert_eq!(
            time(b"1.1234567899"),
            Some(Timestamp {
                secs: 1,
                nanos: 123_456_789
            })
        );
    }
}
