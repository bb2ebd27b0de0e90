//! Waiting for a daemon that went away: machines outlive it, and so does whoever looks at one.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::output::note;

/// How long a daemon may stay away, in seconds.
const PATIENCE_SECS: u64 = 30;
/// Between two looks.
const STEP: Duration = Duration::from_millis(200);

/// The daemon did not come back.
#[derive(Debug, Error)]
#[error("the daemon went away and did not come back within {PATIENCE_SECS} s; when it is back, go on with: {next}")]
pub(crate) struct Away {
    next: String,
}

/// Patience with one daemon.
#[derive(Debug)]
pub(crate) struct Comeback {
    since: Option<Instant>,
    json: bool,
}

impl Comeback {
    pub(crate) fn new(json: bool) -> Self {
        Self { since: None, json }
    }

    /// The daemon is there: patience begins anew.
    pub(crate) fn answered(&mut self) {
        self.since = None;
    }

    /// Waits a moment before the next try; says so the first time. Fails, with how to go on, once patience is over.
    pub(crate) async fn wait(&mut self, next: impl FnOnce() -> String) -> Result<(), Away> {
        let since = *self.since.get_or_insert_with(|| {
            note("the daemon went away; waiting for it to come back", self.json);
            Instant::now()
        });
        if since.elapsed() > Duration::from_secs(PATIENCE_SECS) {
            return Err(Away { next: next() });
        }
        sleep(STEP).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_has_an_end_and_begins_anew_with_each_answer() {
        let mut comeback = Comeback::new(true);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            comeback.wait(String::new).await.unwrap();
        }
        comeback.answered();
        let again = Instant::now();
        let away = loop {
            if let Err(away) = comeback.wait(|| "hearth attach m".to_owned()).await {
                break away;
            }
        };
        assert!((PATIENCE_SECS..PATIENCE_SECS + 2).contains(&again.elapsed().as_secs()));
        assert!(away.to_string().ends_with("go on with: hearth attach m"));
    }
}
