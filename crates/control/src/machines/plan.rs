//! From a request to a spec: every field parsed once, here. Pure.

use std::collections::HashSet;

use hearth_api::{CreateMachine, PortMapping, RecoverPolicy, RecoverWord, RestartPolicy, RestartWord};
use hearth_domain::{DriverKind, MachineName, MachineSpec, NetworkMode, Resources, Workload};
use hearth_ids::MachineId;

use super::input;
use crate::error::{ApiError, ApiResult};

const DEFAULT_CPUS: u64 = 1;
const DEFAULT_MEMORY_MIB: u64 = 256;
const DEFAULT_STOP_TIMEOUT_MS: u64 = 10_000;
const PORTS_MAX: usize = 256;

/// What a plan takes from its surroundings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) image_id: String,
    /// The image's own program.
    pub(crate) image_entrypoint: Vec<String>,
    pub(crate) image_cmd: Vec<String>,
    pub(crate) kernel_id: String,
}

/// A machine that can be made.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) spec: MachineSpec,
    pub(crate) args: Vec<String>,
}

/// The name that was asked for.
pub(crate) fn name(request: &CreateMachine) -> ApiResult<Option<MachineName>> {
    let parsed = request.name.as_deref().map(str::parse).transpose();
    parsed.map_err(|error: hearth_domain::InvalidName| ApiError::field("name", error.to_string()))
}

/// Checks all that can be checked without knowing the image, so that a bad request fails before anything is looked up.
pub(crate) fn check(request: &CreateMachine) -> ApiResult<()> {
    let facts = Facts {
        image_entrypoint: vec!["?".into()],
        ..Facts::default()
    };
    let made_up = super::name::make_up(0).ok_or_else(|| ApiError::internal("cannot make up a name"))?;
    let name = name(request)?.unwrap_or(made_up);
    plan(request.clone(), &facts, name, MachineId::new(), DriverKind::Fake).map(drop)
}

/// The machine that a request asks for.
pub(crate) fn plan(
    request: CreateMachine,
    facts: &Facts,
    name: MachineName,
    id: MachineId,
    default_driver: DriverKind,
) -> ApiResult<Plan> {
    if request.image.is_empty() {
        return Err(ApiError::field(
            "image",
            "image is missing; name one, such as docker.io/library/busybox, or a snapshot",
        ));
    }
    let args = args(&request, facts)?;
    let resources = resources(&request)?;
    let restart = restart(request.restart, request.auto_remove)?;
    let recover = recover(request.recover)?;
    let network = request.network.unwrap_or_default().into();
    let ports = ports(&request.ports, network)?;
    let stop_timeout_ms = request.stop_timeout_ms.unwrap_or(DEFAULT_STOP_TIMEOUT_MS);
    let spec = MachineSpec {
        id,
        name,
        image_id: facts.image_id.clone(),
        layers: Vec::new(),
        project: hearth_ids::ProjectId::DEFAULT,
        owner: None,
        kernel_id: facts.kernel_id.clone(),
        resources,
        network,
        egress: hearth_domain::EgressRules::default(),
        ports,
        driver: request.driver.map_or(default_driver, Into::into),
        restart,
        recover,
        stop_timeout_ms: input::stop_timeout_ms("stop_timeout_ms", stop_timeout_ms)?,
        auto_remove: request.auto_remove,
        snapshot: None,
        boots: false,
        volumes: Vec::new(),
        image: request.image.clone(),
        workload: workload(request)?,
    };
    Ok(Plan { spec, args })
}

/// Docker's rule: an entrypoint of the request's own takes the image's command away, too.
fn args(request: &CreateMachine, facts: &Facts) -> ApiResult<Vec<String>> {
    input::arguments("cmd", &request.cmd)?;
    input::arguments("entrypoint", request.entrypoint.as_deref().unwrap_or_default())?;
    let entrypoint = request.entrypoint.as_ref().unwrap_or(&facts.image_entrypoint);
    let cmd = match (&request.entrypoint, request.cmd.is_empty()) {
        (None, true) => &facts.image_cmd,
        _ => &request.cmd,
    };
    let args: Vec<_> = entrypoint.iter().chain(cmd).cloned().collect();
    match args.first() {
        None => Err(ApiError::field(
            "cmd",
            format!(
                "cmd is missing: image {:?} does not say what to run, so give a command",
                request.image
            ),
        )),
        Some(program) if program.is_empty() => {
            Err(ApiError::field("cmd", "the program's name is empty; give a command"))
        }
        Some(_) => Ok(args),
    }
}

pub(super) fn resources(request: &CreateMachine) -> ApiResult<Resources> {
    let refused = |field| move |error: hearth_domain::InvalidSize| ApiError::field(field, error.to_string());
    Ok(Resources {
        vcpus: request
            .cpus
            .unwrap_or(DEFAULT_CPUS)
            .try_into()
            .map_err(refused("cpus"))?,
        memory_mib: request
            .memory_mib
            .unwrap_or(DEFAULT_MEMORY_MIB)
            .try_into()
            .map_err(refused("memory_mib"))?,
        disk_mib: request
            .disk_mib
            .map(TryInto::try_into)
            .transpose()
            .map_err(refused("disk_mib"))?,
    })
}

pub(super) fn restart(policy: RestartPolicy, auto_remove: bool) -> ApiResult<hearth_domain::RestartPolicy> {
    let restart = match (policy.policy, policy.max) {
        (RestartWord::No, None) => hearth_domain::RestartPolicy::No,
        (RestartWord::OnFailure, max) => hearth_domain::RestartPolicy::OnFailure { max },
        (RestartWord::Always, None) => hearth_domain::RestartPolicy::Always,
        (RestartWord::No | RestartWord::Always, Some(_)) => {
            return Err(ApiError::field(
                "restart.max",
                "restart.max goes with the policy on-failure only; leave it out",
            ));
        }
    };
    if auto_remove && restart != hearth_domain::RestartPolicy::No {
        return Err(ApiError::field(
            "auto_remove",
            "a machine that is removed once it ends cannot be started again; leave out either auto_remove (--rm) or restart",
        ));
    }
    Ok(restart)
}

pub(crate) fn recover(policy: RecoverPolicy) -> ApiResult<hearth_domain::RecoverPolicy> {
    match (policy.policy, policy.interval_s) {
        (RecoverWord::No, None) => Ok(hearth_domain::RecoverPolicy::No),
        (RecoverWord::No, Some(_)) => Err(ApiError::field(
            "recover.interval_s",
            "recover.interval_s goes with the policy snapshot only; leave it out",
        )),
        (RecoverWord::Snapshot, interval_s) => hearth_domain::RecoverPolicy::snapshot(interval_s)
            .map_err(|error| ApiError::field("recover.interval_s", error.to_string())),
    }
}

pub(super) fn ports(ports: &[PortMapping], network: NetworkMode) -> ApiResult<Vec<hearth_domain::PortMapping>> {
    if network == NetworkMode::None && !ports.is_empty() {
        return Err(ApiError::field(
            "ports",
            "a machine without a network has no ports; leave out ports, or network: none",
        ));
    }
    if ports.len() > PORTS_MAX {
        return Err(ApiError::field(
            "ports",
            format!("there are {} ports; at most {PORTS_MAX} are possible", ports.len()),
        ));
    }
    let mut taken = HashSet::new();
    let mut mapped = Vec::with_capacity(ports.len());
    for (place, port) in ports.iter().enumerate() {
        if port.host_port == 0 || port.guest_port == 0 {
            return Err(ApiError::field(
                format!("ports[{place}]"),
                "port 0 is not valid: ports go from 1 to 65535",
            ));
        }
        let port = hearth_domain::PortMapping {
            host_ip: port.host_ip,
            host_port: port.host_port,
            guest_port: port.guest_port,
            protocol: port.protocol.into(),
        };
        if !taken.insert((port.host_ip, port.host_port, port.protocol)) {
            return Err(ApiError::field(
                format!("ports[{place}]"),
                format!("port {} of the node is mapped twice; leave one out", port.host_port),
            ));
        }
        mapped.push(port);
    }
    Ok(mapped)
}

fn workload(request: CreateMachine) -> ApiResult<Workload> {
    if let Some(path) = &request.working_dir {
        input::guest_path("working_dir", path)?;
    }
    if let Some(user) = &request.user {
        input::user(user)?;
    }
    if let Some(signal) = &request.stop_signal {
        input::signal(signal).map_err(|error| ApiError::field("stop_signal", error.problem.detail))?;
    }
    Ok(Workload {
        entrypoint: request.entrypoint,
        cmd: request.cmd,
        env: input::environment(request.env)?,
        working_dir: request.working_dir,
        user: request.user,
        stop_signal: request.stop_signal,
        tty: request.tty,
        stdin: request.stdin,
        ..Workload::default()
    })
}

#[cfg(test)]
mod tests {
    use hearth_api::Protocol;

    use super::*;

    fn planned(request: CreateMachine, facts: &Facts) -> ApiResult<Plan> {
        let name = name(&request)?.unwrap_or("made-up".parse().unwrap());
        plan(request, facts, name, MachineId::new(), DriverKind::Qemu)
    }

    fn image(entrypoint: &[&str], cmd: &[&str]) -> Facts {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Facts {
            image_entrypoint: owned(entrypoint),
            image_cmd: owned(cmd),
            ..Facts::default()
        }
    }

    fn request() -> CreateMachine {
        CreateMachine {
            image: "busybox".into(),
            ..CreateMachine::default()
        }
    }

    fn refused_field(request: CreateMachine) -> Option<String> {
        planned(request, &image(&["/init"], &[])).unwrap_err().problem.field
    }

    fn recovering(policy: RecoverWord, interval_s: Option<u64>) -> CreateMachine {
        CreateMachine {
            recover: RecoverPolicy { policy, interval_s },
            ..request()
        }
    }

    #[test]
    fn what_is_absent_is_as_usual() {
        let plan = planned(request(), &image(&[], &["sh"])).unwrap();
        assert_eq!(plan.args, ["sh"]);
        assert_eq!(
            (plan.spec.resources.vcpus.get(), plan.spec.resources.memory_mib.get()),
            (1, 256)
        );
        assert_eq!(
            (plan.spec.driver, plan.spec.stop_timeout_ms),
            (DriverKind::Qemu, 10_000)
        );
        assert_eq!(plan.spec.workload, Workload::default());
    }

    #[test]
    fn program_and_arguments_go_by_dockers_rule() {
        let of = |entrypoint: Option<&[&str]>, cmd: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
            let request = CreateMachine {
                entrypoint: entrypoint.map(owned),
                cmd: owned(cmd),
                ..request()
            };
            planned(request, &image(&["e"], &["c"]))
                .map(|plan| plan.args.join(" "))
                .ok()
        };
        assert_eq!(of(None, &[]).as_deref(), Some("e c"));
        assert_eq!(of(None, &["x"]).as_deref(), Some("e x"));
        assert_eq!(of(Some(&["o"]), &[]).as_deref(), Some("o"));
        assert_eq!(of(Some(&["o"]), &["x"]).as_deref(), Some("o x"));
        assert_eq!(of(Some(&[]), &["x"]).as_deref(), Some("x"));
        assert_eq!(of(Some(&[]), &[]), None);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one row a field")]
    fn each_field_is_named_when_it_is_wrong() {
        let port = PortMapping {
            host_ip: None,
            host_port: 80,
            guest_port: 80,
            protocol: Protocol::Tcp,
        };
        let always = RestartPolicy {
            policy: RestartWord::Always,
            max: None,
        };
        for (request, field) in [
            (
                CreateMachine {
                    image: String::new(),
                    ..request()
                },
                "image",
            ),
            (
                CreateMachine {
                    name: Some("a/b".into()),
                    ..request()
                },
                "name",
            ),
            (
                CreateMachine {
                    cpus: Some(0),
                    ..request()
                },
                "cpus",
            ),
            (
                CreateMachine {
                    memory_mib: Some(1),
                    ..request()
                },
                "memory_mib",
            ),
            (
                CreateMachine {
                    disk_mib: Some(u64::MAX),
                    ..request()
                },
                "disk_mib",
            ),
            (
                CreateMachine {
                    cmd: vec!["a\0".into()],
                    ..request()
                },
                "cmd[0]",
            ),
            (
                CreateMachine {
                    entrypoint: Some(vec![String::new()]),
                    ..request()
                },
                "cmd",
            ),
            (
                CreateMachine {
                    env: vec!["A".into()],
                    ..request()
                },
                "env[0]",
            ),
            (
                CreateMachine {
                    working_dir: Some("tmp".into()),
                    ..request()
                },
                "working_dir",
            ),
            (
                CreateMachine {
                    user: Some(String::new()),
                    ..request()
                },
                "user",
            ),
            (
                CreateMachine {
                    stop_signal: Some("x".into()),
                    ..request()
                },
                "stop_signal",
            ),
            (
                CreateMachine {
                    stop_timeout_ms: Some(u64::MAX),
                    ..request()
                },
                "stop_timeout_ms",
            ),
            (
                CreateMachine {
                    ports: vec![port, port],
                    ..request()
                },
                "ports[1]",
            ),
            (
                CreateMachine {
                    ports: vec![PortMapping { host_port: 0, ..port }],
                    ..request()
                },
                "ports[0]",
            ),
            (
                CreateMachine {
                    ports: vec![port],
                    network: Some(hearth_api::NetworkMode::None),
                    ..request()
                },
                "ports",
            ),
            (
                CreateMachine {
                    restart: always,
                    auto_remove: true,
                    ..request()
                },
                "auto_remove",
            ),
            (
                CreateMachine {
                    restart: RestartPolicy { max: Some(1), ..always },
                    ..request()
                },
                "restart.max",
            ),
            (recovering(RecoverWord::No, Some(60)), "recover.interval_s"),
            (recovering(RecoverWord::Snapshot, Some(0)), "recover.interval_s"),
            (recovering(RecoverWord::Snapshot, Some(u64::MAX)), "recover.interval_s"),
        ] {
            assert_eq!(refused_field(request).as_deref(), Some(field));
        }
    }
}
