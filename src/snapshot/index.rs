//! A tree as it was at one time, small enough to keep a million entries.

use std::cmp::Ordering;

use crate::rootfs::{Device, FileType, Metadata, Owner, RelPath, Timestamp};

use super::diff::{Evidence, differs};
use super::{Change, ChangeKind, Changes};

/// "Not recorded" in the columns for contents and attributes.
pub(super) const UNKNOWN: u64 = 0;
/// "No directory" in the column for children.
pub(super) const NO_DIR: u32 = u32::MAX;

/// A tree as it was at one time: metadata of every entry, and marks of what metadata does not tell.
#[derive(Debug)]
pub struct Index {
    /// One table a directory; the first is the root's.
    pub(super) dirs: Vec<Table>,
    /// The file systems met; records name them by their place here.
    pub(super) devices: Vec<Device>,
}

/// The entries of one directory, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) names: Box<[u8]>,
    pub(super) records: Box<[Record]>,
}

/// One entry: 80 bytes, so that a million and its names fit in 100 MiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) ctime_secs: i64,
    pub(super) mtime_secs: i64,
    /// A hash of the link target or of the content, or the number of a device.
    pub(super) body: u64,
    /// A hash of the attributes that belong to an image.
    pub(super) xattrs: u64,
    pub(super) ctime_nanos: u32,
    pub(super) mtime_nanos: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) name_end: u32,
    /// The table of a directory's entries.
    pub(super) child: u32,
    /// Type and permission bits as in `st_mode`.
    pub(super) mode: u16,
    /// Which device of the index holds it.
    pub(super) dev: u16,
}

impl Table {
    pub(super) fn name(&self, at: usize) -> &[u8] {
        let start = match at {
            0 => 0,
            _ => self.records[at - 1].name_end as usize,
        };
        &self.names[start..self.records[at].name_end as usize]
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&Record> {
        let (mut low, mut high) = (0, self.records.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle).cmp(name) {
                Ordering::Equal => return Some(&self.records[middle]),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl Record {
    fn metadata(&self, devices: &[Device]) -> Metadata {
        let file_type = FileType::from_mode(self.mode.into());
        let is_device = matches!(file_type, FileType::Char | FileType::Block);
        Metadata {
            file_type,
            mode: u32::from(self.mode) & 0o7777,
            owner: Owner {
                uid: self.uid,
                gid: self.gid,
            },
            size: self.size,
            mtime: Timestamp {
                secs: self.mtime_secs,
                nanos: self.mtime_nanos,
            },
            ctime: self.ctime(),
            dev: devices
                .get(usize::from(self.dev))
                .copied()
                .unwrap_or_default(),
            ino: self.ino,
            nlink: self.nlink,
            rdev: if is_device {
                unpack_device(self.body)
            } else {
                Device::default()
            },
            is_mount_root: false,
        }
    }

    pub(super) fn ctime(&self) -> Timestamp {
        Timestamp {
            secs: self.ctime_secs,
            nanos: self.ctime_nanos,
        }
    }
}

pub(super) fn pack_device(device: Device) -> u64 {
    (u64::from(device.major) << 32) | u64::from(device.minor)
}

fn unpack_device(packed: u64) -> Device {
    let [major, minor] = [packed >> 32, packed & 0xffff_ffff];
    Device {
        major: u32::try_from(major).unwrap_or_default(),
        minor: u32::try_from(minor).unwrap_or_default(),
    }
}

impl Index {
    /// Counts the entries, the root not among them.
    pub fn len(&self) -> usize {
        self.dirs.iter().map(|table| table.records.len()).sum()
    }

    /// The modification time that a path had; none if it was not there.
    pub fn modified(&self, path: &RelPath) -> Option<Timestamp> {
        let mut table = self.dirs.first();
        let mut found = None;
        for name in path.components() {
            let record = table?.find(name)?;
            found = Some(Timestamp {
                secs: record.mtime_secs,
                nanos: record.mtime_nanos,
            });
            // There is no table for what is no directory.
            table = self.dirs.get(record.child as usize);
        }
        found
    }

    /// Is the root empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges this tree against an earlier index of the same root.
    ///
    /// An entry whose inode and ctime are the same is the same. Of the others, those with equal metadata are judged by
    /// what the indexes recorded of content; where that is nothing, they count as changed.
    ///
    /// # Deviation
    /// A file with several names that is changed through one of them has changed under all, and each is in the answer:
    /// without an overlay nothing breaks the link.
    pub fn changes_since(&self, before: &Self) -> Changes {
        let mut changes = Vec::new();
        let mut pending = vec![(RelPath::root(), Some(0u32), 0u32)];
        while let Some((path, old, new)) = pending.pop() {
            self.compare_tables(before, &path, (old, new), &mut changes, &mut pending);
        }
        Changes::new(changes)
    }

    fn compare_tables(
        &self,
        before: &Self,
        path: &RelPath,
        (old, new): (Option<u32>, u32),
        changes: &mut Vec<Change>,
        pending: &mut Vec<(RelPath, Option<u32>, u32)>,
    ) {
        let empty = Table::default();
        let old = old
            .and_then(|id| before.dirs.get(id as usize))
            .unwrap_or(&empty);
        let new = self.dirs.get(new as usize).unwrap_or(&empty);
        let (mut i, mut j) = (0, 0);
        while i < old.records.len() || j < new.records.len() {
            let order = match (i < old.records.len(), j < new.records.len()) {
                (true, true) => old.name(i).cmp(new.name(j)),
                (true, false) => Ordering::Less,
                _ => Ordering::Greater,
            };
            if order == Ordering::Less {
                let path = path.child(old.name(i));
                let kind = ChangeKind::Deleted;
                // A socket is in no layer, so nothing has to be deleted.
                if FileType::from_mode(old.records[i].mode.into()) != FileType::Socket {
                    changes.push(Change { path, kind });
                }
                i += 1;
                continue;
            }
            let after = &new.records[j];
            let is_socket = FileType::from_mode(after.mode.into()) == FileType::Socket;
            let (kind, old_child) = if order == Ordering::Equal {
                let record = &old.records[i];
                i += 1;
                let kind = self
                    .has_changed(before, record, after)
                    .then_some(ChangeKind::Modified);
                (kind, (record.child != NO_DIR).then_some(record.child))
            } else {
                (Some(ChangeKind::Added), None)
            };
            if let Some(kind) = kind.filter(|_| !is_socket) {
                let path = path.child(new.name(j));
                changes.push(Change { path, kind });
            }
            if after.child != NO_DIR {
                pending.push((path.child(new.name(j)), old_child, after.child));
            }
            j += 1;
        }
    }

    fn has_changed(&self, before: &Self, old: &Record, new: &Record) -> bool {
        let old_metadata = old.metadata(&before.devices);
        let new_metadata = new.metadata(&self.devices);
        let is_same_inode = (old.ino, old_metadata.dev, old_metadata.ctime)
            == (new.ino, new_metadata.dev, new_metadata.ctime);
        // Where contents were hashed although the inode is the same, ctime is not to be trusted.
        let is_same_body = old.body == new.body || old.body == UNKNOWN || new.body == UNKNOWN;
        if is_same_inode && is_same_body {
            return false;
        }
        let Ok(differs) = differs(&old_metadata, &new_metadata, &mut Columns { old, new });
        differs
    }
}

/// What the indexes recorded beyond metadata.
struct Columns<'a> {
    old: &'a Record,
    new: &'a Record,
}

impl Evidence for Columns<'_> {
    type Error = std::convert::Infallible;

    fn same_xattrs(&mut self) -> Result<bool, Self::Error> {
        Ok(self.old.xattrs == self.new.xattrs)
    }

    fn same_target(&mut self) -> Result<bool, Self::Error> {
        self.same_content()
    }

    fn same_content(&mut self) -> Result<bool, Self::Error> {
        Ok(self.old.body != UNKNOWN && self.old.body == self.new.body)
    }
}
