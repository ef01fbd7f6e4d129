//! User namespaces: which ids exist in ours, and who writes the maps.
//!
//! The maps have to be written by a process of the parent namespace, so a helper half is started first and told when to write.
//! Root maps what it has, one to one. An ordinary user has newuidmap(1) map the subordinate ids of `/etc/subuid`, or is alone
//! with one id.

use super::protocol::{receive, send};
use super::{SandboxError, init};
use crate::sys::namespace::unshare;
use rustix::process::{getgid, getppid, getuid};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where distributions install the setuid tools of shadow. `PATH` is not consulted for a program that gets privileges.
const TOOL_DIRECTORIES: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// One line of an id map: `count` ids from `inside` are the parent namespace's ids from `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// The maps of a new user namespace, and how they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Maps {
    /// Written to the files directly by root.
    Direct { uid: Vec<Range>, gid: Vec<Range> },
    /// Written by newuidmap and newgidmap, found in this directory.
    Tools {
        uid: Vec<Range>,
        gid: Vec<Range>,
        directory: PathBuf,
    },
    /// One user and one group, supplementary groups frozen.
    Single { uid: u32, gid: u32 },
}

/// Every id that this process's namespace has, one to one.
pub(super) fn identity_maps() -> Result<Maps, SandboxError> {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SandboxError::path("read", path, source))?;
        let same = parse_map(&text).into_iter().map(|range| Range {
            outside: range.inside,
            ..range
        });
        Ok(same.collect())
    };
    Ok(Maps::Direct {
        uid: read("/proc/self/uid_map")?,
        gid: read("/proc/self/gid_map")?,
    })
}

/// This user as root, then the ids that `/etc/subuid` and `/etc/subgid` grant; the reason when there are none.
pub(super) fn subordinate_maps() -> Result<Maps, String> {
    let directory = TOOL_DIRECTORIES
        .iter()
        .map(Path::new)
        .find(|directory| {
            directory.join("newuidmap").exists() && directory.join("newgidmap").exists()
        })
        .ok_or("newuidmap and newgidmap are not installed (package uidmap)")?;
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = user_name(&passwd, uid);
    let ranges = |path: &str, own: u32| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        let granted = parse_subordinate(&text, name, uid);
        if granted.is_empty() {
            Err(format!(
                "{path} grants no ids to user {}",
                name.unwrap_or(&uid.to_string())
            ))
        } else {
            Ok(stack(own, &granted))
        }
    };
    Ok(Maps::Tools {
        uid: ranges("/etc/subuid", uid)?,
        gid: ranges("/etc/subgid", gid)?,
        directory: directory.to_owned(),
    })
}

/// This user as root, and nobody else.
pub(super) fn single_maps() -> Maps {
    Maps::Single {
        uid: getuid().as_raw(),
        gid: getgid().as_raw(),
    }
}

/// Moves this process (of one thread) into a new user namespace with `maps`, and a new mount namespace.
pub(super) fn enter(maps: &Maps) -> Result<(), SandboxError> {
    let refused = |reason: String| SandboxError::Refused {
        isolation: "namespace",
        reason,
    };
    let (mut helper, socket) = init::spawn(init::IDENTITY, Stdio::null(), Stdio::null())
        .map_err(|source| SandboxError::path("execute", "/proc/self/exe", source))?;
    let unshared = unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
    let answer = match unshared {
        Ok(()) => send(&socket, maps).and_then(|()| receive::<Result<(), String>>(&socket)),
        Err(_) => Ok(None),
    };
    drop(socket);
    let status = helper
        .wait()
        .map_err(|source| SandboxError::system("wait for a child", source))?;
    unshared.map_err(|error| refused(format!("a new user namespace is refused: {error}")))?;
    match answer {
        Ok(Some(Ok(()))) => Ok(()),
        Ok(Some(Err(reason))) => Err(refused(reason)),
        Ok(None) => Err(refused(format!(
            "the helper that writes id maps ended early ({status})"
        ))),
        Err(error) => Err(refused(format!(
            "the helper that writes id maps cannot be reached: {error}"
        ))),
    }
}

/// The helper half: writes its parent's maps when told to.
pub(super) fn run_helper(parent: &UnixStream) -> u8 {
    let Some(pid) = getppid() else { return 1 };
    // No message: the parent could not leave its namespace.
    let Ok(Some(maps)) = receive::<Maps>(parent) else {
        return 0;
    };
    let answer = write_maps(&maps, pid.as_raw_nonzero().get());
    // Without a parent there is nobody to tell.
    let _ = send(parent, &answer);
    0
}

fn write_maps(maps: &Maps, pid: i32) -> Result<(), String> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, text)
            .map_err(|error| format!("{file} of the new user namespace cannot be written: {error}"))
    };
    match maps {
        Maps::Direct { uid, gid } => {
            write("uid_map", &print_map(uid))?;
            write("gid_map", &print_map(gid))
        }
        Maps::Single { uid, gid } => {
            write("setgroups", "deny")?;
            write(
                "uid_map",
                &print_map(&[Range {
                    inside: 0,
                    outside: *uid,
                    count: 1,
                }]),
            )?;
            write(
                "gid_map",
                &print_map(&[Range {
                    inside: 0,
                    outside: *gid,
                    count: 1,
                }]),
            )
        }
        Maps::Tools {
            uid,
            gid,
            directory,
        } => {
            run_tool(&directory.join("newuidmap"), pid, uid)?;
            run_tool(&directory.join("newgidmap"), pid, gid)
        }
    }
}

fn run_tool(tool: &Path, pid: i32, ranges: &[Range]) -> Result<(), String> {
    let mut command = Command::new(tool);
    command
        .arg(pid.to_string())
        .env_clear()
        .stdin(Stdio::null());
    for range in ranges {
        command.args([range.inside, range.outside, range.count].map(|number| number.to_string()));
    }
    let output = command
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", tool.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{} refused: {}",
        tool.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

fn parse_map(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Range {
            inside: next()?,
            outside: next()?,
            count: next()?,
        })
    };
    text.lines().filter_map(line).collect()
}

fn print_map(ranges: &[Range]) -> String {
    let lines: Vec<_> = ranges
        .iter()
        .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count))
        .collect();
    lines.concat()
}

/// The ranges (start, count) that subuid(5) grants to a user, by name or number.
fn parse_subordinate(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((Some(owner) == name || owner == number) && count > 0).then_some((start, count))
    };
    text.lines().filter_map(line).collect()
}

/// Our own id becomes 0, the granted ones follow from 1 on without gaps.
fn stack(own: u32, granted: &[(u32, u32)]) -> Vec<Range> {
    let mut ranges = vec![Range {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for &(outside, count) in granted {
        let count = count.min(u32::MAX - inside);
        ranges.push(Range {
            inside,
            outside,
            count,
        });
        inside += count;
    }
    ranges
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// The maps of the present namespace in a short form, to tell trees apart whose owners are stored differently.
pub(super) fn fingerprint() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/self/uid_map")?
        + "/"
        + &std::fs::read_to_string("/proc/self/gid_map")?;
    let words: Vec<_> = text.split_ascii_whitespace().collect();
    Ok(words.join("-").replace('/', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_and_printed() {
        let text = "         0          0 4294967295\n";
        assert_eq!(
            parse_map(text),
            [Range {
                inside: 0,
                outside: 0,
                count: u32::MAX
            }]
        );
        assert_eq!(
            print_map(&parse_map("0 1000 1\n1 100000 65536\n")),
            "0 1000 1\n1 100000 65536\n"
        );
    }

    #[test]
    fn subordinate_ids_are_found_by_name_and_number() {
        let text = "root:1:5\nann:100000:65536\n# x\n1000:300000:10\nbob:5:0\n";
        assert_eq!(
            parse_subordinate(text, Some("ann"), 1000),
            [(100_000, 65_536), (300_000, 10)]
        );
        assert_eq!(parse_subordinate(text, None, 1000), [(300_000, 10)]);
        assert!(parse_subordinate(text, Some("bob"), 7).is_empty());
        assert_eq!(
            print_map(&stack(1000, &[(100_000, 65_536), (300_000, 10)])),
            "0 1000 1\n1 100000 65536\n65537 300000 10\n"
        );
    }

    #[test]
    fn a_user_is_named_by_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000), Some("ann"));
        assert_eq!(user_name(passwd, 7), None);
    }
}
