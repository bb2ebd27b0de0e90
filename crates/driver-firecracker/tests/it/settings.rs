//! Every setting against the real server.

use std::{fs, time::Duration};

use hearth_driver::{Driver, DriverError, Liveness, VmmUser};
use hearth_driver_firecracker::{
    Confinement, FirecrackerConfig, Mmds,
    api::{Balloon, DrivePatch, HugePages, IoEngine, LogLevel, NetworkInterfacePatch, RateLimiter},
};
use serde_json::{Value, json};

use crate::ground::{ground, until};

fn everything(config: FirecrackerConfig) -> FirecrackerConfig {
    let limiter = Some(RateLimiter::bytes_per_second(10 << 20));
    FirecrackerConfig {
        track_dirty_pages: true,
        log_level: LogLevel::Info,
        io_engine: Some(IoEngine::Sync),
        root_limiter: limiter,
        disk_limiter: limiter,
        rx_limiter: limiter,
        tx_limiter: limiter,
        balloon: Some(Balloon {
            amount_mib: 8,
            deflate_on_oom: true,
            stats_polling_interval_s: 1,
        }),
        mmds: Some(Mmds {
            ipv4_address: Some("169.254.169.253".to_owned()),
            store: json!({"name": "hearth"}),
        }),
        ..config
    }
}

#[tokio::test]
async fn everything_that_is_set_arrives() {
    let Some(mut ground) = ground() else { return };
    ground.config = everything(ground.config.clone());
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    let api = driver.api(&handle).unwrap();

    let config: Value = api.vm_config().await.unwrap();
    let machine = &config["machine-config"];
    assert_eq!(
        (&machine["smt"], &machine["track_dirty_pages"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        (&machine["vcpu_count"], &machine["mem_size_mib"]),
        (&json!(1), &json!(128))
    );
    assert_eq!(config["boot-source"]["boot_args"], json!(ground.plan.kernel.cmdline));
    let [root, disk] = [&config["drives"][0], &config["drives"][1]];
    assert_eq!(
        (&root["drive_id"], &root["is_read_only"]),
        (&json!("root"), &json!(true))
    );
    assert_eq!(
        (&disk["drive_id"], &disk["is_read_only"]),
        (&json!("disk"), &json!(false))
    );
    assert_eq!(disk["cache_type"], json!("Writeback"));
    assert_eq!(disk["rate_limiter"]["bandwidth"]["size"], json!(10 << 20));
    let card = &config["network-interfaces"][0];
    assert_eq!(
        (&card["guest_mac"], &card["host_dev_name"]),
        (&json!("02:fc:00:00:00:05"), &json!("tap0"))
    );
    assert_eq!(config["mmds-config"]["version"], json!("V2"));
    assert_eq!(config["mmds-config"]["ipv4_address"], json!("169.254.169.253"));
    assert!(!config["entropy"].is_null());
    assert_eq!(api.mmds().await.unwrap(), json!({"name": "hearth"}));
    assert_eq!(api.balloon().await.unwrap().amount_mib, 8);
    assert_eq!(api.machine_config().await.unwrap().vcpu_count, 1);
    assert_eq!(api.version().await.unwrap().firecracker_version, "1.12.1");
}

#[tokio::test]
async fn what_may_change_after_boot_changes() {
    let Some(mut ground) = ground() else { return };
    ground.config = everything(ground.config.clone());
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    let api = driver.api(&handle).unwrap();

    api.patch_mmds(&json!({"more": [1]})).await.unwrap();
    assert_eq!(api.mmds().await.unwrap(), json!({"name": "hearth", "more": [1]}));
    let rate_limiter = Some(RateLimiter::bytes_per_second(1 << 20));
    api.patch_drive(&DrivePatch {
        drive_id: "disk".to_owned(),
        path_on_host: None,
        rate_limiter,
    })
    .await
    .unwrap();
    let card = NetworkInterfacePatch {
        iface_id: "eth0".to_owned(),
        rx_rate_limiter: rate_limiter,
        tx_rate_limiter: rate_limiter,
    };
    api.patch_network_interface(&card).await.unwrap();
    // The balloon needs its driver in the guest, which does not get so far everywhere; the server says so itself.
    api.set_balloon_stats_interval(2).await.unwrap();
    match api.balloon_stats().await {
        Ok(stats) => assert_eq!(stats.target_mib, 8),
        Err(error) => assert!(error.to_string().contains("alloon"), "{error}"),
    }

    let metrics = driver.metrics(&handle).await.unwrap();
    assert!(metrics["utc_timestamp_ms"].is_u64(), "{metrics}");
    until("the log tells of the boot", || {
        String::from_utf8_lossy(&driver.log_tail(&ground.plan.folder, 10_000)).contains("InstanceStart")
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_what_and_why() {
    let Some(mut ground) = ground() else { return };
    "missing0".clone_into(&mut ground.plan.net.tap);
    let driver = ground.driver();
    let error = driver.start(&ground.plan).await.unwrap_err();
    let DriverError::Refused { action, message } = error else {
        panic!("{error:?}")
    };
    assert!(action.contains("network card") || action.contains("boot"), "{action}");
    assert!(message.to_lowercase().contains("tap"), "{message}");
    assert!(ground.processes().is_empty());
}

#[tokio::test]
async fn what_is_too_new_or_not_there_is_refused_before_anything_is_made() {
    let Some(mut ground) = ground() else { return };
    ground.config.pci = true;
    let error = ground.driver().start(&ground.plan).await.unwrap_err();
    assert!(matches!(error, DriverError::Unsupported { .. }), "{error:?}");
    ground.config.pci = false;
    // The host has set no huge pages aside: Firecracker finds out.
    ground.config.huge_pages = Some(HugePages::TwoMebibytes);
    if fs::read_to_string("/proc/sys/vm/nr_hugepages").is_ok_and(|pages| pages.trim() == "0") {
        assert!(ground.driver().start(&ground.plan).await.is_err());
        ground
            .driver()
            .clean(ground.plan.machine, &ground.plan.folder)
            .await
            .unwrap();
    }
    assert_eq!(ground.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_vmm_that_dies_early_is_quoted() {
    let Some(mut ground) = ground() else { return };
    ground.plan.net.netns = Some("/run/netns/absent".into());
    let started = tokio::time::Instant::now();
    let error = ground.driver().start(&ground.plan).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::DiedEarly { output } if output.contains("absent")),
        "{error:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the death is seen, not waited for"
    );
}

#[tokio::test]
async fn without_a_jail_it_runs_too() {
    let Some(mut ground) = ground() else { return };
    ground.config.confinement = Confinement::None;
    // Whoever may open the devices, and without a single capability at that.
    ground.plan.user = VmmUser { uid: 0, gid: 0 };
    ground.plan.disk = None;
    "tap1".clone_into(&mut ground.plan.net.tap);
    ground.add_tap("tap1", 0);
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    assert_eq!(driver.recover(&handle).await.unwrap(), Liveness::Alive);
    driver.kill(&handle).await.unwrap();
    driver.clean(handle.machine, &handle.folder).await.unwrap();
    assert_eq!(ground.leftovers(), Vec::<String>::new());
}
