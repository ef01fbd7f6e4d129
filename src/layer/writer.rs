//! Tar entries as bytes: ustar, with an extended header only where ustar does not suffice.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::rootfs::{Device, Owner, Timestamp};

use super::header::BLOCK_BYTES;
use super::pax;

/// The largest ids and times that eight and twelve octal digits hold.
const OCTAL_ID_MAX: u32 = 0o7_777_777;
const OCTAL_12_MAX: u64 = 0o77_777_777_777;

/// What a header says.
#[derive(Debug, Clone)]
pub(super) struct NewEntry<'a> {
    /// Without a leading slash; a directory's ends in one.
    pub(super) name: &'a [u8],
    pub(super) entry_type: EntryType,
    pub(super) link_name: &'a [u8],
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) device: Device,
    pub(super) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Writes the header, after its extended header where one is needed.
pub(super) fn write_header(out: &mut impl Write, entry: &NewEntry<'_>) -> io::Result<()> {
    let mut records = Vec::new();
    let mut header = Header::new_ustar();
    let name_field = fitting(entry.name, b"path", &mut records);
    header.as_old_mut().name[..name_field.len()].copy_from_slice(name_field);
    let link_field = fitting(entry.link_name, b"linkpath", &mut records);
    header.as_old_mut().linkname[..link_field.len()].copy_from_slice(link_field);
    header.set_entry_type(entry.entry_type);
    header.set_mode(entry.mode);
    for (key, id) in [(&b"uid"[..], entry.owner.uid), (b"gid", entry.owner.gid)] {
        let field = if id > OCTAL_ID_MAX {
            pax::push_record(&mut records, key, id.to_string().as_bytes());
            0
        } else {
            u64::from(id)
        };
        match key {
            b"uid" => header.set_uid(field),
            _ => header.set_gid(field),
        }
    }
    if entry.size > OCTAL_12_MAX {
        pax::push_record(&mut records, b"size", entry.size.to_string().as_bytes());
        header.set_size(0);
    } else {
        header.set_size(entry.size);
    }
    let secs = u64::try_from(entry.mtime.secs)
        .ok()
        .filter(|&secs| secs <= OCTAL_12_MAX);
    header.set_mtime(secs.unwrap_or_default());
    if secs.is_none() || entry.mtime.nanos != 0 {
        let time = pax::format_time(entry.mtime);
        pax::push_record(&mut records, b"mtime", time.as_bytes());
    }
    if matches!(entry.entry_type, EntryType::Char | EntryType::Block) {
        header.set_device_major(entry.device.major)?;
        header.set_device_minor(entry.device.minor)?;
    }
    for (key, value) in entry.xattrs {
        let key = [b"SCHILY.xattr.", key.as_slice()].concat();
        pax::push_record(&mut records, &key, value);
    }
    if !records.is_empty() {
        write_extended(out, entry.name, &records)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// Returns what fits into a field of 100 bytes, and leaves the whole to a record otherwise.
fn fitting<'a>(name: &'a [u8], key: &[u8], records: &mut Vec<u8>) -> &'a [u8] {
    if name.len() <= 100 {
        return name;
    }
    pax::push_record(records, key, name);
    &name[..100]
}

fn write_extended(out: &mut impl Write, name: &[u8], records: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let base = name.strip_suffix(b"/").unwrap_or(name);
    let base = base.rsplit(|&b| b == b'/').next().unwrap_or(base);
    let mut field = b"PaxHeaders.0/".to_vec();
    field.extend_from_slice(&base[..base.len().min(100 - field.len())]);
    header.as_old_mut().name[..field.len()].copy_from_slice(&field);
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(records)?;
    write_padding(out, records.len() as u64)
}

/// Fills up to a whole block after content of `size` bytes.
pub(super) fn write_padding(out: &mut impl Write, size: u64) -> io::Result<()> {
    let length = usize::try_from(super::reader::padding(size)).unwrap_or_default();
    out.write_all(&[0; BLOCK_BYTES][..length])
}

/// Writes the end mark.
pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}
