//! What conformance suites have in common: how a case is run, and how it is told of.
//!
//! A suite says what every implementation of a trait must do, as cases that run against any of them. It lies beside its
//! trait; what its cases need is a fixture of its own.

use std::{fmt, time::Duration};

use tokio::time::{Instant, timeout};

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The implementation does it.
    Passed,
    /// It could not be tried, for this reason.
    Skipped(String),
    /// The implementation does otherwise.
    Failed(String),
}

/// What a case says; an error is never [`Outcome::Passed`].
pub type Verdict = Result<(), Outcome>;

/// One case and how it went.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// What the implementation should do.
    pub name: &'static str,
    /// Whether it does.
    pub outcome: Outcome,
    /// How long it took.
    pub time: Duration,
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.time.as_millis();
        match &self.outcome {
            Outcome::Passed => write!(f, "passed: {} ({ms} ms)", self.name),
            Outcome::Skipped(why) => write!(f, "SKIPPED: {}: {why}", self.name),
            Outcome::Failed(why) => write!(f, "FAILED: {} ({ms} ms): {why}", self.name),
        }
    }
}

/// Runs a case. One that has not ended by the deadline has failed.
pub async fn run_case(name: &'static str, deadline: Duration, case: impl Future<Output = Verdict>) -> CaseResult {
    let begin = Instant::now();
    let outcome = match timeout(deadline, case).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(outcome)) => outcome,
        Err(_) => Outcome::Failed("it did not end".into()),
    };
    let time = begin.elapsed();
    CaseResult { name, outcome, time }
}

/// Prints the results, and panics if a case failed.
///
/// # Panics
/// If a case failed.
pub fn assert_passed(results: &[CaseResult]) {
    for result in results {
        eprintln!("{result}");
    }
    let failed: Vec<String> = results
        .iter()
        .filter(|r| matches!(r.outcome, Outcome::Failed(_)))
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Fails the case, with these words, unless it holds.
pub fn ensure(holds: bool, otherwise: impl Into<String>) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Outcome::Failed(otherwise.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_case_goes_as_it_says_and_ends_by_its_deadline() {
        let passed = run_case("a", DEADLINE, async { ensure(true, "no") }).await;
        assert_eq!(passed.to_string(), "passed: a (0 ms)");
        let skipped = run_case("b", DEADLINE, async { Err(Outcome::Skipped("no root".into())) }).await;
        assert_eq!(skipped.to_string(), "SKIPPED: b: no root");
        let failed = run_case("c", DEADLINE, async { ensure(false, "no") }).await;
        assert_eq!(failed.to_string(), "FAILED: c (0 ms): no");
        let endless = run_case("d", DEADLINE, std::future::pending()).await;
        assert_eq!(endless.to_string(), "FAILED: d (10000 ms): it did not end");
        assert_passed(&[passed, skipped]);
    }

    #[test]
    #[should_panic(expected = "FAILED: late (7 ms): why")]
    fn one_that_failed_fails_the_test() {
        let result = |name, outcome| CaseResult {
            name,
            outcome,
            time: Duration::from_millis(7),
        };
        let failed = result("late", Outcome::Failed("why".into()));
        assert_passed(&[result("fine", Outcome::Passed), failed]);
    }
}
