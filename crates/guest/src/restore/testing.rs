//! What tests need that run programs: the reaper waits for every child of the process, so there can be one such test at a time.

use tokio::sync::{Mutex, MutexGuard};

use crate::process::reaper::Reaper;

static ALONE: Mutex<()> = Mutex::const_new(());

pub(super) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// Does the work while children are reaped.
pub(super) async fn reaping<T>(reaper: &Reaper, work: impl Future<Output = T>) -> T {
    let reaper = reaper.clone();
    tokio::task::LocalSet::new()
        .run_until(async move {
            let children = tokio::task::spawn_local(reaper.run());
            let done = work.await;
            children.abort();
            done
        })
        .await
}
