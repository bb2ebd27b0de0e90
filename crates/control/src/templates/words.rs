//! What a build says of itself: at which step it is, and why it failed there.

use hearth_domain::BuildReason;

use super::{build::reason, work::Work};
use crate::error::ApiError;

/// The step at which nothing of the plan is carried out yet, as the SDKs name it.
pub(super) const BASE: &str = "base";
/// The one at which all of it was.
pub(super) const FINALIZE: &str = "finalize";

impl Work<'_> {
    /// A step's name, with its stage.
    fn name(&self, step: &str) -> String {
        self.stage
            .map_or_else(|| step.to_owned(), |stage| format!("{stage}/{step}"))
    }

    /// Lines that follow are of this step.
    pub(super) fn at(&self, step: &str) {
        self.log.at(&self.name(step));
    }

    pub(super) fn say(&self, level: &str, words: &str) {
        match self.stage {
            Some(stage) => self.log.line(level, &format!("[{stage}] {words}")),
            None => self.log.line(level, words),
        }
    }

    /// Says which step is begun.
    pub(super) fn say_step(&self, at: usize, words: &str) {
        let stage = self.stage.map(|stage| format!("{stage} ")).unwrap_or_default();
        let line = format!("[{stage}{at}/{}] {words}", self.plan.steps.len());
        self.log.line("info", &line);
    }

    /// Why it failed at a step.
    pub(super) fn reason(&self, step: &str, why: impl Into<String>) -> BuildReason {
        reason(Some(&self.name(step)), why)
    }

    /// The reason that an error is, at a step.
    pub(super) fn failed(&self, step: &'static str) -> impl Fn(ApiError) -> BuildReason {
        move |error| self.reason(step, error.problem.detail)
    }
}
