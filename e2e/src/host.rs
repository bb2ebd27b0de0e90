//! A daemon of a test's own.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use hearth_network::InstanceId;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Ran, fixture, wait_for};

/// How a daemon is started.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Further arguments of `hearth up`.
    pub args: Vec<String>,
    /// Further environment of the daemon.
    pub env: Vec<(String, String)>,
}

impl HostOptions {
    /// With an argument more.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Of a daemon that kills itself at a fault point.
    pub fn dying_at(point: &str) -> Self {
        Self::default().env("HEARTH_FAULT", point)
    }

    /// With a variable more.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A state folder and its daemon. Both are gone when it is dropped.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
    /// Where the state folder lies, if not in the folder.
    elsewhere: Option<PathBuf>,
    daemon: Option<Child>,
}

impl Host {
    /// A host with a kernel, images, and a daemon that runs.
    pub fn start() -> Self {
        Self::with(&HostOptions::default())
    }

    /// The same, with options.
    pub fn with(options: &HostOptions) -> Self {
        let mut host = Self::bare();
        fixture::sow(&host.state_dir());
        host.up(options);
        host
    }

    /// The same as [`Host::with`], with its state in a folder that is there and empty, and stays.
    pub fn at(state_dir: &Path, options: &HostOptions) -> Self {
        let mut host = Self::bare();
        host.elsewhere = Some(state_dir.to_owned());
        fixture::sow(state_dir);
        host.up(options);
        host
    }

    /// A host without kernel and images, and a daemon that runs.
    pub fn empty(options: &HostOptions) -> Self {
        let mut host = Self::bare();
        host.up(options);
        host
    }

    /// A host without a daemon.
    pub fn bare() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("hearth-e2e-")
            .tempdir()
            .expect("a temporary folder can be made");
        // VMMs run as users of their own.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        fs::set_permissions(folder.path(), mode).expect("one's own folder");
        fs::create_dir(folder.path().join("state")).expect("one's own folder");
        Self {
            folder,
            elsewhere: None,
            daemon: None,
        }
    }

    /// Its state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.elsewhere
            .clone()
            .unwrap_or_else(|| self.folder.path().join("state"))
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn up(&mut self, options: &HostOptions) {
        self.spawn(options);
        wait_for("the daemon to answer", || {
            let daemon = self.daemon.as_mut().expect("just spawned");
            if let Some(status) = daemon.try_wait().expect("one's own child") {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            (self.hearth(&["node", "info"]).code == 0).then_some(())
        });
    }

    /// Starts the daemon and does not wait.
    pub fn spawn(&mut self, options: &HostOptions) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"));
        let log = log.expect("one's own folder");
        let daemon = Command::new(fixture::hearth())
            .args(["up", "--warm-slots", "1", "--state-dir"])
            .arg(self.state_dir())
            .arg("--socket")
            .arg(self.socket())
            .args(&options.args)
            // Each test's daemon has its own.
            .env("HEARTH_GATEWAY", "127.0.0.1:0")
            .envs(options.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.daemon = Some(daemon.expect("the hearth binary can be run"));
    }

    /// What the daemon, or its predecessors, logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// If none was started.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon was started").id()
    }

    /// Kills the daemon with -9.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("one's own child");
            daemon.wait().expect("one's own child");
        }
    }

    /// Waits until the daemon has died by itself, and tells how.
    pub fn wait_for_death(&mut self) -> ExitStatus {
        let status = wait_for("the daemon to die", || {
            self.daemon.as_mut()?.try_wait().expect("one's own child")
        });
        self.daemon = None;
        status
    }

    /// Waits until the daemon has killed itself at the fault point with whose name it was started.
    ///
    /// # Panics
    /// If it ends in another way.
    pub fn killed_itself_at(&mut self, point: &str) {
        let status = self.wait_for_death();
        let signal = Signal::KILL.as_raw();
        assert_eq!(
            status.signal(),
            Some(signal),
            "{point} was not come by: {status}\n{}",
            self.log()
        );
    }

    /// Has a hearth command bring the daemon to the fault point at which it kills itself.
    ///
    /// # Panics
    /// If the daemon ends in another way.
    pub fn killed_at_by(&mut self, point: &str, args: &[&str]) {
        let mut command = self.command(args);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let client = command.stderr(Stdio::null()).spawn();
        let mut client = client.expect("the hearth binary can be run");
        self.killed_itself_at(point);
        client.wait().expect("one's own child");
    }

    /// Whether the daemon has ended.
    pub fn is_dead(&mut self) -> bool {
        self.daemon
            .as_mut()
            .is_none_or(|daemon| daemon.try_wait().expect("one's own child").is_some())
    }

    /// Ends the daemon with SIGTERM and waits for it.
    pub fn down(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if let Some(pid) = Pid::from_raw(daemon.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let deadline = Instant::now() + Duration::from_secs(30);
            while daemon.try_wait().expect("one's own child").is_none() {
                if Instant::now() > deadline {
                    daemon.kill().expect("one's own child");
                    daemon.wait().expect("one's own child");
                    panic!("the daemon did not heed SIGTERM:\n{}", self.log());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// A hearth command that speaks to this host.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(fixture::hearth());
        // Whoever runs the tests may have set these for a host that is to be left alone.
        for variable in ["HEARTH_HOST", "HEARTH_KEY", "HEARTH_PROJECT"] {
            command.env_remove(variable);
        }
        command.env("HEARTH_SOCKET", self.socket()).args(args);
        command
    }

    /// Runs a hearth command.
    pub fn hearth(&self, args: &[&str]) -> Ran {
        self.hearth_with(args, b"")
    }

    /// Runs a hearth command with something on its standard input.
    pub fn hearth_with(&self, args: &[&str], input: &[u8]) -> Ran {
        Ran::of(&mut self.command(args), input)
    }

    /// A machine, as `inspect` shows it.
    pub fn inspect(&self, machine: &str) -> serde_json::Value {
        self.hearth(&["inspect", machine]).json()[0].clone()
    }

    /// The VMM of a machine, if it has one.
    pub fn vmm(&self, machine: &str) -> Option<Pid> {
        Pid::from_raw(self.inspect(machine)["pid"].as_i64()?.try_into().ok()?)
    }

    /// A machine's state; `None` if there is no such machine.
    pub fn state_of(&self, machine: &str) -> Option<String> {
        let ran = self.hearth(&["inspect", machine]);
        let shown: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
        Some(shown[0]["state"].as_str()?.to_owned())
    }

    /// Waits until a machine is in a state.
    pub fn wait_for_state(&self, machine: &str, state: &str) {
        let mut last = None;
        let deadline = Instant::now() + crate::PATIENCE;
        while Instant::now() < deadline {
            last = self.state_of(machine);
            if last.as_deref() == Some(state) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{machine} is {last:?}, not {state}; the daemon says:\n{}", self.log());
    }

    /// What this host's machines have left on the machine that runs the tests: what they hold, and folders.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = self.held();
        let state_dir = self.state_dir();
        let by_image = entries(&state_dir.join("images/holders"));
        let holds = by_image.iter().flat_map(|folder| entries(folder));
        found.extend(holds.map(|path| format!("hold on an image {}", path.display())));
        let folders = entries(&state_dir.join("machines"));
        found.extend(folders.iter().map(|path| format!("folder {}", path.display())));
        found
    }

    /// What only machines hold that are not at rest: VMMs, cgroups, slots.
    pub fn held(&self) -> Vec<String> {
        let mut found = self.vmms();
        found.extend(self.cgroups());
        let slots = entries(&self.state_dir().join("slots/slots"));
        found.extend(slots.iter().map(|path| format!("slot {}", path.display())));
        found
    }

    /// Namespaces of this host's slots. A daemon that runs keeps some ready; one that went down in order leaves none.
    pub fn namespaces(&self) -> Vec<String> {
        let slots = self.state_dir().canonicalize().expect("one's own folder").join("slots");
        let prefix = format!("hv-{}-", InstanceId::of_folder(&slots).as_str());
        let namespaces = entries(Path::new("/run/netns")).into_iter();
        let names = namespaces.map(|path| path.display().to_string());
        names
            .filter(|path| path.starts_with(&format!("/run/netns/{prefix}")))
            .collect()
    }

    fn vmms(&self) -> Vec<String> {
        let state_dir = self.state_dir().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for process in entries(Path::new("/proc")) {
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let is_vmm = ["qemu-system", "firecracker", "vmm-launch"]
                .iter()
                .any(|name| command.contains(name));
            if is_vmm && command.contains(&state_dir) {
                found.push(format!("process {}: {command}", process.display()));
            }
        }
        found
    }

    fn cgroups(&self) -> Vec<String> {
        let Ok(id) = fs::read_to_string(self.state_dir().join("node-id")) else {
            return Vec::new();
        };
        let parent = format!("hearth-{}", &id[id.len() - 8..]);
        let root = Path::new("/sys/fs/cgroup");
        let tops = entries(root).into_iter().map(|top| top.join(&parent));
        let tops = tops.chain([root.join(&parent)]);
        tops.flat_map(|top| entries(&top))
            .filter(|path| path.is_dir())
            .map(|path| format!("cgroup {}", path.display()))
            .collect()
    }
}

impl Host {
    /// Removes what a test has left in each project.
    fn remove_all(&self) {
        let projects = self.names(&["--json", "project", "ls"]);
        let functions = projects.iter().map(|project| self.remove_functions(project));
        if functions.fold(false, |any, some| any | some) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !self.leftovers().is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for project in &projects {
            let machines = self.hearth(&["--project", project, "ps", "-aq"]).stdout;
            let machines: Vec<&str> = machines.split_whitespace().collect();
            if !machines.is_empty() {
                self.hearth(&[&["--project", project, "rm", "-f"], machines.as_slice()].concat());
            }
        }
    }

    /// Removes a project's functions; whether there were any. Their machines have to be gone before others are removed: of
    /// a function that is there, others would take the place of those.
    fn remove_functions(&self, project: &str) -> bool {
        let names = self.names(&["--project", project, "--json", "fn", "ls"]);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !names.is_empty() {
            self.hearth(&[&["--project", project, "fn", "rm"], names.as_slice()].concat());
        }
        !names.is_empty()
    }

    /// The names of what a command lists as JSON.
    fn names(&self, args: &[&str]) -> Vec<String> {
        let listed = self.hearth(args).stdout;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap_or_default();
        let all = listed.as_array().into_iter().flatten();
        all.filter_map(|it| Some(it["name"].as_str()?.to_owned())).collect()
    }
}

/// What lies in a folder that need not be there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.daemon.is_none() && !self.leftovers().is_empty() {
            self.spawn(&HostOptions::default());
        }
        if !self.is_dead() {
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.hearth(&["node", "info"]).code != 0 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.remove_all();
            self.down();
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log:\n{}", self.log());
        }
    }
}
