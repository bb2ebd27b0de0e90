//! From configuration to `InstanceStart` and beyond.

use hearth_driver::Driver;
use hearth_driver_firecracker::api::InstanceState;

use crate::ground::ground;

#[tokio::test]
async fn a_guest_is_configured_started_paused_and_resumed() {
    let Some(ground) = ground() else { return };
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    let api = driver.api(&handle).unwrap();
    let info = api.instance_info().await.unwrap();
    assert_eq!(info.id, ground.plan.machine.to_string());
    assert_eq!(
        (info.state, info.vmm_version.as_str()),
        (InstanceState::Running, "1.12.1")
    );
    driver.pause(&handle).await.unwrap();
    driver.pause(&handle).await.unwrap();
    assert_eq!(api.instance_info().await.unwrap().state, InstanceState::Paused);
    driver.resume(&handle).await.unwrap();
    driver.resume(&handle).await.unwrap();
    assert_eq!(api.instance_info().await.unwrap().state, InstanceState::Running);
    driver.press_power_button(&handle).await.unwrap();
}
