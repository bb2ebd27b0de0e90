//! `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.
//!
//! The image may have anything there, often a dangling link. Each file is written beside its place and renamed over it,
//! which replaces a link instead of following it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use hearth_guest_api::guest::{HostEntry, Names};

/// Writes the three files. Without `names`, `/etc/resolv.conf` stays as the image has it.
pub(crate) fn write(hostname: &str, own_address: Option<IpAddr>, names: Option<&Names>) -> io::Result<()> {
    let etc = Path::new("/etc");
    if !hostname.is_empty() {
        replace(&etc.join("hostname"), &format!("{}\n", one_line(hostname)))?;
    }
    let extra = names.map(|names| names.hosts.as_slice()).unwrap_or_default();
    replace(&etc.join("hosts"), &hosts(hostname, own_address, extra))?;
    match names {
        Some(names) => replace(&etc.join("resolv.conf"), &resolv_conf(names)),
        None => Ok(()),
    }
}

fn replace(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension("hearth-new");
    fs::write(&draft, content)?;
    fs::rename(&draft, path)
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

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = std::env::temp_dir().join(format!("hearth-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (link, victim) = (folder.join("resolv.conf"), folder.join("victim"));
        fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(
            (
                fs::read_to_string(&link).unwrap().as_str(),
                fs::read_to_string(&victim).unwrap().as_str()
            ),
            ("new", "untouched")
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
