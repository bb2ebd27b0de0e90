//! An agent whose guest's root is a folder.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hearth_guest_api::guest::{InitRequest, Restore, Tokens, Workload};
use hearth_guest_api::{GuestClient, GuestTokens};

use crate::common::spawn;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef";

/// A running agent; killed when dropped, with what it started if it has groups.
pub(crate) struct Guest {
    process: Child,
    _groups: Option<Groups>,
    pub(crate) client: GuestClient,
    root: tempfile::TempDir,
    _secrets: tempfile::TempDir,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tokens(host: &str) -> GuestTokens {
    GuestTokens {
        host: host.into(),
        access: format!("{host}-access"),
    }
}

impl Guest {
    pub(crate) async fn start() -> Self {
        Self::start_in(None).await
    }

    /// With groups it can hold its programs.
    pub(crate) async fn start_in(groups: Option<Groups>) -> Self {
        let (root, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let groups_folder = groups.as_ref().map(|groups| groups.folder.as_os_str());
        let more: Vec<_> = Some(root.path().as_os_str()).into_iter().chain(groups_folder).collect();
        let (process, address, _) = spawn(secrets.path(), &more);
        let client = GuestClient::new(address, tokens("source"));
        client.wait_ready(Instant::now() + LIMIT).await.unwrap();
        Self {
            process,
            _groups: groups,
            client,
            root,
            _secrets: secrets,
        }
    }

    /// A guest whose workload lives when it is restored.
    pub(crate) async fn living() -> Self {
        let guest = Self::start().await;
        // Ends with the agent, which holds the other end of its input.
        let workload = Workload {
            args: ["sh", "-c", "echo here; exec cat"].map(str::to_owned).to_vec(),
            stdin: true,
            ..Default::default()
        };
        let request = InitRequest {
            workload: Some(workload),
            ..Default::default()
        };
        guest.client.init(request).await.unwrap();
        guest
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    pub(crate) fn write(&self, path: &str, content: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A script that runs in the root.
    pub(crate) fn script(&self, path: &str, script: &str) {
        let root = self.root.path().display();
        self.write(path, &format!("#!/bin/sh\ncd {root}\n{script}\n"), 0o755);
    }

    /// Another client, with connections of its own.
    pub(crate) fn client(&self, host: &str) -> GuestClient {
        GuestClient::new(self.client.addr(), tokens(host))
    }
}

/// A folder of cgroup v2 that is a test's own.
pub(crate) struct Groups {
    folder: PathBuf,
}

impl Groups {
    /// Nothing, said aloud, where the host lets no such folder be made.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next().filter(|_| fields.next() == Some("cgroup2"))
        });
        let name = format!(
            "hearth-guest-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Path::new(mount.unwrap_or("/no cgroup v2")).join(name);
        if let Err(error) = fs::create_dir(&folder) {
            eprintln!("SKIPPED: cannot make {}: {error}", folder.display());
            return None;
        }
        Some(Self { folder })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("cgroup.kill"), "1");
        let deadline = Instant::now() + LIMIT;
        while remove_groups(&self.folder).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// From below, since a group with others in it stays.
fn remove_groups(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_groups(&path)?;
        }
    }
    fs::remove_dir(folder)
}

pub(crate) fn restore(copy: bool) -> InitRequest {
    InitRequest {
        tokens: Some(Tokens {
            host: "copy".into(),
            access: "copy-access".into(),
        }),
        entropy: vec![9; 64].into(),
        restore: Some(Restore {
            copy,
            machine_id: ID.into(),
            hold: false,
        }),
        ..Default::default()
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
