//! What the probe finds on this very host.

use hearth_driver::{CheckOutcome, Driver, kvm};

use crate::ground::ground;

#[tokio::test]
async fn every_row_says_what_was_found() {
    let Some(ground) = ground() else { return };
    let checks = ground.driver().probe().await;
    let outcome = |name: &str| {
        checks
            .iter()
            .find(|check| check.name == name)
            .map(|check| check.outcome)
    };
    assert_eq!(outcome("firecracker"), Some(CheckOutcome::Ok), "{checks:?}");
    assert_eq!(outcome("jailer"), Some(CheckOutcome::Ok), "{checks:?}");
    assert_eq!(outcome("tun"), Some(CheckOutcome::Ok), "{checks:?}");
    let expected = if kvm::usable().is_ok() {
        CheckOutcome::Ok
    } else {
        CheckOutcome::Failed
    };
    assert_eq!(outcome("kvm"), Some(expected), "{checks:?}");
    assert!(checks.iter().all(|check| !check.detail.is_empty()));
    let failed = checks.iter().filter(|check| check.outcome == CheckOutcome::Failed);
    assert!(
        failed.into_iter().all(|check| check.advice.is_some()),
        "a failure comes with the way out: {checks:?}"
    );
}
