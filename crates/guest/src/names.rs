//! `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.
//!
//! Each is written when what Init tells of it has changed: what programs make of a file later stays. The image may have anything
//! there, often a dangling link. So a file is written beside its place and renamed over it, which replaces a link instead of
//! following it; what we have written ourselves is written over.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hearth_guest_api::guest::{HostEntry, Names};

use crate::rewrite::write_over;

/// The three files.
pub(crate) struct NameFiles {
    hostname: NameFile,
    hosts: NameFile,
    resolv_conf: NameFile,
}

impl Default for NameFiles {
    fn default() -> Self {
        let file = |path: &str| NameFile::new(Path::new(path));
        Self {
            hostname: file("/etc/hostname"),
            hosts: file("/etc/hosts"),
            resolv_conf: file("/etc/resolv.conf"),
        }
    }
}

impl NameFiles {
    /// Writes what has changed. Without `names`, `/etc/resolv.conf` stays as the image has it.
    pub(crate) fn write(&self, hostname: &str, own_address: Option<IpAddr>, names: Option<&Names>) -> io::Result<()> {
        if !hostname.is_empty() {
            self.hostname.write(format!("{}\n", one_line(hostname)))?;
        }
        let extra = names.map(|names| names.hosts.as_slice()).unwrap_or_default();
        self.hosts.write(hosts(hostname, own_address, extra))?;
        match names {
            Some(names) => self.resolv_conf.write(resolv_conf(names)),
            None => Ok(()),
        }
    }
}

/// What was written last, and the file that it was written to.
struct Written {
    text: String,
    inode: u64,
}

struct NameFile {
    path: PathBuf,
    written: RefCell<Option<Written>>,
}

impl NameFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            written: RefCell::default(),
        }
    }

    fn write(&self, text: String) -> io::Result<()> {
        let last = self.written.take();
        let inode = match last {
            Some(last) if last.text == text => last.inode,
            Some(last) if write_over(&self.path, &text, |found| found.ino() == last.inode) => last.inode,
            _ => replace(&self.path, &text)?,
        };
        self.written.replace(Some(Written { text, inode }));
        Ok(())
    }
}

/// Gives the new file's number.
fn replace(path: &Path, content: &str) -> io::Result<u64> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("hearth-new");
    fs::write(&draft, content)?;
    let inode = fs::symlink_metadata(&draft)?.ino();
    fs::rename(&draft, path)?;
    Ok(inode)
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn hosts(hostname: &str, own_address: Option<IpAddr>, extra: &[HostEntry]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if let Some(address) = own_address.filter(|_| !hostname.is_empty()) {
        text.extend([&address.to_string(), "\t", &one_line(hostname), "\n"]);
    }
    for entry in extra {
        let names = one_line(&entry.names.join(" "));
        text.extend([&one_line(&entry.address), "\t", &names, "\n"]);
    }
    text
}

fn resolv_conf(names: &Names) -> String {
    let mut text = String::new();
    for server in &names.nameservers {
        text.extend(["nameserver ", &one_line(server), "\n"]);
    }
    if !names.search.is_empty() {
        text.extend(["search ", &one_line(&names.search.join(" ")), "\n"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let entry = HostEntry {
            address: "10.0.0.1".into(),
            names: vec!["db".into(), "db.local\nevil".into()],
        };
        let text = hosts("box", Some("169.254.0.2".parse().unwrap()), &[entry]);
        assert!(
            text.ends_with("169.254.0.2\tbox\n10.0.0.1\tdb db.localevil\n"),
            "{text}"
        );
        let names = Names {
            nameservers: vec!["1.1.1.1".into()],
            search: vec!["a".into(), "b".into()],
            hosts: vec![],
        };
        assert_eq!(resolv_conf(&names), "nameserver 1.1.1.1\nsearch a b\n");
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, victim) = (folder.path().join("resolv.conf"), folder.path().join("victim"));
        fs::write(&victim, "untouched").unwrap();
        let file = NameFile::new(&link);
        for text in ["new", "newer"] {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&victim, &link).unwrap();
            file.write(text.to_owned()).unwrap();
            assert_eq!((read(&link).as_str(), read(&victim).as_str()), (text, "untouched"));
        }
    }

    #[test]
    fn what_is_told_again_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let file = NameFile::new(&path);
        file.write("told".to_owned()).unwrap();
        fs::write(&path, "changed by a program").unwrap();
        file.write("told".to_owned()).unwrap();
        assert_eq!(read(&path), "changed by a program");
        file.write("new".to_owned()).unwrap();
        assert_eq!(read(&path), "new");
    }

    #[test]
    fn only_what_is_ours_and_shorter_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("hosts"), folder.path().join("kept"));
        let inode = || fs::metadata(&path).unwrap().ino();
        let file = NameFile::new(&path);
        file.write("first".to_owned()).unwrap();
        let first = inode();
        file.write("second".to_owned()).unwrap();
        assert_eq!((inode(), read(&path).as_str()), (first, "second"));
        let held = fs::File::open(&path).unwrap();
        file.write("short".to_owned()).unwrap();
        assert_eq!(read(&path), "short");
        assert_ne!(inode(), held.metadata().unwrap().ino());
        // Known by another name as well: that one keeps what it has.
        fs::hard_link(&path, &kept).unwrap();
        file.write("longer".to_owned()).unwrap();
        assert_eq!((read(&path).as_str(), read(&kept).as_str()), ("longer", "short"));
    }
}
