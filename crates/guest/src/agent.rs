//! What the agent knows, shared by all connections. One thread, so plain cells; no borrow is held over an `.await`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::guest::{InitRequest, Tokens};

use crate::boot::VolumeModules;
use crate::forward::Forwarding;
use crate::freeze::Freezes;
use crate::log::{self, Log};
use crate::metrics::LastAsked;
use crate::names::NameFiles;
use crate::process::cgroup::Groups;
use crate::process::spawn::DEFAULT_PATH;
use crate::process::table::ProcessTable;
use crate::process::users::{Accounts, Identity};
use crate::restore::{Places, RestoreState};
use crate::runtime_api::RuntimeApi;
use crate::server::sessions::Sessions;
use crate::volumes::Volumes;
use crate::workload::Workload;

/// What the boot found out.
pub(crate) struct Boot {
    /// The only addresses from which host calls are taken.
    pub(crate) host_addresses: Vec<IpAddr>,
    /// Our own IPv4 address, for `/etc/hosts`.
    pub(crate) own_address: Option<IpAddr>,
    /// The writable disk under the root, where it is one.
    pub(crate) disk: Option<OwnedFd>,
    /// Where secret files really lie: elsewhere in `--test`.
    pub(crate) secrets: PathBuf,
    /// Where the processes that the agent starts are grouped; nowhere in most of `--test`.
    pub(crate) groups: Groups,
    /// Where a restore finds what it changes; nowhere in most of `--test`.
    pub(crate) places: Option<Places>,
    pub(crate) listening_ns: u64,
    pub(crate) root_ready_ns: u64,
    /// Whether this is a guest whose names, clock and power are ours; false in `--test`.
    pub(crate) is_init: bool,
    /// What the kernel needs before it mounts volumes.
    pub(crate) volume_modules: Arc<VolumeModules>,
}

/// What Init told.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) tokens: Option<Tokens>,
    pub(crate) hostname: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) default_user: String,
    pub(crate) default_cwd: String,
}

/// The agent.
pub(crate) struct Agent {
    pub(crate) boot: Boot,
    pub(crate) settings: RefCell<Settings>,
    pub(crate) processes: Rc<ProcessTable>,
    pub(crate) log: Rc<Log>,
    pub(crate) workload: RefCell<Option<Rc<Workload>>>,
    /// Where the workload is called through it.
    pub(crate) runtime_api: RefCell<Option<Rc<RuntimeApi>>>,
    pub(crate) watchers: crate::server::watch::Watchers,
    pub(crate) stopping: Cell<bool>,
    /// Whether there was an Init that did not hold programs: until then none has seen the machine.
    pub(crate) has_lived: Cell<bool>,
    /// Whether the folder for secrets is a tmpfs by now.
    pub(crate) secrets_mounted: Cell<bool>,
    pub(crate) sessions: Rc<Sessions>,
    pub(crate) restore: RestoreState,
    pub(crate) freezes: Freezes,
    pub(crate) names: NameFiles,
    pub(crate) metrics_asked: Cell<LastAsked>,
    pub(crate) forwarding: Forwarding,
    pub(crate) volumes: Volumes,
}

impl Agent {
    pub(crate) fn new(boot: Boot, processes: Rc<ProcessTable>) -> Rc<Self> {
        let log = Log::new(log::capacity_bytes(0, crate::metrics::memory_total_bytes()));
        Rc::new(Self {
            boot,
            settings: RefCell::default(),
            processes,
            log,
            workload: RefCell::default(),
            runtime_api: RefCell::default(),
            watchers: crate::server::watch::Watchers::default(),
            stopping: Cell::new(false),
            has_lived: Cell::new(false),
            secrets_mounted: Cell::new(false),
            sessions: Rc::default(),
            restore: RestoreState::default(),
            freezes: Freezes::default(),
            names: NameFiles::default(),
            metrics_asked: Cell::default(),
            forwarding: Forwarding::default(),
            volumes: Volumes::default(),
        })
    }

    /// Takes over what Init says about calls to come.
    pub(crate) fn configure(&self, request: &InitRequest) {
        let mut settings = self.settings.borrow_mut();
        if let Some(tokens) = &request.tokens {
            settings.tokens = Some(tokens.clone());
        }
        if !request.hostname.is_empty() {
            settings.hostname.clone_from(&request.hostname);
        }
        settings.env.clone_from(&request.env);
        settings.default_user.clone_from(&request.default_user);
        settings.default_cwd.clone_from(&request.default_cwd);
        if let Some(workload) = &request.workload {
            if settings.default_user.is_empty() {
                settings.default_user.clone_from(&workload.user);
            }
            for (name, value) in &workload.env {
                settings.env.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        if let Some(limits) = request.limits.filter(|limits| limits.log_bytes > 0) {
            self.log.set_capacity(log::capacity_bytes(
                limits.log_bytes,
                crate::metrics::memory_total_bytes(),
            ));
        }
    }

    /// The named user, or the default one. The wire contract has the user's name as credentials, so one who does not exist is
    /// not let in.
    pub(crate) fn identity(&self, named: Option<&str>) -> Result<Identity, ConnectError> {
        let default = self.settings.borrow().default_user.clone();
        let spec = named.filter(|name| !name.is_empty()).unwrap_or(&default);
        Accounts::load()
            .resolve(spec)
            .map_err(|error| ConnectError::new(Code::Unauthenticated, error.to_string()))
    }

    /// The folder that a process starts in: the caller's, the machine's, the user's home.
    pub(crate) fn working_folder(&self, named: Option<&str>, home: &str) -> Result<String, ConnectError> {
        let default = self.settings.borrow().default_cwd.clone();
        let wanted = named
            .filter(|cwd| !cwd.is_empty())
            .unwrap_or(if default.is_empty() { home } else { &default });
        let folder = crate::paths::expand(wanted, home);
        if folder.is_dir() {
            return Ok(folder.to_string_lossy().into_owned());
        }
        // A home that the image lacks is no reason not to run; a folder that was asked for is.
        if named.is_none_or(str::is_empty) {
            return Ok("/".to_owned());
        }
        Err(ConnectError::new(
            Code::InvalidArgument,
            format!("cwd '{}' does not exist", folder.display()),
        ))
    }

    /// The environment of a process: what every process has, the machine's own, the caller's.
    pub(crate) fn environment(
        &self,
        identity: &Identity,
        own: BTreeMap<String, String>,
        has_pty: bool,
    ) -> BTreeMap<String, String> {
        let settings = self.settings.borrow();
        let mut env = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        if !settings.hostname.is_empty() {
            env.insert("HOSTNAME".to_owned(), settings.hostname.clone());
        }
        if has_pty {
            env.insert("TERM".to_owned(), "xterm".to_owned());
        }
        env.extend(settings.env.clone());
        // The machine's HOME is that of its workload's user; whoever runs as somebody else wants their own.
        if settings.default_user != identity.name {
            env.remove("HOME");
        }
        env.extend(own);
        env.entry("HOME".to_owned()).or_insert_with(|| identity.home.clone());
        env
    }
}
