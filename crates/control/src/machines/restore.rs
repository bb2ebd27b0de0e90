//! From a request and a snapshot to the spec of a machine that goes on from there, or boots with its disk. Pure.
//!
//! The guest is there already: what it is made of is the snapshot's, and its program runs. A request may say again what
//! that is; what differs is refused, with the field. Of a snapshot of the disk alone nothing is there but what the disk lies over:
//! what runs it may be another.

use std::fmt::Debug;

use hearth_api::CreateMachine;
use hearth_domain::{MachineName, MachineSpec, NetworkMode, Resources};
use hearth_ids::MachineId;
use hearth_store::SnapshotRow;

use super::{
    input,
    plan::{self, Plan},
};
use crate::error::{ApiError, ApiResult};

/// What a request that names a snapshot gives besides, looked up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// Digest of the image that it names, if it names one that the node has.
    pub(crate) image_id: Option<String>,
    /// ID of the kernel, likewise.
    pub(crate) kernel_id: Option<String>,
}

/// The machine that a request asks for.
pub(crate) fn plan(
    request: &CreateMachine,
    given: &Given,
    snapshot: &SnapshotRow,
    name: MachineName,
    id: MachineId,
) -> ApiResult<Plan> {
    let of = &snapshot.spec;
    refuse_other_shape(request, given, snapshot)?;
    refuse_program(request, snapshot.has_memory())?;
    let network = request.network.map_or(of.network, Into::into);
    let stop_timeout_ms = request.stop_timeout_ms.unwrap_or(of.stop_timeout_ms);
    let spec = MachineSpec {
        id,
        name,
        owner: None,
        resources: resources(request, &of.resources)?,
        driver: request.driver.map_or(of.driver, Into::into),
        network,
        ports: plan::ports(&request.ports, network)?,
        restart: plan::restart(request.restart, request.auto_remove)?,
        recover: plan::recover(request.recover)?,
        stop_timeout_ms: input::stop_timeout_ms("stop_timeout_ms", stop_timeout_ms)?,
        auto_remove: request.auto_remove,
        snapshot: Some(snapshot.id),
        boots: false,
        ..of.clone()
    };
    Ok(Plan {
        spec,
        args: snapshot.args.clone(),
    })
}

/// What is asked for, and else the snapshot's.
fn resources(request: &CreateMachine, of: &Resources) -> ApiResult<Resources> {
    plan::resources(&CreateMachine {
        cpus: request.cpus.or(Some(of.vcpus.into())),
        memory_mib: request.memory_mib.or(Some(of.memory_mib.into())),
        disk_mib: of.disk_mib.map(Into::into),
        ..CreateMachine::default()
    })
}

fn refuse_other_shape(request: &CreateMachine, given: &Given, snapshot: &SnapshotRow) -> ApiResult<()> {
    let of = &snapshot.spec;
    if !request.image.is_empty() && request.image != of.image && given.image_id.as_ref() != Some(&of.image_id) {
        return Err(other("image", &request.image, &of.image));
    }
    if let Some(kernel) = &request.kernel
        && given.kernel_id.as_ref() != Some(&of.kernel_id)
    {
        return Err(other("kernel", kernel, &of.kernel_id));
    }
    let has = &of.resources;
    same("disk_mib", request.disk_mib, has.disk_mib.map(Into::into))?;
    if !snapshot.has_memory() {
        return Ok(());
    }
    same("cpus", request.cpus, Some(has.vcpus.into()))?;
    same("memory_mib", request.memory_mib, Some(has.memory_mib.into()))?;
    same("driver", request.driver.map(Into::into), Some(of.driver))?;
    same("network", request.network.map(NetworkMode::from), Some(of.network))
}

/// What is given has to be what the snapshot has.
fn same<T: PartialEq + Debug>(field: &'static str, given: Option<T>, has: Option<T>) -> ApiResult<()> {
    match (given, has) {
        (None, _) => Ok(()),
        (given, has) if given == has => Ok(()),
        (Some(given), Some(has)) => Err(other(field, given, has)),
        (Some(given), None) => Err(ApiError::field(
            field,
            format!("{field} {given:?} is not the snapshot's, which has none; leave out {field}"),
        )),
    }
}

fn other(field: &'static str, given: impl Debug, has: impl Debug) -> ApiError {
    ApiError::field(
        field,
        format!("{field} {given:?} is not the snapshot's, which has {has:?}; leave out {field}"),
    )
}

/// The program is the snapshot's, with what it was given.
fn refuse_program(request: &CreateMachine, runs: bool) -> ApiResult<()> {
    let why = if runs {
        "goes on with a program that runs already"
    } else {
        "runs what the machine of the snapshot ran"
    };
    for (field, given) in [
        ("entrypoint", request.entrypoint.is_some()),
        ("cmd", !request.cmd.is_empty()),
        ("env", !request.env.is_empty()),
        ("secrets", !request.secrets.is_empty()),
        ("working_dir", request.working_dir.is_some()),
        ("user", request.user.is_some()),
        ("stop_signal", request.stop_signal.is_some()),
        ("tty", request.tty),
        ("stdin", request.stdin),
    ] {
        if given {
            return Err(ApiError::field(
                field,
                format!("a machine from a snapshot {why}; leave out {field}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hearth_api::{PortMapping, Protocol, SecretUse};
    use hearth_ids::SnapshotId;
    use hearth_store::{SnapshotFacts, SnapshotState};

    use super::*;

    fn snapshot() -> SnapshotRow {
        let mut spec = crate::reconcile::test_spec();
        spec.image = "busybox".into();
        spec.image_id = "sha256:1".into();
        spec.kernel_id = "k1".into();
        spec.network = NetworkMode::Default;
        spec.stop_timeout_ms = 5;
        spec.workload.cmd = vec!["sleep".into()];
        SnapshotRow {
            id: SnapshotId::new(),
            project: spec.project,
            name: None,
            spec,
            args: vec!["sleep".into()],
            state: SnapshotState::Ready,
            transient: false,
            build: None,
            facts: None,
            created_unix_ms: 0,
        }
    }

    fn planned(request: &CreateMachine, given: &Given) -> ApiResult<Plan> {
        plan(request, given, &snapshot(), "new".parse().unwrap(), MachineId::new())
    }

    #[test]
    fn what_is_absent_is_the_snapshots() {
        let snapshot = snapshot();
        let id = MachineId::new();
        let request = CreateMachine::default();
        let plan = plan(&request, &Given::default(), &snapshot, "new".parse().unwrap(), id).unwrap();
        let wanted = MachineSpec {
            id,
            name: "new".parse().unwrap(),
            snapshot: Some(snapshot.id),
            ..snapshot.spec
        };
        assert_eq!((plan.spec, plan.args), (wanted, snapshot.args));
    }

    #[test]
    fn what_is_the_same_may_be_said_again() {
        let request = CreateMachine {
            image: "docker.io/library/busybox".into(),
            kernel: Some("k".into()),
            cpus: Some(1),
            memory_mib: Some(64),
            driver: Some(hearth_api::Driver::Fake),
            network: Some(hearth_api::NetworkMode::Default),
            ..CreateMachine::default()
        };
        let given = Given {
            image_id: Some("sha256:1".into()),
            kernel_id: Some("k1".into()),
        };
        assert!(planned(&request, &given).is_ok());
        let elsewhere = planned(&request, &Given::default()).unwrap_err();
        assert_eq!(elsewhere.problem.field.as_deref(), Some("image"));
    }

    #[test]
    fn what_boots_is_run_by_what_it_is_given() {
        let mut snapshot = snapshot();
        snapshot.spec.resources.disk_mib = Some(64.try_into().unwrap());
        snapshot.facts = Some(SnapshotFacts {
            made_unix_ms: 0,
            parents: Vec::new(),
            vmm_version: String::new(),
            accelerator: String::new(),
            cpu_features: Vec::new(),
            agent_version: String::new(),
            parts: Vec::new(),
            paused_us: 0,
        });
        let planned = |request: &CreateMachine| {
            let name = "new".parse().unwrap();
            plan(request, &Given::default(), &snapshot, name, MachineId::new())
        };
        let none = CreateMachine::default;
        let request = CreateMachine {
            cpus: Some(2),
            memory_mib: Some(65),
            driver: Some(hearth_api::Driver::Qemu),
            network: Some(hearth_api::NetworkMode::None),
            ..none()
        };
        let spec = planned(&request).unwrap().spec;
        let (has, of) = (spec.resources, snapshot.spec.resources);
        assert_eq!(
            (has.vcpus.get(), has.memory_mib.get(), has.disk_mib),
            (2, 65, of.disk_mib)
        );
        assert_eq!(
            (spec.driver, spec.network),
            (hearth_domain::DriverKind::Qemu, NetworkMode::None)
        );
        assert_eq!(planned(&none()).unwrap().spec.resources, of);
        #[rustfmt::skip]
        let refused = [
            (CreateMachine { disk_mib: Some(65), ..none() }, "disk_mib"),
            (CreateMachine { memory_mib: Some(0), ..none() }, "memory_mib"),
            (CreateMachine { image: "alpine".into(), ..none() }, "image"),
            (CreateMachine { env: vec!["A=b".into()], ..none() }, "env"),
        ];
        for (request, field) in refused {
            assert_eq!(planned(&request).unwrap_err().problem.field.as_deref(), Some(field));
        }
    }

    #[test]
    fn what_differs_is_refused_by_its_field() {
        let none = CreateMachine::default;
        let port = PortMapping {
            host_ip: None,
            host_port: 0,
            guest_port: 1,
            protocol: Protocol::Tcp,
        };
        let secret: SecretUse = serde_json::from_value(serde_json::json!({ "name": "s", "env": "S" })).unwrap();
        #[rustfmt::skip]
        let requests = [
            (CreateMachine { image: "alpine".into(), ..none() }, "image"),
            (CreateMachine { kernel: Some("k2".into()), ..none() }, "kernel"),
            (CreateMachine { cpus: Some(2), ..none() }, "cpus"),
            (CreateMachine { memory_mib: Some(65), ..none() }, "memory_mib"),
            (CreateMachine { disk_mib: Some(64), ..none() }, "disk_mib"),
            (CreateMachine { driver: Some(hearth_api::Driver::Qemu), ..none() }, "driver"),
            (CreateMachine { network: Some(hearth_api::NetworkMode::None), ..none() }, "network"),
            (CreateMachine { entrypoint: Some(Vec::new()), ..none() }, "entrypoint"),
            (CreateMachine { cmd: vec!["x".into()], ..none() }, "cmd"),
            (CreateMachine { env: vec!["A=b".into()], ..none() }, "env"),
            (CreateMachine { secrets: vec![secret], ..none() }, "secrets"),
            (CreateMachine { working_dir: Some("/".into()), ..none() }, "working_dir"),
            (CreateMachine { user: Some("root".into()), ..none() }, "user"),
            (CreateMachine { stop_signal: Some("TERM".into()), ..none() }, "stop_signal"),
            (CreateMachine { tty: true, ..none() }, "tty"),
            (CreateMachine { stdin: true, ..none() }, "stdin"),
            (CreateMachine { ports: vec![port], ..none() }, "ports[0]"),
            (CreateMachine { stop_timeout_ms: Some(u64::MAX), ..none() }, "stop_timeout_ms"),
        ];
        for (request, field) in requests {
            let refused = planned(&request, &Given::default()).unwrap_err();
            assert_eq!(refused.problem.field.as_deref(), Some(field));
        }
    }
}
