//! What this process uses, from `/proc/self` and the kernel's clocks.

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use crate::Page;

/// When the process began, as far as it knows: the first time that anybody asked.
static BEGAN: LazyLock<Duration> = LazyLock::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());

/// Tells what this process uses. What cannot be read is not told.
pub fn note_process(page: &mut Page) {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let spent = Duration::try_from(spent).unwrap_or_default();
    page.set("hearth_process_cpu_seconds_total", &[], spent.as_secs_f64());
    page.set("hearth_process_start_time_seconds", &[], BEGAN.as_secs_f64());
    if let Some(pages) = statm_field(1) {
        page.count("hearth_process_resident_memory_bytes", &[], pages * page_size() as u64);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        page.count(
            "hearth_process_open_fds",
            &[],
            (entries.count() as u64).saturating_sub(1),
        );
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        page.count("hearth_process_max_fds", &[], max);
    }
    if let Ok(tasks) = fs::read_dir("/proc/self/task") {
        page.count("hearth_process_threads", &[], tasks.count() as u64);
    }
}

fn statm_field(index: usize) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split_ascii_whitespace().nth(index)?.parse().ok()
}
