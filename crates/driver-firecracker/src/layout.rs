//! Where everything lies in a machine's folder. Pure.
//!
//! ```text
//! <folder>/log.fifo      log.kept      log.kept.1        the VMM's own log
//!          metrics.fifo  metrics.kept  metrics.kept.1    its metrics
//!          jail/<program>/<machine>/root/                the VMM's root, as the jailer wants it
//!                                       api.sock vmlinux initramfs root layer0 disk log.fifo metrics.fifo
//! ```
//! Beside these lie the launcher's pid file and the guest's console ([`hearth_driver::launch`]).
//! Unjailed, the socket lies in the folder itself and the VMM sees all files by their own paths, but for root and layers.

use std::path::{Path, PathBuf};

use hearth_driver::{
    StartPlan,
    launch::{ROOT_PATH, layer_path},
};

use crate::{config::Confinement, programs::Programs};

const JAIL: &str = "jail";
const API: &str = "api.sock";

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
            disk: plan.disk.is_some().then(|| "/disk".into()),
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
            disk: plan.disk.clone(),
            log: Stream::Log.fifo(&plan.folder),
            metrics: Stream::Metrics.fifo(&plan.folder),
        };
        Self { root: None, api, seen }
    }

    /// What must be put into the jail: a file of the host, and its path seen from inside.
    pub(crate) fn gifts<'a>(&'a self, plan: &'a StartPlan) -> Vec<(PathBuf, &'a Path)> {
        let mut gifts = vec![
            (plan.kernel.vmlinux.clone(), self.seen.kernel.as_path()),
            (plan.kernel.initramfs.clone(), self.seen.initramfs.as_path()),
            (plan.root.clone(), self.seen.root.as_path()),
            (Stream::Log.fifo(&plan.folder), self.seen.log.as_path()),
            (Stream::Metrics.fifo(&plan.folder), self.seen.metrics.as_path()),
        ];
        let layers = plan.layers.iter().cloned();
        gifts.extend(layers.zip(self.seen.layers.iter().map(PathBuf::as_path)));
        if let (Some(disk), Some(seen)) = (&plan.disk, &self.seen.disk) {
            gifts.push((disk.clone(), seen));
        }
        gifts
    }
}
