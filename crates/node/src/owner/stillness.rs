//! A machine that stands still for a while of ours.

use std::sync::Arc;

use hearth_domain::StateWord;
use hearth_driver::{Driver, DriverError, VmmHandle};

use super::Life;
use crate::services::{Services, chain};

/// Lets a machine's vCPUs go on when it is dropped, if they ran before: also where stopping them failed half-way, and where
/// the machine's owner ends in between, for the daemon may be away for long.
pub(super) struct Stillness {
    services: Arc<Services>,
    driver: Arc<dyn Driver>,
    handle: VmmHandle,
    goes_on: bool,
}

impl Life {
    /// Stops the vCPUs.
    pub(super) async fn stand_still(&self, handle: &VmmHandle) -> Result<Stillness, DriverError> {
        let still = Stillness {
            services: Arc::clone(&self.services),
            driver: Arc::clone(&self.driver),
            handle: handle.clone(),
            goes_on: self.record().state.word() == StateWord::Running,
        };
        self.driver.pause(handle).await?;
        Ok(still)
    }

    /// Lets the vCPUs go on, if they ran before.
    pub(super) async fn end_stillness(&self, mut still: Stillness) {
        if std::mem::take(&mut still.goes_on) {
            self.go_on(&still.handle).await;
        }
    }
}

impl Stillness {
    /// The machine stays as it is.
    pub(super) fn stay(mut self) {
        self.goes_on = false;
    }
}

impl Drop for Stillness {
    fn drop(&mut self) {
        if !self.goes_on {
            return;
        }
        let (driver, handle) = (Arc::clone(&self.driver), self.handle.clone());
        self.services.finishing.spawn(async move {
            if let Err(error) = driver.resume(&handle).await {
                tracing::error!(machine = %handle.machine, error = %chain(&error), "cannot let the machine go on");
            }
        });
    }
}
