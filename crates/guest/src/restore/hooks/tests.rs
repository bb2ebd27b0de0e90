use std::time::Instant;

use super::super::testing::{alone, reaping};
use super::*;

struct Rig {
    folder: tempfile::TempDir,
    reaper: Reaper,
    groups: Groups,
    state: HookState,
}

impl Rig {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            reaper: Reaper::default(),
            groups: Groups::default(),
            state: HookState::default(),
        }
    }

    fn add(&self, name: &str, mode: u32, script: &str) {
        let path = self.folder.path().join(name);
        fs::write(
            &path,
            format!("#!/bin/sh\ncd {}\n{script}\n", self.folder.path().display()),
        )
        .unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn runner(&self, each: Duration) -> Runner<'_> {
        Runner {
            reaper: &self.reaper,
            groups: &self.groups,
            state: &self.state,
            identity: Accounts::load().resolve("0").unwrap(),
            env: BTreeMap::from([("WHO".to_owned(), "hook".to_owned())]),
            each,
        }
    }

    async fn each(&self, limit: Duration) -> Vec<String> {
        let runner = self.runner(limit);
        let hooks = find(self.folder.path()).unwrap();
        let run = run_each(&runner, &hooks);
        let errors = reaping(&self.reaper, run).await;
        errors.iter().map(ToString::to_string).collect()
    }

    async fn until_failure(&self) -> Result<(), HookError> {
        let runner = self.runner(EACH);
        reaping(&self.reaper, run_until_failure(&runner, self.folder.path())).await
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn executables_run_in_the_order_of_their_names() {
    let _alone = alone().await;
    let rig = Rig::new();
    rig.add("20-second", 0o755, "echo second $WHO >>log");
    rig.add("10-first", 0o700, "echo first $WHO >>log");
    rig.add("30-no-program", 0o644, "echo third >>log");
    fs::create_dir(rig.folder.path().join("15-folder")).unwrap();
    assert!(rig.each(EACH).await.is_empty());
    assert_eq!(rig.log(), "first hook\nsecond hook\n");
}

#[tokio::test]
async fn after_a_restore_a_failure_is_told_and_the_next_one_runs() {
    let _alone = alone().await;
    let rig = Rig::new();
    rig.add("1-bad", 0o755, "exit 3");
    rig.add("2-killed", 0o755, "kill -TERM $$");
    rig.add("3-good", 0o755, "echo ran >>log");
    let errors = rig.each(EACH).await;
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].contains("`1-bad`") && errors[0].ends_with("exit status 3"),
        "{}",
        errors[0]
    );
    assert!(
        errors[1].contains("`2-killed`") && errors[1].ends_with("killed by signal 15"),
        "{}",
        errors[1]
    );
    assert_eq!(rig.log(), "ran\n");
}

#[tokio::test]
async fn before_a_snapshot_a_failure_is_the_end() {
    let _alone = alone().await;
    let rig = Rig::new();
    rig.add("1-good", 0o755, "echo one >>log");
    rig.add("2-bad", 0o755, "exit 41");
    rig.add("3-never", 0o755, "echo three >>log");
    let error = rig.until_failure().await.unwrap_err().to_string();
    assert!(error.contains("`2-bad`") && error.contains("exit status 41"), "{error}");
    assert_eq!(rig.log(), "one\n");
    rig.add("2-bad", 0o755, "true");
    rig.until_failure().await.unwrap();
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_killed_with_what_it_started() {
    let _alone = alone().await;
    let rig = Rig::new();
    rig.add("1-slow", 0o755, "sleep 600 & echo $! >pid; echo $$ >>pid; wait");
    rig.add("2-next", 0o755, "echo next >>log");
    let started = Instant::now();
    let errors = rig.each(Duration::from_millis(400)).await;
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("`1-slow`") && errors[0].contains("400 ms"),
        "{}",
        errors[0]
    );
    assert_eq!(rig.log(), "next\n");
    let pids = fs::read_to_string(rig.folder.path().join("pid")).unwrap();
    assert_eq!(pids.lines().count(), 2);
    let deadline = Instant::now() + Duration::from_secs(10);
    for pid in pids.lines() {
        let alive = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while alive() {
            assert!(Instant::now() < deadline, "{pid} lives");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn what_a_hook_leaves_running_is_no_failure() {
    let _alone = alone().await;
    let rig = Rig::new();
    rig.add("1-daemon", 0o755, "while :; do echo x; sleep 0.05; done & exit 0");
    let errors = rig.each(Duration::from_millis(700)).await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test]
async fn a_flood_of_output_is_cut() {
    let _alone = alone().await;
    let rig = Rig::new();
    rig.add(
        "1-flood",
        0o755,
        "head -c 1000000 /dev/zero | tr '\\0' 'a'; echo done >>log",
    );
    assert!(rig.each(EACH).await.is_empty());
    assert_eq!(rig.log(), "done\n");
}

#[test]
fn no_folder_no_hooks_and_never_too_many() {
    let folder = tempfile::tempdir().unwrap();
    assert!(find(&folder.path().join("none")).unwrap().is_empty());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(find(&file), Err(HookError::Folder { .. })));
    let many = folder.path().join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..=MAX_HOOKS {
        let hook = many.join(format!("{number:03}"));
        fs::write(&hook, "").unwrap();
        fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(matches!(find(&many), Err(HookError::TooMany(_))));
    fs::remove_file(many.join("000")).unwrap();
    assert_eq!(find(&many).unwrap().len(), MAX_HOOKS);
}

#[test]
fn names_fit_a_line() {
    assert_eq!(shown_name(Path::new("/x/a\nb\u{1b}[0m")), "ab[0m");
    assert_eq!(
        shown_name(Path::new(&format!("/{}", "n".repeat(300)))).len(),
        MAX_NAME_CHARS
    );
}
