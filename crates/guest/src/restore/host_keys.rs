//! New SSH host keys for a copy.
//!
//! ```text
//!  sshd held ─► old keys removed ─► Init goes on … ssh-keygen for each type ─► sshd reads its keys and goes on
//! ```
//! The old keys go first, and a server is held meanwhile: two copies never answer with one key. A making that was under way
//! at the snapshot is ended, since its copies could come to the same key; what it was to make is made anew. Each key is made
//! under a name of its own and then renamed, so that one that is too late is never taken.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::command;
use super::places::Places;
use super::sshd;
use crate::agent::Agent;
use crate::process::cgroup::Groups;
use crate::process::reaper::Reaper;
use crate::process::spawn::{Io, SpawnPlan};
use crate::process::users::Identity;

const PREFIX: &str = "ssh_host_";
const SUFFIX: &str = "_key";
/// Begins the names of keys that are being made.
const DRAFT_PREFIX: &str = ".hearth-new-";
/// One RSA key takes an emulated guest half a minute.
const KEY_DEADLINE: Duration = Duration::from_mins(2);

/// What is to be made, the task that makes it, and how often that was begun.
#[derive(Default)]
pub(super) struct HostKeys {
    runs: Cell<u64>,
    wanted: RefCell<BTreeSet<String>>,
    making: RefCell<Option<JoinHandle<()>>>,
}

/// Removes the keys and starts to make new ones.
pub(super) fn renew(agent: &Rc<Agent>, places: &Places) -> io::Result<()> {
    let state = &agent.restore.host_keys;
    if let Some(old) = state.making.take() {
        old.abort();
    }
    let folder = places.ssh();
    let found = find(&folder)?;
    state.wanted.borrow_mut().extend(found.types);
    if state.wanted.borrow().is_empty() {
        return Ok(());
    }
    if agent.boot.is_init {
        sshd::hold();
    }
    for file in found.files {
        fs::remove_file(file)?;
    }
    state.runs.set(state.runs.get() + 1);
    let maker = Maker {
        reaper: agent.processes.reaper.clone(),
        groups: agent.processes.groups.clone(),
        search_path: places.search_path(),
        folder,
        run: state.runs.get(),
    };
    let making = tokio::task::spawn_local(make_wanted(Rc::clone(agent), maker));
    state.making.replace(Some(making));
    Ok(())
}

async fn make_wanted(agent: Rc<Agent>, maker: Maker) {
    let state = &agent.restore.host_keys;
    let wanted: Vec<String> = state.wanted.borrow().iter().cloned().collect();
    for kind in wanted {
        match maker.make(&kind).await {
            Ok(()) => {
                state.wanted.borrow_mut().remove(&kind);
            }
            Err(message) => crate::console(&message),
        }
    }
    if agent.boot.is_init {
        sshd::reload();
    }
}

/// Whether the image has host keys.
pub(super) fn any(places: &Places) -> bool {
    find(&places.ssh()).is_ok_and(|found| !found.types.is_empty())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// As `ssh-keygen -t` calls them.
    types: BTreeSet<String>,
    /// Private and public keys, certificates, which are of no use to another key, and drafts.
    files: BTreeSet<PathBuf>,
}

/// The host keys in the folder, if it is there.
fn find(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(found);
        }
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some((kind, rest)) = parse_name(name) {
            if rest.is_empty() {
                found.types.insert(kind.to_owned());
            }
            found.files.insert(path.clone());
        } else if name.starts_with(DRAFT_PREFIX) {
            found.files.insert(path.clone());
        }
    }
    Ok(found)
}

/// `ssh_host_ed25519_key.pub` → `ed25519`, `.pub`.
fn parse_name(name: &str) -> Option<(&str, &str)> {
    let (kind, rest) = name.strip_prefix(PREFIX)?.split_once(SUFFIX)?;
    let is_type = !kind.is_empty()
        && kind
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (is_type && matches!(rest, "" | ".pub" | "-cert.pub")).then_some((kind, rest))
}

/// Makes keys by the image's own `ssh-keygen`.
struct Maker {
    reaper: Reaper,
    groups: Groups,
    search_path: String,
    folder: PathBuf,
    run: u64,
}

impl Maker {
    /// Makes one key; the error is for the console.
    async fn make(&self, kind: &str) -> Result<(), String> {
        let draft = format!("{DRAFT_PREFIX}{}-{kind}", self.run);
        let key = format!("{PREFIX}{kind}{SUFFIX}");
        let failed = |error: String| format!("cannot make the SSH host key {key}: {error}");
        self.generate(kind, &self.folder.join(&draft)).await.map_err(failed)?;
        // The private key last: a server that finds it finds the other one, too.
        for end in [".pub", ""] {
            let from = self.folder.join(format!("{draft}{end}"));
            let to = self.folder.join(format!("{key}{end}"));
            fs::rename(from, to).map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    async fn generate(&self, kind: &str, path: &Path) -> Result<(), String> {
        let file = path.to_string_lossy();
        let words = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", &*file];
        let root = Identity {
            name: "root".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/root".to_owned(),
        };
        let plan = SpawnPlan {
            args: words.map(str::to_owned).to_vec(),
            env: BTreeMap::from([
                ("PATH".to_owned(), self.search_path.clone()),
                ("HOME".to_owned(), root.home.clone()),
            ]),
            cwd: "/".to_owned(),
            identity: root,
            io: Io::Pipes { stdin: false },
            cgroup: None,
        };
        let cgroup = self.groups.helper("ssh-keygen");
        let (result, output) = command::run(&self.reaper, plan, cgroup, KEY_DEADLINE).await;
        let said = output.lines().next().unwrap_or_default();
        result.map_err(|error| format!("{error}: {said}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_known_by_their_names() {
        assert_eq!(parse_name("ssh_host_ed25519_key"), Some(("ed25519", "")));
        assert_eq!(parse_name("ssh_host_rsa_key.pub"), Some(("rsa", ".pub")));
        assert_eq!(parse_name("ssh_host_rsa_key-cert.pub"), Some(("rsa", "-cert.pub")));
        for other in [
            "ssh_host_key",
            "ssh_host__key",
            "ssh_host_-f_key",
            "ssh_host_rsa_key.bak",
            "ssh_config",
            "moduli",
            "",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn keys_are_found_with_all_that_belongs_to_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(&folder.path().join("none")).unwrap(), Found::default());
        for name in [
            ".hearth-new-1-rsa",
            "ssh_host_rsa_key",
            "ssh_host_rsa_key.pub",
            "ssh_host_dsa_key.pub",
            "sshd_config",
        ] {
            fs::write(folder.path().join(name), "old").unwrap();
        }
        let found = find(folder.path()).unwrap();
        assert_eq!(
            found.types,
            BTreeSet::from(["rsa".to_owned()]),
            "a public key alone serves nobody"
        );
        assert_eq!(found.files.len(), 4);
    }

    #[tokio::test]
    async fn a_key_is_made_by_the_images_program() {
        let _alone = super::super::testing::alone().await;
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("ssh-keygen");
        let maker = Maker {
            reaper: Reaper::default(),
            groups: Groups::default(),
            search_path: root.path().to_string_lossy().into_owned(),
            folder: root.path().to_owned(),
            run: 3,
        };
        super::super::testing::reaping(&maker.reaper, async {
            let missing = maker.make("rsa").await.unwrap_err();
            assert!(
                missing.contains("ssh_host_rsa_key") && missing.contains("not found"),
                "{missing}"
            );

            // Says which key it makes: `-t <type> … -f <file>`.
            fs::write(
                &program,
                "#!/bin/sh\n[ $3 = rsa ] || { echo no such type; exit 9; }\necho \"$@\" >$9; echo >$9.pub\n",
            )
            .unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            maker.make("rsa").await.unwrap();
            let made = fs::read_to_string(root.path().join("ssh_host_rsa_key")).unwrap();
            assert!(made.starts_with("-q -t rsa -N"), "{made}");
            assert!(
                made.trim().ends_with(".hearth-new-3-rsa"),
                "made beside its place: {made}"
            );
            assert!(root.path().join("ssh_host_rsa_key.pub").exists());

            let refused = maker.make("dsa").await.unwrap_err();
            assert!(refused.contains("exit status 9: no such type"), "{refused}");
        })
        .await;
    }
}
