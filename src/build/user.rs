//! Users and groups of an image: `/etc/passwd` and `/etc/group` of the tree, read by us and never by the C library.

use std::io::Read;

use crate::rootfs::{Leaf, Owner, RelPath, Rootfs};

use super::UserError;

/// The most that is read of `/etc/passwd` or `/etc/group`, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;
/// The highest id that is taken from a number: ids above are read as negative somewhere (CVE-2024-40635).
const ID_MAX: u32 = i32::MAX as u32;

/// Who runs a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// The user id.
    pub(super) uid: u32,
    /// The primary group id.
    pub(super) gid: u32,
    /// The supplementary group ids, the primary one first, as container runtimes set them.
    pub(super) groups: Vec<u32>,
    /// The home directory, where the user has an entry.
    pub(super) home: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Who `USER user[:group]` is in this tree.
///
/// A number needs no entry. A user without a group gets the group of its entry, else 0, and with an entry its
/// supplementary groups.
pub(super) fn identity(rootfs: &Rootfs, user: &str) -> Result<Identity, UserError> {
    let (user, group) = split(user);
    let account = find_account(rootfs, user)?;
    let (uid, known) = match (&account, parse_id(user)?) {
        (Some(account), _) => (account.uid, true),
        (None, Some(uid)) => (uid, false),
        (None, None) => {
            return Err(UserError::NoUser {
                name: user.to_owned(),
            });
        }
    };
    let home = account
        .as_ref()
        .map(|account| account.home.clone())
        .filter(|home| !home.is_empty());
    if let Some(group) = group {
        let gid = group_id(rootfs, group)?;
        return Ok(Identity {
            uid,
            gid,
            groups: vec![gid],
            home,
        });
    }
    let gid = account.as_ref().map_or(0, |account| account.gid);
    let mut groups = vec![gid];
    if let Some(account) = account.filter(|_| known) {
        for entry in read_groups(rootfs)? {
            if entry.members.contains(&account.name) && !groups.contains(&entry.gid) {
                groups.push(entry.gid);
            }
        }
    }
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

/// Whom `--chown=user[:group]` names in this tree: a number alone is also the group, a name brings its primary group.
///
/// # Deviation
/// BuildKit takes an unknown name for 0; here it is an error, as its documentation promises.
pub(super) fn chown(rootfs: &Rootfs, text: &str) -> Result<Owner, UserError> {
    let (user, group) = split(text);
    let (uid, primary) = if let Some(uid) = parse_id(user)? {
        (uid, uid)
    } else {
        let account = find_account(rootfs, user)?.ok_or_else(|| UserError::NoUser {
            name: user.to_owned(),
        })?;
        (account.uid, account.gid)
    };
    let gid = group.map_or(Ok(primary), |group| group_id(rootfs, group))?;
    Ok(Owner { uid, gid })
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (
            if user.is_empty() { "0" } else { user },
            Some(group).filter(|group| !group.is_empty()),
        ),
        None => (if text.is_empty() { "0" } else { text }, None),
    }
}

/// A number, if the text is one; a number that is too large is an error, never a name.
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(UserError::TooLarge {
            text: text.chars().take(40).collect(),
        }),
    }
}

/// The entry with this name, or with this number.
fn find_account(rootfs: &Rootfs, user: &str) -> Result<Option<Account>, UserError> {
    let id = parse_id(user)?;
    let accounts = parse_passwd(&read(rootfs, "etc/passwd")?);
    Ok(accounts
        .into_iter()
        .find(|account| account.name == user || id == Some(account.uid)))
}

fn group_id(rootfs: &Rootfs, group: &str) -> Result<u32, UserError> {
    if let Some(id) = parse_id(group)? {
        return Ok(id);
    }
    read_groups(rootfs)?
        .into_iter()
        .find(|entry| entry.name == group)
        .map(|entry| entry.gid)
        .ok_or_else(|| UserError::NoGroup {
            name: group.to_owned(),
        })
}

fn read_groups(rootfs: &Rootfs) -> Result<Vec<Group>, UserError> {
    Ok(parse_group(&read(rootfs, "etc/group")?))
}

/// Reads a file of the tree; one that is not there is empty. A pipe or device is an error, and nobody waits for it.
fn read(rootfs: &Rootfs, path: &'static str) -> Result<String, UserError> {
    let relative = RelPath::parse(path).map_err(crate::rootfs::Error::from)?;
    let file = match rootfs.open_file(&relative, Leaf::Follow) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(|source| UserError::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines that are comments or not of the form are skipped, as every reader of these files does.
fn parse_passwd(text: &str) -> Vec<Account> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let (name, uid, gid) = (fields.first()?, fields.get(2)?, fields.get(3)?);
            Some(Account {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: fields.get(5).copied().unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

fn parse_group(text: &str) -> Vec<Group> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let members = fields.get(3).copied().unwrap_or_default();
            Some(Group {
                name: (*fields.first()?).to_owned(),
                gid: fields.get(2)?.parse().ok()?,
                members: members
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Rootfs) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\n# comment\nbob:x:1000:1001:Bob:/home/bob:/bin/sh\nbroken\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("etc/group"),
            "root:x:0:\nstaff:x:50:bob,eve\nbob:x:1001:\n",
        )
        .unwrap();
        let rootfs = Rootfs::open(dir.path()).unwrap();
        (dir, rootfs)
    }

    #[test]
    fn users_of_run_steps() {
        let (_dir, rootfs) = tree();
        let ids = |user: &str| {
            identity(&rootfs, user)
                .map(|id| (id.uid, id.gid, id.groups))
                .ok()
        };
        assert_eq!(ids(""), Some((0, 0, vec![0])));
        assert_eq!(ids("bob"), Some((1000, 1001, vec![1001, 50])));
        assert_eq!(ids("1000"), Some((1000, 1001, vec![1001, 50])));
        assert_eq!(ids("bob:staff"), Some((1000, 50, vec![50])));
        assert_eq!(ids("77"), Some((77, 0, vec![0])));
        assert_eq!(ids("77:78"), Some((77, 78, vec![78])));
        for bad in ["eve", "bob:none", "4294967296", "2147483648"] {
            assert_eq!(ids(bad), None, "{bad}");
        }
        assert_eq!(
            identity(&rootfs, "bob").unwrap().home.as_deref(),
            Some("/home/bob")
        );
    }

    #[test]
    fn owners_of_copies() {
        let (_dir, rootfs) = tree();
        let owner = |text: &str| {
            chown(&rootfs, text)
                .map(|owner| (owner.uid, owner.gid))
                .ok()
        };
        assert_eq!(owner("5"), Some((5, 5)));
        assert_eq!(owner("bob"), Some((1000, 1001)));
        assert_eq!(owner("bob:50"), Some((1000, 50)));
        assert_eq!(owner("7:staff"), Some((7, 50)));
        assert_eq!(owner("eve"), None);
    }
}
