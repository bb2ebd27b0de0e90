//! One guest, from start to end, looked at from both sides.

use std::{fs, process::Command, time::Duration};

use hearth_driver::{Driver, Liveness};

use crate::ground::{driver, ground, until_said, vmlinux};

#[tokio::test]
async fn a_guest_sees_its_disks_its_card_and_its_clock() {
    let Some(mut ground) = ground() else { return };
    let (plan, driver) = (ground.plan(), driver());
    let handle = driver.start(&plan).await.unwrap();
    assert_eq!(driver.recover(&handle).await.unwrap(), Liveness::Alive);
    let console = until_said(&*driver, &plan.folder, "GUEST ready").await;
    eprintln!("{console}");
    assert!(
        console.contains("GUEST disks=vda vdb sizes=2048,4096, ro=1,0,"),
        "{console}"
    );
    assert!(
        console.contains("GUEST rng=virtio_rng.0 mac=06:00:ac:10:00:02 cpus=1"),
        "{console}"
    );
    assert!(console.contains("GUEST root=hearth-root"), "{console}");
    assert!(!console.contains("clocksource=refined-jiffies"), "{console}");
    let disk = fs::read(plan.disk.as_ref().unwrap()).unwrap();
    assert!(disk.starts_with(b"from-the-guest"));
    let netns = plan.net.netns.as_ref().unwrap().file_name().unwrap();
    let mut ping = Command::new("ip");
    ping.args(["netns", "exec"])
        .arg(netns)
        .args(["busybox", "ping", "-c", "3", "-W", "5"]);
    let ping = ping_to(ping.arg("169.254.0.2"));
    assert!(ping.contains(" 0% packet loss"), "{ping}");
    driver.press_power_button(&handle).await.unwrap();
    let exit = tokio::time::timeout(Duration::from_secs(30), driver.wait(&handle))
        .await
        .unwrap();
    assert_eq!((exit.code, exit.signal), (Some(0), None));
    let console = String::from_utf8_lossy(&driver.console_tail(&plan.folder, 4000).await).into_owned();
    assert!(console.contains("GUEST power button"), "{console}");
    driver.clean(plan.machine, &plan.folder).await.unwrap();
    assert!(!plan.folder.exists());
}

fn ping_to(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[tokio::test]
async fn an_uncompressed_kernel_with_a_pvh_note_is_entered_directly() {
    let Some(mut ground) = ground() else { return };
    let mut plan = ground.plan();
    fs::copy(vmlinux(), &plan.kernel.vmlinux).unwrap();
    fs::set_permissions(
        &plan.kernel.vmlinux,
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    plan.kernel.pvh = true;
    // It could not boot by this one.
    plan.kernel.bzimage = "/nonexistent".into();
    let driver = driver();
    let handle = driver.start(&plan).await.unwrap();
    until_said(&*driver, &plan.folder, "GUEST ready").await;
    driver.kill(&handle).await.unwrap();
}
