//! `hearth.guest.v1.Guest`: what the host alone may ask.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hearth_guest_api::connect::{Code, ConnectError};
use hearth_guest_api::guest::record::{Body, KeepAlive};
use hearth_guest_api::guest::{
    FollowRequest, FreezeRequest, FreezeResponse, InitRequest, InitResponse, MetricsRequest, PrepareSnapshotRequest,
    PrepareSnapshotResponse, Record, ReleaseProgramsRequest, ReleaseProgramsResponse, SetClockRequest,
    SetClockResponse, ShutdownRequest, ShutdownResponse, ThawRequest, ThawResponse, WorkloadInputRequest,
    WorkloadInputResponse, WorkloadResizeRequest, WorkloadResizeResponse, WorkloadSignalRequest,
    WorkloadSignalResponse,
};

use super::body::Response;
use super::rpc::{self, Call, Gone, Sink};
use crate::agent::Agent;
use crate::clock::unix_ns;
use crate::log::Follower;
use crate::process::users::Accounts;
use crate::process::{Input, send_signal};
use crate::restore::{self, Restore};
use crate::secrets::SecretsError;
use crate::workload::{self, Workload};
use crate::{clock, entropy, freeze, metrics, secrets, shutdown, volumes};

/// A follower that takes nothing for this long is let go, so that it no longer holds the workload back.
const FOLLOWER_STALL: Duration = Duration::from_mins(1);

pub(super) async fn serve(agent: Rc<Agent>, caller: SocketAddr, method: &str, call: Call) -> Response {
    match method {
        "Init" => rpc::unary(call, async |request: InitRequest| init(&agent, caller, request).await).await,
        "Follow" => follow(agent, call).await,
        "WorkloadInput" => {
            rpc::unary(call, async |request: WorkloadInputRequest| {
                workload_input(&agent, request).await
            })
            .await
        }
        "WorkloadSignal" => {
            rpc::unary(call, async |request: WorkloadSignalRequest| {
                workload_signal(&agent, request)
            })
            .await
        }
        "WorkloadResize" => {
            rpc::unary(call, async |request: WorkloadResizeRequest| {
                workload_resize(&agent, request)
            })
            .await
        }
        "SetClock" => rpc::unary(call, async |request: SetClockRequest| set_clock(&agent, request)).await,
        "Metrics" => rpc::unary(call, async |_: MetricsRequest| Ok(metrics::read())).await,
        "Freeze" => {
            rpc::unary(call, async |_: FreezeRequest| {
                freeze::freeze(&agent).map(|()| FreezeResponse {})
            })
            .await
        }
        "Thaw" => {
            rpc::unary(call, async |_: ThawRequest| {
                freeze::thaw(&agent).map(|()| ThawResponse {})
            })
            .await
        }
        "PrepareSnapshot" => {
            rpc::unary(call, async |request: PrepareSnapshotRequest| {
                restore::prepare_snapshot(&agent, &request)
                    .await
                    .map(|held| PrepareSnapshotResponse { held })
            })
            .await
        }
        "ReleasePrograms" => {
            rpc::unary(call, async |_: ReleaseProgramsRequest| {
                release_programs(&agent).map(|()| ReleaseProgramsResponse {})
            })
            .await
        }
        "Shutdown" => rpc::unary(call, async |request: ShutdownRequest| shut_down(&agent, request).await).await,
        _ => rpc::unknown_method(method),
    }
}

async fn init(agent: &Rc<Agent>, caller: SocketAddr, request: InitRequest) -> Result<InitResponse, ConnectError> {
    let restore = Restore::parse(&request)?;
    let to_be_held = restore.as_ref().is_some_and(|restore| restore.hold);
    let has_tokens = agent.settings.borrow().tokens.is_some();
    if request.tokens.as_ref().is_none_or(|tokens| tokens.host.is_empty()) && !has_tokens {
        return Err(ConnectError::new(
            Code::InvalidArgument,
            "the first Init must set `tokens.host`",
        ));
    }
    agent.configure(&request);
    if agent.boot.is_init {
        set_up_guest(agent, &request)?;
        let own = agent.boot.own_address.filter(|_| request.forward_local_ports);
        agent.forwarding.set(own);
    }
    write_secrets(agent, &request)?;
    let is_restored = restore.is_some();
    let hooks = match restore {
        Some(restore) => restore.apply(agent, agent.has_lived.get(), caller)?,
        None => None,
    };
    // The connection of what is mounted may just have been ended; it comes back by itself.
    let volumes = match &request.volumes {
        Some(wanted) if agent.boot.is_init => volumes::settle(agent, wanted).await?,
        _ => volumes::Settled::default(),
    };
    let (mut started, mut held) = (false, false);
    if to_be_held {
        held = agent.processes.hold.until_told().await;
    } else {
        agent.has_lived.set(true);
        if is_restored {
            release_programs(agent)?;
        }
        if let Some(workload) = request.workload {
            started = start_workload(agent, workload).await;
        }
        if let Some(hooks) = hooks {
            restore::wait_for_hooks(hooks).await;
        }
        if is_restored && let Some(api) = &*agent.runtime_api.borrow() {
            api.restored();
        }
    }
    Ok(InitResponse {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        listening_ns: agent.boot.listening_ns,
        root_ready_ns: agent.boot.root_ready_ns,
        next_seq: agent.log.next_seq(),
        started,
        held,
        volumes: volumes.mounted,
        volumes_gone: volumes.gone,
    })
}

/// Starts the machine's one workload, unless that was done.
async fn start_workload(agent: &Rc<Agent>, request: hearth_guest_api::guest::Workload) -> bool {
    let is_wanted = || agent.workload.borrow().is_none() && !agent.stopping.get();
    if is_wanted() {
        agent.processes.hold.released().await;
    }
    // Another Init may have come meanwhile.
    let wanted = is_wanted();
    if wanted {
        let workload = workload::start(agent, request);
        agent.workload.replace(Some(workload));
    }
    wanted
}

fn release_programs(agent: &Agent) -> Result<(), ConnectError> {
    let failed = |error| ConnectError::new(Code::Internal, format!("cannot let programs go on: {error}"));
    agent.processes.hold.release().map_err(failed)
}

fn set_up_guest(agent: &Agent, request: &InitRequest) -> Result<(), ConnectError> {
    let internal =
        |what: &str, error: std::io::Error| ConnectError::new(Code::Internal, format!("cannot {what}: {error}"));
    // First, since what is drawn before it is the same in all copies of a snapshot.
    entropy::credit(&request.entropy, request.restore.is_some())
        .map_err(|error| internal("renew the random generator", error))?;
    if request.clock_unix_ns > 0 {
        clock::set_unix_ns(request.clock_unix_ns).map_err(|error| internal("set the clock", error))?;
    }
    if !request.hostname.is_empty() {
        rustix::system::sethostname(request.hostname.as_bytes())
            .map_err(|errno| internal("set the host name", errno.into()))?;
    }
    let hostname = agent.settings.borrow().hostname.clone();
    agent
        .names
        .write(&hostname, agent.boot.own_address, request.names.as_ref())
        .map_err(|error| internal("write the names under /etc", error))
}

/// The files of this Init take the place of those before. A user who does not exist owns nothing: the workload, which then
/// cannot start, says so.
fn write_secrets(agent: &Agent, request: &InitRequest) -> Result<(), ConnectError> {
    if request.secret_files.is_empty() && !agent.secrets_mounted.get() {
        return Ok(());
    }
    let user = request.workload.as_ref().map(|workload| workload.user.as_str());
    let (uid, gid) = Accounts::load()
        .resolve(user.unwrap_or(&agent.settings.borrow().default_user))
        .map_or((0, 0), |identity| (identity.uid, identity.gid));
    let refused = |error: SecretsError| {
        let code = match error {
            SecretsError::Io { .. } => Code::Internal,
            SecretsError::Elsewhere(_) | SecretsError::Twice(_) => Code::InvalidArgument,
        };
        ConnectError::new(code, error.to_string())
    };
    if agent.boot.is_init && !agent.secrets_mounted.get() {
        secrets::mount_folder().map_err(refused)?;
    }
    agent.secrets_mounted.set(true);
    secrets::replace(&agent.boot.secrets, &request.secret_files, uid, gid).map_err(refused)
}

fn set_clock(agent: &Agent, request: SetClockRequest) -> Result<SetClockResponse, ConnectError> {
    // Where the agent is not process 1, the clock is somebody else's.
    if agent.boot.is_init {
        clock::set_unix_ns(request.clock_unix_ns)
            .map_err(|error| ConnectError::new(Code::Internal, format!("cannot set the clock: {error}")))?;
    }
    Ok(SetClockResponse {})
}

async fn follow(agent: Rc<Agent>, call: Call) -> Response {
    let keepalive = call.keepalive;
    rpc::server_stream(call, async move |request: FollowRequest, sink: &Sink<Record>| {
        let follower = agent.log.follow(request.from_seq);
        // A client that went away, or stalled, follows again from where it was; it needs no error.
        let _ = send_records(
            &follower,
            sink,
            keepalive,
            request.end_at_last.then(|| agent.log.next_seq()),
        )
        .await;
        Ok(())
    })
    .await
}

async fn send_records(
    follower: &Follower,
    sink: &Sink<Record>,
    keepalive: Duration,
    end_before: Option<u64>,
) -> Result<(), Gone> {
    loop {
        let record = match (follower.try_next(), end_before) {
            (Some(record), Some(end)) if record.seq >= end => return Ok(()),
            (Some(record), _) => record,
            (None, Some(_)) => return Ok(()),
            (None, None) => next_or_keepalive(follower, sink, keepalive).await?,
        };
        tokio::time::timeout(FOLLOWER_STALL, sink.send(&record))
            .await
            .unwrap_or(Err(Gone))?;
    }
}

async fn next_or_keepalive(follower: &Follower, sink: &Sink<Record>, keepalive: Duration) -> Result<Record, Gone> {
    tokio::select! {
        record = follower.next() => Ok(record),
        () = tokio::time::sleep(keepalive) => Ok(Record { seq: 0, unix_ns: unix_ns(), body: Some(Body::Keepalive(KeepAlive {})) }),
        () = sink.gone() => Err(Gone),
    }
}

fn workload_of(agent: &Agent) -> Result<Rc<Workload>, ConnectError> {
    let absent = || ConnectError::new(Code::FailedPrecondition, "no workload was started");
    agent.workload.borrow().clone().ok_or_else(absent)
}

async fn workload_input(agent: &Agent, request: WorkloadInputRequest) -> Result<WorkloadInputResponse, ConnectError> {
    let workload = workload_of(agent)?;
    if !request.data.is_empty() {
        let pipe = {
            let input = workload.input.borrow();
            input.pipe(matches!(*input, Input::Pty(_)))?
        };
        Input::write(pipe, workload.exit.clone(), request.data).await?;
    }
    if request.close {
        workload.input.borrow_mut().close()?;
    }
    Ok(WorkloadInputResponse {})
}

fn workload_signal(agent: &Agent, request: WorkloadSignalRequest) -> Result<WorkloadSignalResponse, ConnectError> {
    let workload = workload_of(agent)?;
    let first = workload.running_pid()?;
    let pids = workload
        .cgroup
        .as_ref()
        .filter(|_| request.all)
        .map(crate::process::cgroup::Cgroup::pids)
        .filter(|pids| !pids.is_empty());
    for pid in pids.unwrap_or_else(|| vec![first]) {
        match send_signal(pid, request.signal, false) {
            // Ended between the list and the signal.
            Err(error) if error.code == Code::NotFound && request.all => {}
            sent => sent?,
        }
    }
    Ok(WorkloadSignalResponse {})
}

fn workload_resize(agent: &Agent, request: WorkloadResizeRequest) -> Result<WorkloadResizeResponse, ConnectError> {
    let size = request
        .size
        .ok_or_else(|| ConnectError::new(Code::InvalidArgument, "`size` is missing"))?;
    workload_of(agent)?.input.borrow().resize(size)?;
    Ok(WorkloadResizeResponse {})
}

async fn shut_down(agent: &Rc<Agent>, request: ShutdownRequest) -> Result<ShutdownResponse, ConnectError> {
    let killed = shutdown::stop_workload(agent, request.signal, Duration::from_millis(request.timeout_ms)).await;
    shutdown::schedule_reset(agent);
    Ok(ShutdownResponse { killed })
}
