//! Users and groups from the image's own `/etc/passwd` and `/etc/group`.
//!
//! Parsed here and not by the C library: a static binary has no NSS, and the files belong to an image that may be hostile,
//! so a malformed line is passed over rather than believed.

use std::path::Path;

/// A user as a process will have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Why a user specification does not resolve. Worded as docker words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
}

#[derive(Debug, PartialEq, Eq)]
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or_default(),
        })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some(Group {
            name,
            gid: fields.next()?.parse().ok()?,
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// Resolves `name|uid[:group|gid]`; empty means root. A number needs no entry, and then has group 0 and no home.
/// A name beats a number. With a group of its own a user has no supplementary groups, as with docker.
pub(crate) fn resolve(spec: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let (user, wanted_group) = spec.split_once(':').map_or((spec, ""), |(user, group)| (user, group));
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let found = users(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| users(passwd).find(|entry| Some(entry.uid) == number));
    let mut identity = match (found, number) {
        (Some(entry), _) => Identity {
            name: entry.name.to_owned(),
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: if entry.home.is_empty() {
                "/".to_owned()
            } else {
                entry.home.to_owned()
            },
        },
        (None, Some(uid)) => numeric_identity(uid),
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    if wanted_group.is_empty() {
        identity.groups = supplementary(&identity, group);
    } else {
        identity.gid = resolve_group(wanted_group, group)?;
    }
    Ok(identity)
}

fn numeric_identity(uid: u32) -> Identity {
    let home = if uid == 0 { "/root" } else { "/" };
    let name = if uid == 0 { "root".to_owned() } else { uid.to_string() };
    Identity {
        name,
        uid,
        gid: 0,
        groups: Vec::new(),
        home: home.to_owned(),
    }
}

fn supplementary(identity: &Identity, group: &str) -> Vec<u32> {
    let member_of = |entry: &Group<'_>| entry.members.split(',').any(|member| member == identity.name);
    let mut found: Vec<u32> = groups(group)
        .filter(member_of)
        .map(|entry| entry.gid)
        .filter(|gid| *gid != identity.gid)
        .collect();
    found.sort_unstable();
    found.dedup();
    // The kernel's limit; a longer list would make every exec fail.
    found.truncate(65_536);
    found
}

fn resolve_group(wanted: &str, group: &str) -> Result<u32, UserError> {
    let number: Option<u32> = wanted.parse().ok();
    groups(group)
        .find(|entry| entry.name == wanted)
        .map(|entry| entry.gid)
        .or(number)
        .ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
}

/// The name of a user, or its number in digits.
pub(crate) fn user_name(uid: u32, passwd: &str) -> String {
    users(passwd)
        .find(|entry| entry.uid == uid)
        .map_or_else(|| uid.to_string(), |entry| entry.name.to_owned())
}

/// The name of a group, or its number in digits.
pub(crate) fn group_name(gid: u32, group: &str) -> String {
    groups(group)
        .find(|entry| entry.gid == gid)
        .map_or_else(|| gid.to_string(), |entry| entry.name.to_owned())
}

/// The two files' contents; an absent file is an empty one.
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

/// More than any sane image has; a hostile one must not fill the agent's memory.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

impl Accounts {
    pub(crate) fn load() -> Self {
        Self {
            passwd: read_bounded(Path::new("/etc/passwd")),
            group: read_bounded(Path::new("/etc/group")),
        }
    }

    pub(crate) fn resolve(&self, spec: &str) -> Result<Identity, UserError> {
        resolve(spec, &self.passwd, &self.group)
    }
}

fn read_bounded(path: &Path) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)
        .and_then(|_| std::fs::File::open(path).ok());
    // A file that cannot be read is like one that is absent: names then do not resolve, and that is said.
    file.map(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken line\nbad:x:nan:1::/:\nuser:x:1000:1000::/home/user:/bin/sh\n7:x:1007:7::/seven:\nnohome:x:5:5\n";
    const GROUP: &str = "root:x:0:\nuser:x:1000:\nwheel:x:10:root,user\ndocker:x:999:user\nodd\n";

    fn of(spec: &str) -> Result<Identity, UserError> {
        resolve(spec, PASSWD, GROUP)
    }

    #[test]
    fn names_with_their_groups() {
        let user = of("user").unwrap();
        assert_eq!(
            (user.uid, user.gid, user.groups.as_slice(), user.home.as_str()),
            (1000, 1000, &[10, 999][..], "/home/user")
        );
        assert_eq!(of("").unwrap().groups, [10]);
        assert_eq!(of("nohome").unwrap().home, "/");
    }

    #[test]
    fn numbers_need_no_entry_and_names_beat_them() {
        let unknown = of("4242").unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.home.as_str()), (4242, 0, "/"));
        assert_eq!(of("7").unwrap().uid, 1007);
        assert_eq!(of("1000").unwrap().name, "user");
        assert_eq!(resolve("", "", "").unwrap().home, "/root");
    }

    #[test]
    fn a_group_of_its_own() {
        let user = of("user:wheel").unwrap();
        assert_eq!((user.gid, user.groups.len()), (10, 0));
        assert_eq!(of("user:12345").unwrap().gid, 12345);
    }

    #[test]
    fn what_does_not_exist() {
        assert_eq!(of("nobody"), Err(UserError::NoUser("nobody".into())));
        assert_eq!(of("bad"), Err(UserError::NoUser("bad".into())));
        assert_eq!(of("user:nope"), Err(UserError::NoGroup("nope".into())));
        assert!(of("-1").is_err());
    }
}
