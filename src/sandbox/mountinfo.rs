//! The mounts that this process sees, from `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

use rustix::mount::MountFlags;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) point: PathBuf,
    /// Its file system's type.
    pub(super) kind: String,
    /// The options of this mount (not of its file system).
    pub(super) options: Vec<String>,
}

impl Mount {
    /// The options as flags, for a remount that has to keep them.
    pub(super) fn flags(&self) -> MountFlags {
        self.options
            .iter()
            .fold(MountFlags::empty(), |flags, option| {
                flags
                    | match option.as_str() {
                        "ro" => MountFlags::RDONLY,
                        "nosuid" => MountFlags::NOSUID,
                        "nodev" => MountFlags::NODEV,
                        "noexec" => MountFlags::NOEXEC,
                        "noatime" => MountFlags::NOATIME,
                        "nodiratime" => MountFlags::NODIRATIME,
                        "relatime" => MountFlags::RELATIME,
                        _ => MountFlags::empty(),
                    }
            })
    }
}

/// All mounts, in the kernel's order: one that covers another comes later.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mounts at or below `directory`.
pub(super) fn read_below(directory: &Path) -> io::Result<Vec<Mount>> {
    Ok(read()?
        .into_iter()
        .filter(|mount| mount.point.starts_with(directory))
        .collect())
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = PathBuf::from(OsString::from_vec(unescape(fields.nth(4)?)));
    let options = String::from_utf8_lossy(fields.next()?)
        .split(',')
        .map(str::to_owned)
        .collect();
    fields.find(|&field| field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount {
        point,
        kind,
        options,
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| {
            byte == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
        });
        if let Some(digits) = octal {
            out.push(digits.iter().fold(0_u8, |value, digit| {
                value.wrapping_mul(8).wrapping_add(digit - b'0')
            }));
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let mounts = parse(
            b"21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
              36 35 98:0 /a /mnt\\040two\\134x ro,nosuid,nodev shared:1 master:2 - tmpfs none rw\nshort line\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            mounts[0],
            Mount {
                point: "/".into(),
                kind: "ext4".into(),
                options: vec!["rw".into(), "relatime".into()]
            }
        );
        assert_eq!(mounts[1].point, Path::new("/mnt two\\x"));
        assert_eq!(mounts[1].kind, "tmpfs");
        assert_eq!(
            mounts[1].flags(),
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV
        );
    }
}
