//! Where everything lies in a machine's folder. Pure.
//!
//! ```text
//! <folder>/log.fifo      log.kept      log.kept.1        the VMM's own log
//!          metrics.fifo  metrics.kept  metrics.kept.1    its metrics
//!          saved.once                                    it was saved, or that was tried
//!          jail/<program>/<machine>/root/                the VMM's root, as the jailer wants it
//!                                       api.sock vmlinux initramfs root layer0 disk log.fifo metrics.fifo
//!                                       files/                   its own open files, of a VMM that is restored
//!                                       saved.memory saved.base  while it is saved
//!                                       saved.devices            while it is saved or restored
//! ```
//! Beside these lie the launcher's pid file and the guest's console ([`hearth_driver::launch`]).
//! Unjailed, the socket and what is saved lie in the folder itself, `disk` there is a link, root and layers are open files,
//! and all else the VMM sees by its own path.
//!
//! What a VMM saves of itself names its drives by the paths that it sees. So these are the same for all machines: a copy
//! finds its own files there.

use std::path::{Path, PathBuf};

use hearth_driver::{
    SavedState, StartPlan,
    launch::{JAILED_MEMORY, MEMORY_PATH, ROOT_PATH, layer_path},
};

use crate::{config::Confinement, programs::Programs};

const JAIL: &str = "jail";
const API: &str = "api.sock";
const DISK: &str = "disk";
const FILES: &str = "files";

/// A stream that the VMM writes and this driver keeps the end of. (The console is the launcher's.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    /// The VMM's log.
    Log,
    /// Its metrics, a JSON line each time.
    Metrics,
}

impl Stream {
    pub(crate) const ALL: [Self; 2] = [Self::Log, Self::Metrics];

    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Metrics => "metrics",
        }
    }

    /// The pipe that the VMM writes.
    pub(crate) fn fifo(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.fifo", self.name()))
    }

    /// Where the end of it is kept.
    pub(crate) fn kept(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.kept", self.name()))
    }

    /// Where what came before that is kept.
    pub(crate) fn kept_before(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.kept.1", self.name()))
    }
}

/// Where a guest begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// With its kernel.
    Kernel,
    /// Where another one stood still. Its kernel is in its memory.
    Saved(&'a SavedState),
}

/// Files by which a VMM and this process hand over what is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transit {
    /// Written by the VMM alone, or by it over the base.
    pub(crate) memory: Place,
    /// Becomes the base of the memory once it is whole.
    pub(crate) base: Place,
    /// Written by the VMM that is saved, or for the one that is restored.
    pub(crate) devices: Place,
}

/// One file, on the host and as the VMM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: PathBuf,
    pub(crate) seen: PathBuf,
}

impl Transit {
    /// In a machine's jail, if there is one, or its folder.
    pub(crate) fn of(jail: Option<&Path>, folder: &Path) -> Self {
        let place = |name: &str| Place {
            host: jail.unwrap_or(folder).join(name),
            seen: jail.map_or(folder, |_root| Path::new("/")).join(name),
        };
        Self {
            memory: place("saved.memory"),
            base: place("saved.base"),
            devices: place("saved.devices"),
        }
    }
}

/// What says that a VMM was saved already, or that this was tried.
pub(crate) fn saved_once(folder: &Path) -> PathBuf {
    folder.join("saved.once")
}

/// The folder that holds the jail.
pub(crate) fn jail_base(folder: &Path) -> PathBuf {
    folder.join(JAIL)
}

/// A machine's paths, on the host and as the VMM sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The jail's root on the host, if there is one.
    pub(crate) root: Option<PathBuf>,
    /// The API socket on the host.
    pub(crate) api: PathBuf,
    /// As the VMM sees them.
    pub(crate) seen: Seen,
}

/// Paths as the VMM sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) api: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) disk: Option<PathBuf>,
    /// The memory that a VMM is restored from.
    pub(crate) memory: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) metrics: PathBuf,
}

impl Layout {
    pub(crate) fn of(plan: &StartPlan, programs: &Programs, confinement: Confinement) -> Self {
        match confinement {
            Confinement::Jailer => Self::jailed(plan, programs),
            Confinement::None => Self::unjailed(plan),
        }
    }

    fn jailed(plan: &StartPlan, programs: &Programs) -> Self {
        let program = programs.firecracker.file_name().unwrap_or_default();
        let root = jail_base(&plan.folder)
            .join(program)
            .join(plan.machine.to_string())
            .join("root");
        let seen = Seen {
            api: Path::new("/").join(API),
            kernel: "/vmlinux".into(),
            initramfs: "/initramfs".into(),
            root: "/root".into(),
            layers: (0..plan.layers.len())
                .map(|index| format!("/layer{index}").into())
                .collect(),
            disk: plan.disk.is_some().then(|| Path::new("/").join(DISK)),
            memory: Path::new("/").join(FILES).join(JAILED_MEMORY),
            log: "/log.fifo".into(),
            metrics: "/metrics.fifo".into(),
        };
        Self {
            api: root.join(API),
            root: Some(root),
            seen,
        }
    }

    fn unjailed(plan: &StartPlan) -> Self {
        let api = plan.folder.join(API);
        let seen = Seen {
            api: api.clone(),
            kernel: plan.kernel.vmlinux.clone(),
            initramfs: plan.kernel.initramfs.clone(),
            root: ROOT_PATH.into(),
            layers: (0..plan.layers.len()).map(layer_path).collect(),
            // In the VMM's working folder.
            disk: plan.disk.is_some().then(|| DISK.into()),
            memory: MEMORY_PATH.into(),
            log: Stream::Log.fifo(&plan.folder),
            metrics: Stream::Metrics.fifo(&plan.folder),
        };
        Self { root: None, api, seen }
    }

    /// By which files the VMM and this process hand over what is saved.
    pub(crate) fn transit(&self, folder: &Path) -> Transit {
        Transit::of(self.root.as_deref(), folder)
    }

    /// The folder in the jail, if there is one, that shows a restored VMM its own open files.
    pub(crate) fn files(&self) -> Option<PathBuf> {
        self.root.as_ref().map(|root| root.join(FILES))
    }

    /// What must be put into the jail: a file of the host, and its path seen from inside.
    pub(crate) fn gifts<'a>(&'a self, plan: &'a StartPlan, origin: Origin<'_>) -> Vec<(PathBuf, &'a Path)> {
        let mut gifts = vec![
            (plan.root.clone(), self.seen.root.as_path()),
            (Stream::Log.fifo(&plan.folder), self.seen.log.as_path()),
            (Stream::Metrics.fifo(&plan.folder), self.seen.metrics.as_path()),
        ];
        let layers = plan.layers.iter().cloned();
        gifts.extend(layers.zip(self.seen.layers.iter().map(PathBuf::as_path)));
        if let Origin::Kernel = origin {
            gifts.extend([
                (plan.kernel.vmlinux.clone(), self.seen.kernel.as_path()),
                (plan.kernel.initramfs.clone(), self.seen.initramfs.as_path()),
            ]);
        }
        if let (Some(disk), Some(seen)) = (&plan.disk, &self.seen.disk) {
            gifts.push((disk.clone(), seen));
        }
        gifts
    }
}
