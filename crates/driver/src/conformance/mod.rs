//! What every driver must do, as tests that run against any of them.
//!
//! ```no_run
//! # async fn example(driver: std::sync::Arc<dyn hearth_driver::Driver>, fixture: &dyn hearth_driver::conformance::Fixture) {
//! let results = hearth_driver::conformance::run(driver, fixture).await;
//! hearth_driver::conformance::assert_passed(&results);
//! # }
//! ```

mod cases;

use std::{fs, sync::Arc, time::Duration};

use hearth_conformance::run_case;
pub use hearth_conformance::{CaseResult, Outcome, assert_passed};
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

/// How long anything in the suite may take, a guest's boot under emulation on a busy machine included.
const DEADLINE: Duration = Duration::from_mins(1);

/// Runs all cases, one after the other.
pub async fn run(driver: Arc<dyn Driver>, fixture: &dyn Fixture) -> Vec<CaseResult> {
    let mut results = Vec::new();
    for case in cases::ALL {
        results.push(run_case(case.name(), DEADLINE * 2, cases::run(case, &driver, fixture)).await);
    }
    results
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
