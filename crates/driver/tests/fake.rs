//! The fake driver against the suite that every driver passes, and what it does on top.

use std::{sync::Arc, time::Duration};

use hearth_driver::{
    Driver, DriverError, KernelFiles, NetAttachment, StartPlan, VmmExit, VmmUser,
    conformance::{self, Fixture},
    fake::{FailurePlan, FakeDriver, Step},
};
use hearth_ids::MachineId;
use tempfile::TempDir;

struct Nothing(TempDir);

impl Fixture for Nothing {
    fn plan(&self) -> StartPlan {
        plan(&self.0)
    }

    fn another(&self) -> Option<Arc<dyn Driver>> {
        None
    }

    fn ready_text(&self) -> Option<&str> {
        None
    }
}

fn plan(folder: &TempDir) -> StartPlan {
    let machine = MachineId::new();
    StartPlan {
        machine,
        folder: folder.path().join(machine.to_string()),
        kernel: KernelFiles {
            bzimage: "/none".into(),
            vmlinux: "/none".into(),
            pvh: false,
            initramfs: "/none".into(),
            cmdline: String::new(),
        },
        root: "/none".into(),
        layers: Vec::new(),
        disk: None,
        vcpus: 1,
        memory_mib: 128,
        net: NetAttachment {
            netns: None,
            tap: "none".into(),
            mac: "06:00:00:00:00:01".into(),
        },
        cgroups: Vec::new(),
        user: VmmUser { uid: 1, gid: 1 },
    }
}

#[tokio::test]
async fn conforms() {
    let driver = FakeDriver::default();
    let results = conformance::run(Arc::new(driver.clone()), &Nothing(TempDir::new().unwrap())).await;
    conformance::assert_passed(&results);
    assert_eq!(driver.living(), 0);
}

#[tokio::test]
async fn fails_when_told_and_only_then() {
    let (driver, folder) = (FakeDriver::default(), TempDir::new().unwrap());
    let (one, two) = (plan(&folder), plan(&folder));
    driver.fail(FailurePlan {
        after: 1,
        ..FailurePlan::next(Step::Start)
    });
    let handle = driver.start(&one).await.unwrap();
    assert!(matches!(driver.start(&two).await, Err(DriverError::Injected { .. })));
    driver.fail(FailurePlan {
        machine: Some(two.machine),
        times: 2,
        ..FailurePlan::next(Step::Pause)
    });
    driver.pause(&handle).await.unwrap();
    let other = driver.start(&two).await.unwrap();
    assert!(driver.pause(&other).await.is_err() && driver.pause(&other).await.is_err());
    driver.pause(&other).await.unwrap();
    assert_eq!(driver.paused(two.machine), Some(true));

    driver.fail(FailurePlan::next(Step::StartLate));
    let three = plan(&folder);
    driver.start(&three).await.unwrap_err();
    assert_eq!(driver.living(), 3, "a late failure leaves something to clean");
    driver.clean(three.machine, &three.folder).await.unwrap();
    assert_eq!(driver.living(), 2);
}

#[tokio::test(start_paused = true)]
async fn dies_when_told() {
    let (driver, folder) = (FakeDriver::default(), TempDir::new().unwrap());
    let plan = plan(&folder);
    let handle = driver.start(&plan).await.unwrap();
    let exit = VmmExit {
        code: Some(7),
        signal: None,
    };
    assert!(driver.exit(plan.machine, exit));
    assert!(!driver.exit(plan.machine, exit), "it ends once");
    assert_eq!(driver.wait(&handle).await, exit, "also told to who asks late");

    driver.die_after(Some(Duration::from_millis(50)));
    let handle = driver.start(&plan).await.unwrap();
    assert_eq!(
        driver.wait(&handle).await,
        VmmExit {
            code: Some(1),
            signal: None
        }
    );
}
