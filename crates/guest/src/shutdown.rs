//! The end: workload, everything else, disks, reset.

use std::rc::Rc;
use std::time::Duration;

use rustix::system::RebootCommand;

use crate::agent::Agent;
use crate::process::{reaper, send_signal};

/// From SIGTERM to SIGKILL for what is not the workload.
const OTHERS_GRACE: Duration = Duration::from_millis(200);
/// For the answer to Shutdown to leave.
const ANSWER_GRACE: Duration = Duration::from_millis(50);
const SIGTERM: i32 = 15;

/// Sends the stop signal and waits; kills after the time-out. Whether it had to.
pub(crate) async fn stop_workload(agent: &Rc<Agent>, signal: i32, timeout: Duration) -> bool {
    agent.stopping.set(true);
    // Else the signal would wait for that, too.
    if let Err(error) = agent.processes.hold.release() {
        crate::console(&format!("cannot let programs go on, so that they end: {error}"));
    }
    let Some(workload) = agent.workload.borrow().clone() else {
        return false;
    };
    let mut killed = false;
    if let Ok(pid) = workload.running_pid() {
        // Refused only when it has just ended, or for a signal that does not exist: then the kill below does it.
        let _ = send_signal(pid, if signal == 0 { SIGTERM } else { signal }, false);
        killed = tokio::time::timeout(timeout, reaper::exited(workload.exit.clone()))
            .await
            .is_err();
    }
    workload.kill_all();
    if killed {
        // A process that even SIGKILL does not end (stuck in the kernel) must not keep the machine from ending.
        let _ = tokio::time::timeout(Duration::from_secs(2), reaper::exited(workload.exit.clone())).await;
    }
    killed
}

/// Ends the machine once the answer is out. In `--test` it ends the process.
pub(crate) fn schedule_reset(agent: &Rc<Agent>) {
    let agent = Rc::clone(agent);
    tokio::task::spawn_local(async move {
        // Whoever still waits for the workload is told of its end.
        let runtime_api = agent.runtime_api.borrow().clone();
        if let Some(api) = runtime_api {
            api.farewell().await;
        }
        tokio::time::sleep(ANSWER_GRACE).await;
        if !agent.boot.is_init {
            std::process::exit(0);
        }
        end_others().await;
        sync_and_detach();
        reset();
    });
}

async fn end_others() {
    // Without /proc there is nobody to name; the reset ends them all the same.
    let _ = signal_everybody(SIGTERM);
    tokio::time::sleep(OTHERS_GRACE).await;
    let _ = signal_everybody(9);
}

/// `kill(-1, signal)`, which the typed wrappers do not offer.
fn signal_everybody(signal: i32) -> std::io::Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    for entry in std::fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|pid: &i32| *pid != own) {
            // Kernel threads ignore signals, and what has just ended is gone.
            let _ = send_signal(pid, signal, false);
        }
    }
    Ok(())
}

fn sync_and_detach() {
    rustix::fs::sync();
    // The disk under the overlay cannot be unmounted while the root stands on it; read-only makes its journal clean.
    let flags = rustix::mount::MountFlags::RDONLY;
    let _ = rustix::mount::mount_remount("/", flags, "");
    rustix::fs::sync();
}

/// Resets the machine: with QEMU's `-no-reboot`, and under Firecracker with `reboot=k`, that ends the VMM.
pub(crate) fn reset() -> ! {
    let failed = rustix::system::reboot(RebootCommand::Restart);
    crate::console(&format!("cannot reset the machine: {failed:?}"));
    // PID 1 must not return. When it does, the kernel panics, and `panic=-1` resets.
    std::process::exit(1)
}
