//! How guests and VMMs end, and what is left to read then.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use hearth_driver::{Driver, DriverError, Liveness, SavedState, VmmHandle, memory::SealedMemory};

use crate::ground::{BOOT_DEADLINE, driver, ground, until_said};

#[tokio::test]
async fn a_guest_ends_its_vmm_by_poweroff_and_by_reboot() {
    let Some(mut ground) = ground() else { return };
    for how in ["poweroff", "reboot"] {
        let mut plan = ground.plan();
        // What the bundle of the product says, which has to work here as well.
        plan.kernel.cmdline = format!("quiet reboot=k test={how}");
        let driver = driver();
        let handle = driver.start(&plan).await.unwrap();
        let exit = tokio::time::timeout(BOOT_DEADLINE, driver.wait(&handle)).await;
        let console = String::from_utf8_lossy(&driver.console_tail(&plan.folder, 4000).await).into_owned();
        assert_eq!(
            exit.unwrap_or_else(|_| panic!("no end by {how}: {console}")).code,
            Some(0),
            "{how}"
        );
        assert!(console.contains("GUEST ready"), "{console}");
    }
}

#[tokio::test]
async fn a_guest_that_was_restored_ends_its_vmm_in_good_order() {
    let Some(mut ground) = ground() else { return };
    let mut plan = ground.plan();
    plan.kernel.cmdline = "quiet reboot=k".to_owned();
    let driver = driver();
    let handle = driver.start(&plan).await.unwrap();
    until_said(&*driver, &plan.folder, "GUEST ready").await;
    driver.pause(&handle).await.unwrap();
    let saved = ground.path().join("saved");
    fs::create_dir(&saved).unwrap();
    driver.save(&handle, &saved).await.unwrap();
    driver.kill(&handle).await.unwrap();
    driver.clean(plan.machine, &plan.folder).await.unwrap();
    let memory = fs::File::open(saved.join("memory")).unwrap();
    let memory = SealedMemory::copy_of(&memory, |_, _| ()).unwrap();
    let files = SavedState {
        memory: memory.path(),
        ..SavedState::in_folder(&saved)
    };
    let handle = driver.restore(&plan, &files).await.unwrap();
    driver.resume(&handle).await.unwrap();
    driver.press_power_button(&handle).await.unwrap();
    let exit = tokio::time::timeout(BOOT_DEADLINE, driver.wait(&handle)).await.unwrap();
    assert_eq!(
        (exit.code, exit.signal),
        (Some(0), None),
        "the guest resets its card as it goes down"
    );
}

#[tokio::test]
async fn a_guest_with_too_little_memory_leaves_its_last_words() {
    let Some(mut ground) = ground() else { return };
    // How little is too little but enough to say so depends on the kernel; this range holds it for Debian's.
    for memory_mib in (64..=80).step_by(2) {
        let mut plan = ground.plan();
        plan.memory_mib = memory_mib;
        plan.kernel.cmdline = "loglevel=4".into();
        let driver = driver();
        let handle = driver.start(&plan).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(15), driver.wait(&handle)).await;
        let console = String::from_utf8_lossy(&driver.console_tail(&plan.folder, 4000).await).into_owned();
        let Ok(exit) = end else {
            // What unpacked itself over its initramfs may hang; or it was enough, and the guest waits for its orders.
            driver.kill(&handle).await.unwrap();
            continue;
        };
        assert_eq!(exit.code, Some(0), "{console}");
        if console.contains("Kernel panic") {
            return;
        }
    }
    panic!("no kernel panic with any size");
}

#[tokio::test]
async fn a_guest_that_floods_its_console_stays_within_bounds() {
    let Some(mut ground) = ground() else { return };
    let mut plan = ground.plan();
    plan.kernel.cmdline = "quiet test=flood".into();
    let driver = driver();
    let handle = driver.start(&plan).await.unwrap();
    until_said(&*driver, &plan.folder, "GUEST flood begins").await;
    let older = plan.folder.join("console.log.1");
    let begin = Instant::now();
    // It must have gone round at least once.
    while !older.exists() {
        assert!(begin.elapsed() < BOOT_DEADLINE, "no flood");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept: u64 = fs::read_dir(&plan.folder)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("console"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!((1 << 19..=1 << 20).contains(&kept), "{kept} bytes are kept");
    let begin = Instant::now();
    driver.pause(&handle).await.unwrap();
    driver.resume(&handle).await.unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "a flood holds up the control socket"
    );
    let tail = driver.console_tail(&plan.folder, 700_000).await;
    assert!(tail.len() > 500_000 && String::from_utf8_lossy(&tail[..1000]).contains("flooding the console"));
    driver.kill(&handle).await.unwrap();
}

#[tokio::test]
async fn a_vmm_that_cannot_start_says_why() {
    let Some(mut ground) = ground() else { return };
    let driver = driver();

    let mut plan = ground.plan();
    fs::write(ground.path().join("rubbish"), "no kernel").unwrap();
    plan.kernel.bzimage = ground.path().join("rubbish");
    let error = driver.start(&plan).await.unwrap_err();
    let DriverError::DiedEarly { output } = &error else {
        panic!("{error:?}")
    };
    assert!(output.contains("kernel"), "{output}");

    let mut plan = ground.plan();
    plan.net.tap = "tap9".into();
    let message = driver.start(&plan).await.unwrap_err().to_string();
    assert!(message.contains("open the tap tap9"), "{message}");

    let mut plan = ground.plan();
    plan.net.netns = Some("/run/netns/hearth-none".into());
    let message = driver.start(&plan).await.unwrap_err().to_string();
    assert!(
        message.contains("network namespace /run/netns/hearth-none"),
        "{message}"
    );

    let mut plan = ground.plan();
    plan.cgroups = vec!["/sys/fs/cgroup/hearth-none".into()];
    let message = driver.start(&plan).await.unwrap_err().to_string();
    assert!(message.contains("cgroup /sys/fs/cgroup/hearth-none"), "{message}");
}

/// What the next test starts in a process of its own, which is then killed.
#[test]
fn parent_that_is_killed() {
    let Some(file) = std::env::var_os("HEARTH_TEST_PLAN") else {
        return;
    };
    let plan = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let handle = driver().start(&plan).await.unwrap();
        let answer = std::path::Path::new(&file).with_extension("handle");
        fs::write(answer.with_extension("fresh"), serde_json::to_vec(&handle).unwrap()).unwrap();
        fs::rename(answer.with_extension("fresh"), answer).unwrap();
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_vmm_outlives_who_started_it() {
    let Some(mut ground) = ground() else { return };
    let plan = ground.plan();
    let file = ground.path().join("plan.json");
    fs::write(&file, serde_json::to_vec(&plan).unwrap()).unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ends::parent_that_is_killed", "--nocapture"])
        .env("HEARTH_TEST_PLAN", &file)
        .spawn()
        .unwrap();
    let answer = file.with_extension("handle");
    let begin = Instant::now();
    while !answer.exists() && begin.elapsed() < BOOT_DEADLINE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    parent.kill().unwrap();
    parent.wait().unwrap();
    let handle: VmmHandle = serde_json::from_slice(&fs::read(&answer).unwrap()).unwrap();

    let driver = driver();
    assert_eq!(driver.recover(&handle).await.unwrap(), Liveness::Alive);
    // It goes on, and its console is still written.
    until_said(&*driver, &plan.folder, "GUEST tick 5").await;
    driver.pause(&handle).await.unwrap();
    driver.resume(&handle).await.unwrap();
    driver.kill(&handle).await.unwrap();
    assert_eq!(driver.recover(&handle).await.unwrap(), Liveness::Gone);
    let exit = driver.wait(&handle).await;
    assert_eq!(
        (exit.code, exit.signal),
        (None, None),
        "the exit of another's child is not known"
    );
}
