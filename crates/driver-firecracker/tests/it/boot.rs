//! From configuration to `InstanceStart` and beyond.

use hearth_driver::{Driver, kvm};
use hearth_driver_firecracker::api::InstanceState;

use crate::ground::{ground, until_async};

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

#[tokio::test]
async fn the_guest_s_console_is_kept() {
    let Some(ground) = ground() else { return };
    if let Err(reason) = kvm::usable() {
        eprintln!("SKIPPED: the guest does not get to its console: {reason}");
        return;
    }
    let driver = ground.driver();
    let _handle = driver.start(&ground.plan).await.unwrap();
    until_async("the kernel says who it is", async || {
        let console = driver.console_tail(&ground.plan.folder, 64 * 1024).await;
        String::from_utf8_lossy(&console).contains("Linux version")
    })
    .await;
}

#[tokio::test]
async fn what_the_vmm_itself_says_is_on_the_console_too() {
    let Some(ground) = ground() else { return };
    let driver = ground.driver();
    let _handle = driver.start(&ground.plan).await.unwrap();
    until_async("the first line is there", async || {
        let console = driver.console_tail(&ground.plan.folder, 64 * 1024).await;
        String::from_utf8_lossy(&console).contains("Running Firecracker v1.12.1")
    })
    .await;
}
