//! Saved, and gone on from there: what is on disk, what is mapped, and whose files a copy has.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use hearth_driver::{
    Driver, DriverError, Liveness, SavedState, VmmHandle, VmmUser, conformance::processes_of, memory::SealedMemory,
};
use hearth_driver_firecracker::{
    Confinement, FirecrackerDriver, Mmds,
    api::{HugePages, InstanceState},
};
use hearth_testkit::firecracker::FirecrackerPrograms;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Duration, sleep};

use crate::{
    cutoff::cut_off,
    ground::{Ground, ground, programs},
};

/// A machine that was saved, and what came of it.
struct Source {
    ground: Ground,
    driver: FirecrackerDriver,
    handle: VmmHandle,
    folder: TempDir,
    files: SavedState,
}

impl Source {
    async fn new(ground: Ground) -> Self {
        let driver = ground.driver();
        let handle = driver.start(&ground.plan).await.unwrap();
        driver.pause(&handle).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        driver.save(&handle, folder.path()).await.unwrap();
        let files = SavedState::in_folder(folder.path());
        Self {
            ground,
            driver,
            handle,
            folder,
            files,
        }
    }

    /// What was saved as a node hands it to many: a memory that none of them owns.
    fn sealed(&self) -> (SealedMemory, SavedState) {
        let sealed = SealedMemory::copy_of(&File::open(&self.files.memory).unwrap(), |_, _| ()).unwrap();
        let files = SavedState {
            memory: sealed.path(),
            ..self.files.clone()
        };
        (sealed, files)
    }
}

async fn source(programs: &FirecrackerPrograms) -> Source {
    Source::new(Ground::new(programs)).await
}

/// Where a process maps a file: addresses, and whether it does so privately.
fn mapping(pid: u32, of: &File) -> (u64, u64, bool) {
    let inode = of.metadata().unwrap().ino();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let found = maps
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[4] == inode.to_string())
        .unwrap_or_else(|| panic!("inode {inode} is not in {maps}"));
    let (start, end) = found[0].split_once('-').unwrap();
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    (address(start), address(end), found[1].ends_with('p'))
}

/// The files that a process has open, by device and inode.
fn open_files(pid: u32) -> Vec<(u64, u64)> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    files.filter_map(|file| identity(&file.path())).collect()
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn disk_of(ground: &Ground) -> (u64, u64) {
    identity(ground.plan.disk.as_ref().unwrap()).unwrap()
}

/// What lies in the jail's root.
fn jailed(handle: &VmmHandle) -> Vec<String> {
    let root: PathBuf = serde_json::from_value(handle.extra["jail"].clone()).unwrap();
    let names = fs::read_dir(root).unwrap().flatten();
    names.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

async fn state(driver: &FirecrackerDriver, handle: &VmmHandle) -> InstanceState {
    driver.api(handle).unwrap().instance_info().await.unwrap().state
}

#[tokio::test]
async fn what_is_kept_is_sparse_whole_and_nobody_elses() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let memory = source.files.memory.metadata().unwrap();
    let devices = source.files.devices.metadata().unwrap();
    assert_eq!(memory.len(), 128 << 20);
    let kept = memory.blocks() * 512;
    assert!((1 << 20..100 << 20).contains(&kept), "{kept} bytes of 128 MiB");
    assert!(devices.len() > 1_000);
    for file in [&memory, &devices] {
        assert_eq!((file.mode() & 0o777, file.uid()), (0o600, 0));
    }
    // The kernel's text is where it was put: the very first bytes of its ELF segment at 16 MiB.
    let mut text = [0; 64];
    let file = File::open(&source.files.memory).unwrap();
    file.read_exact_at(&mut text, 16 << 20).unwrap();
    assert_ne!(text, [0; 64]);
    let left = jailed(&source.handle);
    assert!(left.iter().all(|name| !name.starts_with("saved")), "{left:?}");
    // It goes on, and can be saved once more.
    source.driver.resume(&source.handle).await.unwrap();
    source.driver.pause(&source.handle).await.unwrap();
    let again = tempfile::tempdir_in(&source.folder).unwrap();
    let saved = source.driver.save(&source.handle, again.path()).await.unwrap();
    assert_eq!(saved.identity, source.driver.identity().await.unwrap());
    assert_eq!(saved.identity.version, "1.12.1");
    assert!(saved.memory_bytes > 1 << 20 && saved.devices_bytes == devices.len());
}

#[tokio::test]
async fn copies_share_one_memory_that_none_of_them_changes() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (sealed, files) = source.sealed();
    let memory = sealed.try_clone().unwrap();
    let mut copies = Vec::new();
    for _ in 0..2 {
        let copy = Ground::new(&programs);
        let driver = copy.driver();
        let handle = driver.restore(&copy.plan, &files).await.unwrap();
        assert_eq!(state(&driver, &handle).await, InstanceState::Paused);
        let (start, end, private) = mapping(handle.pid, &memory);
        assert_eq!((end - start, private), (128 << 20, true));
        // While the vCPUs stand, each sees what was saved.
        let own = File::open(format!("/proc/{}/mem", handle.pid)).unwrap();
        let (mut seen, mut saved) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        own.read_exact_at(&mut seen, start + (16 << 20)).unwrap();
        memory.read_exact_at(&mut saved, 16 << 20).unwrap();
        assert!(seen == saved, "it sees another memory");
        let inside = jailed(&handle);
        assert!(!inside.iter().any(|name| name.starts_with("saved")), "{inside:?}");
        driver.resume(&handle).await.unwrap();
        assert_eq!(state(&driver, &handle).await, InstanceState::Running);
        copies.push((copy, driver, handle));
    }
    for (copy, driver, handle) in &copies {
        assert_eq!(driver.recover(handle).await.unwrap(), Liveness::Alive);
        driver.clean(handle.machine, &handle.folder).await.unwrap();
        assert_eq!(copy.leftovers(), Vec::<String>::new());
    }
    let kept = File::open(&source.files.memory).unwrap();
    let (mut is, mut was) = (vec![0; 128 << 20], vec![0; 128 << 20]);
    memory.read_exact_at(&mut is, 0).unwrap();
    kept.read_exact_at(&mut was, 0).unwrap();
    assert!(is == was, "a guest wrote to what others go on from");
}

#[tokio::test]
async fn a_copy_has_its_own_disk_tap_and_name() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (_sealed, files) = source.sealed();
    let mut copy = Ground::new(&programs);
    // As no machine before it was called.
    "tap7".clone_into(&mut copy.plan.net.tap);
    copy.add_tap("tap7", copy.plan.user.uid);
    let driver = copy.driver();
    let handle = driver.restore(&copy.plan, &files).await.unwrap();
    let open = open_files(handle.pid);
    assert!(open.contains(&disk_of(&copy)) && !open.contains(&disk_of(&source.ground)));
    let api = driver.api(&handle).unwrap();
    assert_eq!(api.instance_info().await.unwrap().id, copy.plan.machine.to_string());
    let config: Value = api.vm_config().await.unwrap();
    assert_eq!(config["network-interfaces"][0]["host_dev_name"], "tap7", "{config}");
    let status = fs::read_to_string(format!("/proc/{}/status", handle.pid)).unwrap();
    for line in ["CapEff:\t0000000000000000", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    assert!(status.contains(&format!("\nUid:\t{}\t", copy.plan.user.uid)));
    assert!(driver.metrics(&handle).await.unwrap()["utc_timestamp_ms"].is_u64());
}

#[tokio::test]
async fn a_jailed_copy_sees_no_process_but_its_own_open_files() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (_sealed, files) = source.sealed();
    let copy = Ground::new(&programs);
    let driver = copy.driver();
    let handle = driver.restore(&copy.plan, &files).await.unwrap();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", handle.pid)).unwrap();
    let of_proc: Vec<_> = mounts.lines().filter(|line| line.contains(" - proc ")).collect();
    assert_eq!(of_proc.len(), 1, "{mounts}");
    assert!(of_proc[0].contains(&format!(" /{}/fd /files ", handle.pid)), "{mounts}");
    let on_host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!on_host.contains(&copy.plan.machine.to_string()), "{on_host}");
}

#[tokio::test]
async fn a_copy_is_saved_in_turn_and_gone_on_from() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (first, files) = source.sealed();
    let copy = Ground::new(&programs);
    let driver = copy.driver();
    let handle = driver.restore(&copy.plan, &files).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    driver.save(&handle, folder.path()).await.unwrap();
    driver.clean(handle.machine, &handle.folder).await.unwrap();

    let files = SavedState::in_folder(folder.path());
    let (memory, before) = (File::open(&files.memory).unwrap(), first.try_clone().unwrap());
    let (mut is, mut was) = (vec![0; 128 << 20], vec![0; 128 << 20]);
    memory.read_exact_at(&mut is, 0).unwrap();
    before.read_exact_at(&mut was, 0).unwrap();
    let pages = is.chunks(4096).zip(was.chunks(4096)).enumerate();
    let differing: Vec<_> = pages.filter(|(_, (is, was))| is != was).map(|(page, _)| page).collect();
    // Below the first MiB Firecracker keeps the number by which a guest sees that it is a copy (VMGenID).
    assert!(differing.iter().all(|page| *page < 256), "other pages: {differing:?}");
    assert_eq!(differing.len(), 1, "a copy is to see that it is one");
    // A file that is one machine's own, as after it slept.
    let next = Ground::new(&programs);
    std::os::unix::fs::chown(&files.memory, Some(next.plan.user.uid), None).unwrap();
    let driver = next.driver();
    let handle = driver.restore(&next.plan, &files).await.unwrap();
    mapping(handle.pid, &memory);
    driver.resume(&handle).await.unwrap();
}

#[tokio::test]
async fn without_a_jail_a_copy_has_its_own_files_too() {
    let Some(programs) = programs() else { return };
    let open_to_all = |mut ground: Ground| {
        ground.config.confinement = Confinement::None;
        ground.plan.user = VmmUser { uid: 0, gid: 0 };
        "tap1".clone_into(&mut ground.plan.net.tap);
        ground.add_tap("tap1", 0);
        std::os::unix::fs::chown(ground.plan.disk.as_ref().unwrap(), Some(0), Some(0)).unwrap();
        ground
    };
    let source = Source::new(open_to_all(Ground::new(&programs))).await;
    let (sealed, files) = source.sealed();
    let copy = open_to_all(Ground::new(&programs));
    let driver = copy.driver();
    let handle = driver.restore(&copy.plan, &files).await.unwrap();
    let open = open_files(handle.pid);
    assert!(open.contains(&disk_of(&copy)) && !open.contains(&disk_of(&source.ground)));
    mapping(handle.pid, &sealed.try_clone().unwrap());
    let again = tempfile::tempdir_in(&source.folder).unwrap();
    let saved = driver.save(&handle, again.path()).await.unwrap();
    assert!(saved.memory_bytes > 1 << 20, "it was saved without its base");
    driver.resume(&handle).await.unwrap();
    driver.clean(handle.machine, &handle.folder).await.unwrap();
    assert_eq!(copy.leftovers(), Vec::<String>::new());
    assert!(copy.plan.disk.as_ref().unwrap().exists(), "only the link is gone");
}

/// What the guest of a VMM has for memory now.
fn memory_of(pid: u32, start: u64) -> Vec<u8> {
    let mut memory = vec![0; 128 << 20];
    let process = File::open(format!("/proc/{pid}/mem")).unwrap();
    process.read_exact_at(&mut memory, start).unwrap();
    memory
}

/// Where a VMM that booted has its guest's memory.
fn anonymous_memory(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let addresses = maps.lines().filter_map(|line| line.split_once(' ')?.0.split_once('-'));
    let mut addresses = addresses.map(|(start, end)| [start, end].map(|text| u64::from_str_radix(text, 16).unwrap()));
    let [start, _end] = addresses.find(|[start, end]| end - start == 128 << 20).unwrap();
    start
}

/// Bytes that a process wrote to files so far.
fn written_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let count = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.unwrap().parse().unwrap()
}

/// Saves, looks that this is the guest's memory byte for byte, and returns how much the VMM wrote for it.
async fn save_exactly(driver: &FirecrackerDriver, handle: &VmmHandle, start: u64) -> u64 {
    driver.pause(handle).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let before = written_by(handle.pid);
    driver.save(handle, folder.path()).await.unwrap();
    let written = written_by(handle.pid) - before;
    let saved = fs::read(SavedState::in_folder(folder.path()).memory).unwrap();
    assert!(saved == memory_of(handle.pid, start), "another memory was saved");
    let left = jailed(handle);
    assert!(left.iter().all(|name| !name.starts_with("saved")), "{left:?}");
    driver.resume(handle).await.unwrap();
    written
}

#[tokio::test]
async fn a_vmm_that_tracks_writes_what_changed_the_first_time_and_all_the_next() {
    let Some(programs) = programs() else { return };
    let mut ground = Ground::new(&programs);
    ground.config.track_dirty_pages = true;
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    let start = anonymous_memory(handle.pid);
    let first = save_exactly(&driver, &handle, start).await;
    assert!((1 << 20..100 << 20).contains(&first), "{first}");
    // By another process, which knows nothing of the first time.
    let next = save_exactly(&ground.driver(), &handle, start).await;
    assert!(next >= 128 << 20, "{next}");
}

#[tokio::test]
async fn a_copy_writes_what_changed_over_what_it_was_restored_from() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (sealed, files) = source.sealed();
    let copy = Ground::new(&programs);
    let driver = copy.driver();
    let handle = driver.restore(&copy.plan, &files).await.unwrap();
    let (start, ..) = mapping(handle.pid, &sealed.try_clone().unwrap());
    let before = memory_of(handle.pid, start);
    driver.resume(&handle).await.unwrap();
    // Firecracker itself has written there (VMGenID); a guest does too, but not soon where its vCPUs are interpreted.
    sleep(Duration::from_secs(1)).await;
    if memory_of(handle.pid, start) == before {
        eprintln!("SKIPPED: what the guest itself writes: its vCPUs did not get so far");
    }
    let first = save_exactly(&driver, &handle, start).await;
    assert!((4096..20 << 20).contains(&first), "{first}");
    let next = save_exactly(&driver, &handle, start).await;
    assert!(next >= 128 << 20, "{next}");
}

#[tokio::test]
async fn the_metadata_of_a_copy_is_its_own() {
    let Some(programs) = programs() else { return };
    let with_store = |store: Value| {
        let mut ground = Ground::new(&programs);
        let ipv4_address = Some("169.254.169.253".to_owned());
        ground.config.mmds = Some(Mmds { ipv4_address, store });
        ground
    };
    let source = Source::new(with_store(json!({"name": "source"}))).await;
    let (_sealed, files) = source.sealed();
    let copy = with_store(json!({"name": "copy"}));
    let driver = copy.driver();
    let handle = driver.restore(&copy.plan, &files).await.unwrap();
    let api = driver.api(&handle).unwrap();
    assert_eq!(api.mmds().await.unwrap(), json!({"name": "copy"}));
    let machine = api.machine_config().await.unwrap();
    assert!(machine.track_dirty_pages);
    assert_eq!((machine.mem_size_mib, machine.vcpu_count), (128, 1));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_name_and_leaves_no_process() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (_sealed, files) = source.sealed();
    let mut other = Ground::new(&programs);
    other.plan.memory_mib = 256;
    let error = other.driver().restore(&other.plan, &files).await.unwrap_err();
    assert!(hearth_driver::chain(&error).contains("268435456"), "{error:?}");
    other.plan.memory_mib = 128;

    let nowhere = SavedState {
        devices: "/nonexistent/devices".into(),
        ..files.clone()
    };
    let error = other.driver().restore(&other.plan, &nowhere).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/devices"), "{error:?}");
    clean(&other).await;

    "missing0".clone_into(&mut other.plan.net.tap);
    let error = other.driver().restore(&other.plan, &files).await.unwrap_err();
    assert!(
        matches!(error, DriverError::Refused { .. } | DriverError::DiedEarly { .. }),
        "{error:?}"
    );
    assert_eq!(processes_of(other.plan.machine), Vec::<u32>::new());
    clean(&other).await;

    // A memory that the VMM's user may not open.
    "tap0".clone_into(&mut other.plan.net.tap);
    let error = other.driver().restore(&other.plan, &source.files).await.unwrap_err();
    assert!(hearth_driver::chain(&error).contains("ermission denied"), "{error:?}");
}

async fn clean(ground: &Ground) {
    let driver = ground.driver();
    driver.clean(ground.plan.machine, &ground.plan.folder).await.unwrap();
    assert_eq!(ground.leftovers(), Vec::<String>::new());
    ground.make_folder();
}

#[tokio::test]
async fn a_restore_that_is_cut_off_at_any_step_leaves_nothing() {
    let Some(programs) = programs() else { return };
    let source = source(&programs).await;
    let (_sealed, files) = source.sealed();
    let copy = Ground::new(&programs);
    for polls in 1..500 {
        let driver = copy.driver();
        let restored = cut_off(driver.restore(&copy.plan, &files), polls).await;
        drop(driver);
        clean(&copy).await;
        assert_eq!(copy.processes(), Vec::<u32>::new(), "after {polls} polls");
        if let Some(done) = restored {
            done.unwrap();
            assert!(polls > 5, "the walk saw the steps");
            return;
        }
    }
    panic!("the restore never came to its end");
}

#[tokio::test]
async fn a_save_that_is_cut_off_leaves_nothing_in_the_jail() {
    let Some(ground) = ground() else { return };
    let driver = ground.driver();
    let handle = driver.start(&ground.plan).await.unwrap();
    driver.pause(&handle).await.unwrap();
    for polls in 1..200 {
        let folder = tempfile::tempdir().unwrap();
        let saved = cut_off(driver.save(&handle, folder.path()), polls).await;
        if let Some(done) = saved {
            done.unwrap();
            assert!(polls > 3, "the walk saw the steps");
            let left = jailed(&handle);
            assert!(left.iter().all(|name| !name.starts_with("saved")), "{left:?}");
            return;
        }
    }
    panic!("the save never came to its end");
}

#[tokio::test]
async fn memory_in_huge_pages_is_not_saved_and_the_driver_says_so() {
    let Some(mut ground) = ground() else { return };
    assert!(ground.driver().capabilities().snapshot);
    ground.config.huge_pages = Some(HugePages::TwoMebibytes);
    let driver = ground.driver();
    assert!(!driver.capabilities().snapshot);
    let error = driver.identity().await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Unsupported { action, .. } if action.contains("huge pages")),
        "{error:?}"
    );
}
