//! Programs that stand still around a snapshot, and in what is restored until it is what it is to be.
//!
//! ```text
//!           hold                     restore that holds
//!  running ──────► for a snapshot ─────────────────────────► until told
//!     ▲                  │ release, restore, 30 s                 │ release, restore
//!     └──────────────────┴────────────────────────────────────────┘
//! ```
//! Invariants: nothing is started in a group that is held, since it would be held between fork and exec, and the agent with it:
//! whoever starts something waits for [`Hold::released`], and does so in the same step. Programs are held for a snapshot no
//! longer than [`SELF_RELEASE`], whatever becomes of the host.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::cgroup::{Freezer, Groups};

/// How long programs are held for a snapshot, if nobody releases them.
const SELF_RELEASE: Duration = Duration::from_secs(30);
/// How long they may take to stand still. One that is stuck in the kernel may take for ever.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    ForSnapshot,
    UntilTold,
}

/// Whether programs may run.
pub(crate) struct Hold {
    groups: Groups,
    freezer: OnceCell<Freezer>,
    state: watch::Sender<State>,
    self_release: RefCell<Option<JoinHandle<()>>>,
}

impl Hold {
    pub(crate) fn new(groups: Groups) -> Rc<Self> {
        Rc::new(Self {
            groups,
            freezer: OnceCell::new(),
            state: watch::Sender::new(State::Running),
            self_release: RefCell::default(),
        })
    }

    /// Has programs stand still for a snapshot. Whether they do: else they run.
    pub(crate) async fn for_snapshot(self: &Rc<Self>) -> bool {
        // First, since the caller may go away at any time.
        self.cancel_self_release();
        let waiting = tokio::task::spawn_local(Rc::clone(self).release_at_last());
        self.self_release.replace(Some(waiting));
        self.engage(State::ForSnapshot).await
    }

    /// Has programs stand still until somebody lets them go on. Whether they do: else they run.
    pub(crate) async fn until_told(&self) -> bool {
        self.cancel_self_release();
        self.engage(State::UntilTold).await
    }

    /// Lets programs go on. Where none are held, nothing happens.
    pub(crate) fn release(&self) -> io::Result<()> {
        self.thaw()?;
        self.cancel_self_release();
        Ok(())
    }

    /// Waits until programs may run.
    pub(crate) async fn released(&self) {
        // It cannot fail: the sender is ours.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Running).await;
    }

    /// Waits while programs are held for a snapshot. Whether they run then: else it takes a restore, or somebody's word.
    pub(crate) async fn snapshot_is_over(&self) -> bool {
        let mut state = self.state.subscribe();
        let state = state.wait_for(|state| *state != State::ForSnapshot).await;
        state.is_ok_and(|state| *state == State::Running)
    }

    async fn release_at_last(self: Rc<Self>) {
        sleep(SELF_RELEASE).await;
        match self.thaw() {
            Ok(()) => crate::console("programs were held for a snapshot, and nobody released them: they go on"),
            Err(error) => crate::console(&format!("cannot let programs go on: {error}")),
        }
    }

    fn thaw(&self) -> io::Result<()> {
        if *self.state.borrow() == State::Running {
            return Ok(());
        }
        if let Some(freezer) = self.freezer.get() {
            freezer.thaw()?;
        }
        self.state.send_replace(State::Running);
        Ok(())
    }

    fn cancel_self_release(&self) {
        if let Some(waiting) = self.self_release.take() {
            waiting.abort();
        }
    }

    /// Opened once, since what goes on from a snapshot pays dearly for each step.
    fn freezer(&self) -> Option<&Freezer> {
        if self.freezer.get().is_none() {
            let _ = self.freezer.set(self.groups.freezer()?);
        }
        self.freezer.get().filter(|_| !self.groups.has_strays())
    }

    async fn engage(&self, state: State) -> bool {
        let Some(freezer) = self.freezer() else {
            let _ = self.release();
            return false;
        };
        self.state.send_replace(state);
        let stands = freezer.freeze().is_ok() && self.stands_still(freezer, state).await;
        // Somebody else may have changed it meanwhile, who knows better.
        if !stands && *self.state.borrow() == state {
            let _ = self.release();
        }
        stands
    }

    /// Waits until everything stands still, for a while, and for as long as the state is this one.
    async fn stands_still(&self, freezer: &Freezer, state: State) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match freezer.is_frozen() {
                Ok(is_frozen) if is_frozen => return true,
                Ok(_) if Instant::now() < deadline => sleep(STEP).await,
                _ => return false,
            }
            if *self.state.borrow() != state {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A folder that looks like groups whose programs stand still, or never do.
    struct Rig {
        folder: tempfile::TempDir,
        hold: Rc<Hold>,
    }

    impl Rig {
        fn new(frozen: u8) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("cgroup.procs"), "").unwrap();
            let groups = Groups::set_up(folder.path());
            let rig = Self {
                folder,
                hold: Hold::new(groups),
            };
            fs::write(rig.file("cgroup.freeze"), "0").unwrap();
            fs::write(rig.file("cgroup.events"), format!("populated 1\nfrozen {frozen}\n")).unwrap();
            rig
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.path().join("programs").join(name)
        }

        fn is_held(&self) -> bool {
            fs::read_to_string(self.file("cgroup.freeze")).unwrap() == "1"
        }
    }

    async fn at_once(work: impl Future) -> bool {
        tokio::time::timeout(Duration::ZERO, work).await.is_ok()
    }

    /// Time passes only while everything waits.
    fn run(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, work);
    }

    #[test]
    fn programs_are_held_until_they_are_released() {
        run(async {
            let rig = Rig::new(1);
            rig.hold.release().unwrap();
            assert!(at_once(rig.hold.released()).await);
            assert!(rig.hold.for_snapshot().await && rig.is_held());
            assert!(!at_once(rig.hold.released()).await);
            assert!(!at_once(rig.hold.snapshot_is_over()).await);
            for _ in 0..2 {
                rig.hold.release().unwrap();
                assert!(!rig.is_held() && at_once(rig.hold.released()).await);
                assert!(rig.hold.snapshot_is_over().await);
            }
        });
    }

    #[test]
    fn nobody_holds_them_for_long_for_a_snapshot() {
        run(async {
            let rig = Rig::new(1);
            for _ in 0..2 {
                let begun = Instant::now();
                assert!(rig.hold.for_snapshot().await);
                sleep(Duration::from_secs(29)).await;
                assert!(rig.is_held());
                rig.hold.released().await;
                assert!(!rig.is_held());
                assert_eq!(begun.elapsed().as_secs(), 30);
            }
            // Released, and held again: the first time counts no more.
            rig.hold.for_snapshot().await;
            sleep(Duration::from_secs(20)).await;
            rig.hold.release().unwrap();
            rig.hold.for_snapshot().await;
            sleep(Duration::from_secs(20)).await;
            assert!(rig.is_held());
        });
    }

    #[test]
    fn what_is_restored_may_hold_them_for_ever() {
        run(async {
            let rig = Rig::new(1);
            assert!(rig.hold.for_snapshot().await);
            sleep(Duration::from_secs(29)).await;
            for _ in 0..2 {
                assert!(rig.hold.until_told().await);
                sleep(Duration::from_hours(24)).await;
                assert!(rig.is_held() && !rig.hold.snapshot_is_over().await);
            }
            rig.hold.release().unwrap();
            assert!(!rig.is_held() && rig.hold.snapshot_is_over().await);
        });
    }

    #[test]
    fn programs_that_do_not_come_to_a_stop_go_on() {
        run(async {
            let rig = Rig::new(0);
            let begun = Instant::now();
            assert!(!rig.hold.for_snapshot().await && !rig.is_held());
            assert_eq!(begun.elapsed().as_millis() / 100, 5);
            assert!(at_once(rig.hold.released()).await);
            assert!(!rig.hold.until_told().await && !rig.is_held());
        });
    }

    #[test]
    fn a_caller_who_goes_away_leaves_nothing_held_for_ever() {
        run(async {
            let rig = Rig::new(0);
            assert!(!at_once(rig.hold.for_snapshot()).await && rig.is_held());
            rig.hold.released().await;
            assert!(!rig.is_held());
        });
    }

    #[test]
    fn a_release_meanwhile_counts() {
        run(async {
            let rig = Rig::new(0);
            let (hold, other) = (Rc::clone(&rig.hold), Rc::clone(&rig.hold));
            let holding = tokio::task::spawn_local(async move { hold.for_snapshot().await });
            sleep(Duration::from_millis(100)).await;
            assert!(rig.is_held());
            other.release().unwrap();
            assert!(!holding.await.unwrap() && !rig.is_held());
        });
    }

    #[test]
    fn without_groups_and_with_strays_nothing_is_held() {
        run(async {
            assert!(!Hold::new(Groups::default()).for_snapshot().await);
            let rig = Rig::new(1);
            let _ = rig.hold.groups.program("no/such/folder");
            assert!(!rig.hold.for_snapshot().await && !rig.is_held());
            assert!(!rig.hold.until_told().await && at_once(rig.hold.released()).await);
        });
    }
}
