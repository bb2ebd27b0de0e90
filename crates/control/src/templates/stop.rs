//! Ending a build that is under way, from outside it: its template is removed, its time is over, or the server goes down.
//!
//! A build sees it where it waits, or has a machine, and removes that. What is made of a machine meanwhile, a layer or the template's
//! snapshot, is first made whole: nobody has half of one to remove then.

use std::{
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use hearth_domain::BuildReason;
use hearth_ids::TemplateId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::build::{CUT_OFF, reason};

/// What ends one build.
pub(super) struct Stop {
    token: CancellationToken,
    why: OnceLock<String>,
    /// Held while something is made that is not to be cut off.
    whole: tokio::sync::Mutex<()>,
}

impl Stop {
    fn new(shutdown: &CancellationToken) -> Self {
        Self {
            token: shutdown.child_token(),
            why: OnceLock::new(),
            whole: tokio::sync::Mutex::default(),
        }
    }

    /// Has the build end. The first reason counts.
    fn because(&self, why: &str) {
        self.why.get_or_init(|| why.to_owned());
        self.token.cancel();
    }

    /// Returns when the build is to end, and may.
    pub(super) async fn asked(&self) -> BuildReason {
        self.token.cancelled().await;
        let _made = self.whole.lock().await;
        reason(None, self.why.get().map_or(CUT_OFF, String::as_str))
    }

    /// Does something that is not to be cut off.
    pub(super) async fn whole<T>(&self, work: impl Future<Output = T>) -> T {
        let _held = self.whole.lock().await;
        work.await
    }

    /// Does something that may be cut off, unless the build is to end before it is done.
    pub(super) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, BuildReason> {
        tokio::select! {
            done = work => Ok(done),
            why = self.asked() => Err(why),
        }
    }

    /// Does something that sees that the build is to end, which it is after this time.
    pub(super) async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = sleep(limit) => {}
        }
        self.because(
            "the build took longer than 2 hours, the most that it may; start it again to go on after the last step that was kept, \
             or make a template of the first steps and build on that",
        );
        work.await
    }
}

/// The builds that are under way or wait for their turn.
#[derive(Default)]
pub(crate) struct Builds(Mutex<Vec<(TemplateId, Weak<Stop>)>>);

impl Builds {
    /// What ends one that begins.
    pub(super) fn begin(&self, template: TemplateId, shutdown: &CancellationToken) -> Arc<Stop> {
        let stop = Arc::new(Stop::new(shutdown));
        let mut builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.retain(|(_, of)| of.strong_count() > 0);
        builds.push((template, Arc::downgrade(&stop)));
        stop
    }

    /// Has those of a template end.
    pub(super) fn stop(&self, template: TemplateId, why: &str) {
        let builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = builds.iter().filter(|(of, _)| *of == template);
        for stop in of_it.filter_map(|(_, stop)| stop.upgrade()) {
            stop.because(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_build_ends_when_its_time_is_over() {
        let stop = Stop::new(&CancellationToken::new());
        let endless = stop.within(Duration::ZERO, stop.unless(std::future::pending::<()>()));
        let why = endless.await.unwrap_err();
        assert!(why.message.contains("longer than 2 hours"), "{why:?}");
        let stop = Stop::new(&CancellationToken::new());
        let quick = stop.within(Duration::from_hours(1), stop.unless(std::future::ready(7)));
        assert_eq!(quick.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_begun_to_be_made_is_made_whole() {
        let stop = Stop::new(&CancellationToken::new());
        let mut made = false;
        let work = async {
            stop.because("why");
            let making = async {
                // Whoever waits for the end has its turn meanwhile.
                for _ in 0..10 {
                    yield_now().await;
                }
                made = true;
            };
            stop.whole(making).await;
            std::future::pending::<()>().await;
        };
        let why = stop.unless(work).await.unwrap_err();
        assert_eq!((why.message.as_str(), made), ("why", true));
    }

    #[test]
    fn a_templates_builds_are_ended_and_no_others() {
        let (builds, shutdown) = (Builds::default(), CancellationToken::new());
        let (one, other) = (TemplateId::new(), TemplateId::new());
        let (of_one, of_other) = (builds.begin(one, &shutdown), builds.begin(other, &shutdown));
        builds.stop(one, "why");
        assert!(of_one.token.is_cancelled() && !of_other.token.is_cancelled());
        shutdown.cancel();
        assert!(of_other.token.is_cancelled());
    }
}
