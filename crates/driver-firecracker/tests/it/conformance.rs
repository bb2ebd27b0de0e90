//! What every driver must do.

use std::sync::{Arc, Mutex};

use hearth_driver::{
    Driver, StartPlan,
    conformance::{self, Fixture, Outcome},
};
use hearth_testkit::firecracker::FirecrackerPrograms;

use crate::ground::{Ground, programs};

/// A ground a machine, all kept to the end.
struct Grounds {
    programs: FirecrackerPrograms,
    made: Mutex<Vec<Ground>>,
}

impl Fixture for Grounds {
    fn plan(&self) -> StartPlan {
        let ground = Ground::new(&self.programs);
        let plan = ground.plan.clone();
        self.made.lock().unwrap().push(ground);
        plan
    }

    fn another(&self) -> Option<Arc<dyn Driver>> {
        Some(driver(&self.programs))
    }

    /// Whether guests get to their console, they have no init here that would listen to Ctrl-Alt-Del.
    fn ready_text(&self) -> Option<&str> {
        None
    }
}

fn driver(programs: &FirecrackerPrograms) -> Arc<dyn Driver> {
    Arc::new(Ground::new(programs).driver())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_what_every_driver_must() {
    let Some(programs) = programs() else { return };
    let driver = driver(&programs);
    let grounds = Grounds {
        programs,
        made: Mutex::default(),
    };
    let saves = driver.capabilities().snapshot;
    let results = conformance::run(driver, &grounds).await;
    conformance::assert_passed(&results);
    let skipped = results
        .iter()
        .filter(|result| matches!(result.outcome, Outcome::Skipped(_)))
        .count();
    let expected = if saves { 1 } else { 3 };
    assert_eq!(
        skipped, expected,
        "only what needs a guest in user space, or a save, is skipped"
    );
}
