//! The suite that every driver passes.

use std::sync::{Arc, Mutex, PoisonError};

use hearth_driver::{
    Driver, StartPlan,
    conformance::{self, Fixture},
};

use crate::ground::{Ground, driver, ground};

struct Machines(Mutex<Ground>);

impl Fixture for Machines {
    fn plan(&self) -> StartPlan {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plan()
    }

    fn another(&self) -> Option<Arc<dyn Driver>> {
        Some(driver())
    }

    fn ready_text(&self) -> Option<&str> {
        Some("GUEST ready")
    }
}

#[tokio::test]
async fn conforms() {
    let Some(ground) = ground() else { return };
    let results = conformance::run(driver(), &Machines(Mutex::new(ground))).await;
    conformance::assert_passed(&results);
}
