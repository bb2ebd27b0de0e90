//! What every driver must do, as tests that run against any of them.
//!
//! ```no_run
//! # async fn example(driver: std::sync::Arc<dyn hearth_driver::Driver>, fixture: &dyn hearth_driver::conformance::Fixture) {
//! let results = hearth_driver::conformance::run(driver, fixture).await;
//! hearth_driver::conformance::assert_passed(&results);
//! # }
//! ```

mod cases;

use std::{
    fmt, fs,
    sync::Arc,
    time::{Duration, Instant},
};

use hearth_ids::MachineId;

use crate::{Driver, StartPlan};

/// What a driver's tests provide.
pub trait Fixture: Send + Sync {
    /// A machine that can be started: files, tap and namespace are there. They are the fixture's to remove.
    fn plan(&self) -> StartPlan;

    /// The same driver as another process would make it, which has started nothing; `None` where VMMs do not outlive
    /// theirs.
    fn another(&self) -> Option<Arc<dyn Driver>>;

    /// What the guest says on its console once it listens to its power button. From then on it must go on talking.
    /// `None` where guests do not get that far.
    fn ready_text(&self) -> Option<&str>;
}

/// How a case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The driver does it.
    Passed,
    /// It could not be tried, for this reason.
    Skipped(String),
    /// The driver does otherwise.
    Failed(String),
}

/// One case and how it went.
#[derive(Debug, Clone)]
pub struct CaseResult {
    /// What the driver should do.
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

/// How long anything in the suite may take, a guest's boot under emulation on a busy machine included.
const DEADLINE: Duration = Duration::from_mins(1);

/// Runs all cases, one after the other.
pub async fn run(driver: Arc<dyn Driver>, fixture: &dyn Fixture) -> Vec<CaseResult> {
    let mut results = Vec::new();
    for case in cases::ALL {
        let begin = Instant::now();
        let outcome = match tokio::time::timeout(DEADLINE * 2, cases::run(case, &driver, fixture)).await {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::Failed("it did not end".into()),
        };
        results.push(CaseResult {
            name: case.name(),
            outcome,
            time: begin.elapsed(),
        });
    }
    results
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

/// The processes, other than this one, that name the machine in their arguments.
pub fn processes_of(machine: MachineId) -> Vec<u32> {
    let id = machine.to_string().into_bytes();
    let names_it = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.windows(id.len()).any(|window| window == id)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(names_it)
        .collect()
}
