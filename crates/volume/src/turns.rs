//! Turns of work that blocks. Who changes a volume has its books alone, and counts them first, which may take long; those who wait
//! for them meanwhile would take all the threads that the process has for such work, so they wait here, where that costs none.

use std::{io, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{folder::Folder, path::VolumePath};

/// What is done in one volume at once.
const VOLUME_MAX: usize = 4;
/// What is done in all volumes at once: a part of the threads that there are for what blocks.
const ALL_MAX: usize = 64;
/// Trees that are removed at once. That takes as long as they are large, so it takes nobody's turn.
const REMOVALS_MAX: usize = 8;

/// What all volumes share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    all: Arc<Semaphore>,
    removals: Arc<Semaphore>,
}

/// The turns of one volume, and those that all volumes share.
#[derive(Debug)]
pub(crate) struct Turns {
    own: Arc<Semaphore>,
    shared: Shared,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL_MAX)),
            removals: Arc::new(Semaphore::new(REMOVALS_MAX)),
        }
    }

    /// Removes a tree, when its turn has come.
    pub(crate) async fn removal<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let removals = Arc::clone(&self.removals);
        let turn = removals.acquire_owned().await.map_err(io::Error::other)?;
        Turn { _permits: vec![turn] }.run(work).await
    }
}

impl Turns {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            own: Arc::new(Semaphore::new(VOLUME_MAX)),
            shared,
        }
    }
}

/// The right to do something that blocks.
#[derive(Debug)]
pub(crate) struct Turn {
    /// They are given back when it is dropped.
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Turn {
    /// Does it. Once begun it is done, though nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let done = spawn_blocking(move || {
            let done = work();
            drop(self);
            done
        });
        done.await.map_err(io::Error::other)
    }
}

impl Folder {
    /// Waits for a turn: first for one of the volume's own, so that no volume has all that others wait for.
    pub(crate) async fn turn(&self) -> io::Result<Turn> {
        let Turns { own, shared } = self.turns();
        let own = Arc::clone(own).acquire_owned().await.map_err(io::Error::other)?;
        let all = Arc::clone(&shared.all);
        let all = all.acquire_owned().await.map_err(io::Error::other)?;
        Ok(Turn {
            _permits: vec![own, all],
        })
    }

    /// Removes what is at a path, with all that is in it. It is gone at once, and what it held is free when that is removed.
    pub async fn remove_slowly(self: &Arc<Self>, path: VolumePath) -> io::Result<()> {
        let moved = self.blocking(move |folder| folder.move_away(&path)).await??;
        let folder = Arc::clone(self);
        let (freed, purged) = self.turns().shared.removal(move || folder.purge(&moved)).await?;
        self.blocking(move |folder| folder.take_off(freed)).await??;
        purged
    }

    /// Does something with the volume that blocks, when its turn has come.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let folder = Arc::clone(self);
        self.turn().await?.run(move || work(&folder)).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use hearth_ids::VolumeId;
    use tokio::{runtime, task::yield_now, time::timeout};

    use super::*;
    use crate::Volumes;

    pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

    /// Two volumes, of which somebody has the books of the first, and a runtime with fewer threads than there will be calls.
    pub(crate) struct Held {
        pub(crate) volumes: [Arc<Folder>; 2],
        pub(crate) runtime: runtime::Runtime,
        let_go: Option<mpsc::Sender<()>>,
        holder: Option<thread::JoinHandle<()>>,
        _folder: tempfile::TempDir,
    }

    impl Held {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let all = Volumes::open(&folder.path().join("v"), b"secret", 1 << 20).unwrap();
            let volumes = [VolumeId::new(), VolumeId::new()].map(|id| {
                all.create(id).unwrap();
                all.get(id).unwrap().unwrap()
            });
            let runtime = runtime::Builder::new_current_thread()
                .max_blocking_threads(2 * VOLUME_MAX)
                .enable_all()
                .build()
                .unwrap();
            Self {
                volumes,
                runtime,
                let_go: None,
                holder: None,
                _folder: folder,
            }
        }

        /// Holds the books until they are let go, or what is tested has had its time.
        pub(crate) fn hold(&mut self) {
            let (holds, held) = mpsc::channel();
            let (let_go, wait) = mpsc::channel();
            let busy = Arc::clone(&self.volumes[0]);
            self.holder = Some(thread::spawn(move || {
                let work = |_: &mut crate::folder::Books<'_>| {
                    holds.send(()).unwrap();
                    let _ = wait.recv_timeout(2 * DEADLINE);
                    Ok(())
                };
                busy.with_books(work).unwrap();
            }));
            self.let_go = Some(let_go);
            held.recv().unwrap();
        }

        pub(crate) fn is_held(&self) -> bool {
            self.holder.as_ref().is_some_and(|holder| !holder.is_finished())
        }

        pub(crate) fn let_go(&mut self) {
            self.let_go = None;
            self.holder.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn who_waits_for_one_volume_keeps_nobody_from_another() {
        let mut held = Held::new();
        held.hold();
        let [busy, other] = held.volumes.clone();
        let tasks = held.runtime.block_on(async {
            let ask = || {
                let busy = Arc::clone(&busy);
                async move { busy.blocking(|folder| folder.usage()).await }
            };
            let tasks: Vec<_> = (0..8 * VOLUME_MAX).map(|_| tokio::spawn(ask())).collect();
            yield_now().await;
            let usage = timeout(DEADLINE, other.blocking(|folder| folder.usage())).await;
            usage.expect("the other volume answers").unwrap().unwrap();
            tasks
        });
        held.let_go();
        held.runtime.block_on(async {
            for task in tasks {
                task.await.unwrap().unwrap().unwrap();
            }
        });
    }
}
