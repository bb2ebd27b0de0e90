//! How an instance of a version is made: the machine that its worker asks for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use hearth_domain::{
    Contract, DriverKind, FunctionSpec, MachineName, MachineOwner, MachineSpec, NetworkMode, RecoverPolicy,
    RestartPolicy, SealedSecret, VersionSpec, Workload,
};
use hearth_ids::{FunctionId, MachineId, SnapshotId};
use hearth_store::{Desired, InsertError, NewMachine};
use hearth_worker::{Blueprint, BlueprintError, Blueprints};
use tokio::sync::OnceCell;
use tracing::warn;

use super::templates::{self, Start, Templates};
use crate::{app::App, fault, snapshots::warm, time::now_unix_ms};

/// How long an instance's program has to end, once no call reaches it any more.
const STOP_TIMEOUT_MS: u64 = 5_000;
/// What of a function's name stands in its machines' names.
const NAME_CHARS: usize = 40;
/// Where a source lies in its machine (Lambda's place).
const TASK_ROOT: &str = "/var/task";
const RUNTIME_DIR: &str = "/var/runtime";
/// What tells a Lambda program how much memory it has, in MiB.
pub(crate) const MEMORY_VARIABLE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
/// What tells a Lambda program how it is initialised: Lambda's `on-demand`, or `snap-start` for a function that asks for it.
pub(crate) const INITIALIZATION_VARIABLE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";
pub(crate) const SNAP_START: &str = "snap-start";
/// What stands for a region: AWS clients ask for one.
pub(crate) const REGION: &str = "us-east-1";

/// Blueprints from the store. Holds the application loosely: the application holds the worker that holds this.
pub(crate) struct StoredBlueprints {
    app: Weak<App>,
    templates: Arc<Templates>,
    /// Which agent guests get; the same for as long as the node runs.
    agent_version: OnceCell<String>,
}

impl StoredBlueprints {
    pub(crate) fn new(app: Weak<App>, templates: Arc<Templates>) -> Self {
        Self {
            app,
            templates,
            agent_version: OnceCell::new(),
        }
    }

    async fn agent_version(&self, app: &App) -> Option<&str> {
        let asked = || async { app.node.info().await.map(|info| info.agent_version) };
        Some(self.agent_version.get_or_try_init(asked).await.ok()?)
    }

    /// Has a machine go on from its version's template, or become one. What cannot be found out is no reason not to boot.
    async fn start(&self, app: &App, spec: &mut MachineSpec) -> Option<SnapshotId> {
        if !app.makes_snapshots(spec.driver).await.unwrap_or(false) {
            return None;
        }
        let agent_version = self.agent_version(app).await?;
        let (start, stale) = self.templates.choose(spec, agent_version);
        if let Some(stale) = stale {
            templates::remove(app, stale).await;
        }
        match start {
            Start::From(template) => spec.snapshot = Some(template),
            Start::Make(template) => return Some(template),
            Start::Boot => {}
        }
        None
    }

    /// Notes a template that is to be made, so that it is found whatever becomes of it. Where that fails, none is made.
    async fn noted(&self, app: &App, template: SnapshotId) -> Option<SnapshotId> {
        match app.store.note_template(template).await {
            Ok(()) => Some(template),
            Err(error) => {
                warn!(snapshot = %template, error = hearth_domain::chain(&error), "cannot note a template; none is made");
                self.templates.made(template, false);
                None
            }
        }
    }

    async fn remove_template(&self, template: SnapshotId) {
        if let Some(app) = self.app.upgrade() {
            templates::remove(&app, template).await;
        }
    }
}

#[async_trait]
impl Blueprints for StoredBlueprints {
    async fn blueprint(&self, function: FunctionId, version: Option<u32>) -> Result<Blueprint, BlueprintError> {
        let app = self.app.upgrade().ok_or_else(|| broken("the server goes down"))?;
        let (mut spec, version) = wanted(&app, function, version).await?;
        let make_template = self.start(&app, &mut spec).await;
        if let Err(error) = note(&app, &spec).await {
            if let Some(template) = make_template {
                self.templates.made(template, false);
            }
            return Err(error);
        }
        let make_template = match make_template {
            Some(template) => self.noted(&app, template).await,
            None => None,
        };
        fault::point("instance.booked");
        Ok(Blueprint {
            spec,
            version: version.number,
            contract: version.contract,
            port: version.port(),
            make_template,
        })
    }

    async fn withdraw(&self, machine: MachineId) {
        let Some(app) = self.app.upgrade() else { return };
        if let Err(error) = app.store.withdraw_machine(machine).await {
            warn!(id = %machine, error = hearth_domain::chain(&error), "cannot forget a machine that could not be made; it is forgotten at the next start");
        }
    }

    async fn template_made(&self, template: SnapshotId, made: bool) {
        if !self.templates.made(template, made) {
            self.remove_template(template).await;
        }
    }

    async fn template_failed(&self, template: SnapshotId) {
        self.templates.failed(template);
        self.remove_template(template).await;
    }

    async fn make_room(&self) {
        if let Some(app) = self.app.upgrade() {
            warm::make_room(&app).await;
        }
    }

    async fn template(&self, function: FunctionId, version: u32) -> Option<SnapshotId> {
        let app = self.app.upgrade()?;
        let agent_version = self.agent_version(&app).await?;
        let (spec, _) = wanted(&app, function, Some(version)).await.ok()?;
        self.templates.current(&spec, agent_version)
    }

    async fn contract(&self, function: FunctionId, version: u32) -> Option<(Contract, u16)> {
        let app = self.app.upgrade()?;
        let version = app.store.version(function, version).await.ok().flatten()?;
        Some((version.spec.contract, version.spec.port()))
    }
}

/// The machine that one more instance would be if it booted, and its version; of the newest, if none is named.
pub(super) async fn wanted(
    app: &App,
    function: FunctionId,
    version: Option<u32>,
) -> Result<(MachineSpec, VersionSpec), BlueprintError> {
    let row = app
        .store
        .function(function)
        .await
        .map_err(|error| broken(&error.to_string()))?;
    let row = row.ok_or(BlueprintError::Gone)?;
    let number = version.unwrap_or(row.latest);
    let version = app
        .store
        .version(function, number)
        .await
        .map_err(|error| broken(&error.to_string()))?;
    let version = version.ok_or(BlueprintError::Gone)?.spec;
    let driver = match version.driver {
        Some(driver) => driver,
        None => app
            .default_driver()
            .await
            .map_err(|error| broken(&error.problem.detail))?,
    };
    let id = MachineId::new();
    let spec = MachineSpec {
        id,
        project: row.spec.project,
        owner: Some(MachineOwner::Function {
            function,
            version: number,
        }),
        name: machine_name(&row.spec, number, id).ok_or_else(|| broken("cannot name its machine"))?,
        image: version.image.clone(),
        image_id: version.image_id.clone(),
        layers: version.layers.clone(),
        kernel_id: kernel(app, driver).await?,
        resources: version.resources,
        workload: Workload {
            secrets: secrets(app, &row.spec, &version).await?,
            ..workload(&row.spec, &version)
        },
        network: NetworkMode::Default,
        egress: hearth_domain::EgressRules::default(),
        ports: Vec::new(),
        driver,
        restart: RestartPolicy::No,
        recover: RecoverPolicy::No,
        stop_timeout_ms: STOP_TIMEOUT_MS,
        auto_remove: false,
        snapshot: None,
        boots: false,
        volumes: Vec::new(),
    };
    Ok((spec, version))
}

async fn kernel(app: &App, driver: DriverKind) -> Result<String, BlueprintError> {
    let kernels = app.kernels.clone();
    let kernel = app.blocking(move || kernels.default_bundle()).await;
    match kernel.map_err(|error| broken(&error.problem.detail))? {
        Some(bundle) => Ok(bundle.id),
        None if driver == DriverKind::Fake => Ok(String::new()),
        None => Err(BlueprintError::Lacking(
            "there is no kernel yet; import one: hearth kernel import --deb linux-image-….deb".to_owned(),
        )),
    }
}

/// Puts the machine on the books, where it counts against what its project may have.
async fn note(app: &App, spec: &MachineSpec) -> Result<(), BlueprintError> {
    let args = spec.workload.entrypoint.iter().flatten().chain(&spec.workload.cmd);
    let new = NewMachine {
        spec: spec.clone(),
        args: args.cloned().collect(),
        desired: Desired::Running,
        created_unix_ms: now_unix_ms(),
        key: None,
        within_quotas: true,
    };
    match app.store.insert_machine(&new).await {
        Ok(event) => {
            app.publish(event);
            Ok(())
        }
        Err(InsertError::Quota(quota)) => Err(BlueprintError::NoRoom(quota.to_string())),
        Err(error) => Err(broken(&error.to_string())),
    }
}

fn broken(reason: &str) -> BlueprintError {
    BlueprintError::Broken(reason.to_owned())
}

/// `NAME-vVERSION-` and the end of the ID, which is its random part.
fn machine_name(function: &FunctionSpec, version: u32, id: MachineId) -> Option<MachineName> {
    let label: String = function.name.label().chars().take(NAME_CHARS).collect();
    let id = id.to_string();
    let random = id.get(id.len().saturating_sub(8)..)?;
    format!("{label}-v{version}-{random}").parse().ok()
}

/// The version's program with what the contract puts into its environment.
fn workload(function: &FunctionSpec, version: &VersionSpec) -> Workload {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("HEARTH_FUNCTION", function.name.to_string());
    set("HEARTH_FUNCTION_VERSION", version.number.to_string());
    match version.contract {
        Contract::Http { port } => {
            set("PORT", port.to_string());
        }
        Contract::Lambda => {
            let name = function.name.to_string();
            set("LAMBDA_TASK_ROOT", TASK_ROOT.into());
            set("LAMBDA_RUNTIME_DIR", RUNTIME_DIR.into());
            set("AWS_LAMBDA_FUNCTION_NAME", name.clone());
            set("AWS_LAMBDA_FUNCTION_VERSION", version.number.to_string());
            // The Lambda API gives guests more memory than their programs are told of.
            let memory = version.workload.env.get(MEMORY_VARIABLE).cloned();
            let memory = memory.unwrap_or_else(|| version.resources.memory_mib.to_string());
            set(MEMORY_VARIABLE, memory);
            set("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"));
            set("AWS_LAMBDA_LOG_STREAM_NAME", format!("v{}", version.number));
            // A runtime that was asked to do so says when a snapshot may be made of it, and has its hooks run.
            let asked = version.workload.env.get(INITIALIZATION_VARIABLE).map(String::as_str);
            let kind = asked.filter(|kind| *kind == SNAP_START).unwrap_or("on-demand");
            set(INITIALIZATION_VARIABLE, kind.into());
            set("AWS_REGION", REGION.into());
            set("AWS_DEFAULT_REGION", REGION.into());
            if let Some(handler) = &version.handler {
                set("_HANDLER", handler.to_string());
            }
        }
    }
    // What the function's owner says prevails, but for what the contract needs.
    let mut all = version.workload.env.clone();
    all.extend(env);
    Workload {
        env: all,
        runtime_api: version.contract == Contract::Lambda,
        ..version.workload.clone()
    }
}

async fn secrets(
    app: &App,
    function: &FunctionSpec,
    version: &VersionSpec,
) -> Result<Vec<SealedSecret>, BlueprintError> {
    let mut sealed = Vec::with_capacity(version.secrets.len());
    for used in &version.secrets {
        let name = used
            .name
            .parse()
            .map_err(|_| broken(&format!("secret {:?} has no valid name", used.name)))?;
        let row = app
            .store
            .secret(function.project, &name)
            .await
            .map_err(|error| broken(&error.to_string()))?;
        let row = row.ok_or_else(|| {
            BlueprintError::Lacking(format!(
                "secret {name} is gone; set it again (hearth secret set {name}), or deploy a version without it"
            ))
        })?;
        sealed.push(SealedSecret {
            target: used.target.clone(),
            sealed: row.sealed,
        });
    }
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use hearth_domain::{Resources, ScaleRule};
    use hearth_ids::ProjectId;

    use super::*;

    fn function(name: &str) -> FunctionSpec {
        FunctionSpec {
            id: FunctionId::new(),
            project: ProjectId::DEFAULT,
            name: name.parse().unwrap(),
            public: false,
            scale: ScaleRule {
                min: 0,
                max: 1,
                concurrency: 1,
                idle_ms: 0,
            },
        }
    }

    fn version(contract: Contract) -> VersionSpec {
        VersionSpec {
            function: FunctionId::new(),
            number: 3,
            image: String::new(),
            image_id: String::new(),
            layers: Vec::new(),
            runtime: None,
            handler: Some("main.handler".parse().unwrap()),
            contract,
            workload: Workload {
                env: [("PORT".into(), "9".into()), ("A".into(), "1".into())].into(),
                ..Workload::default()
            },
            secrets: Vec::new(),
            resources: Resources {
                vcpus: 1.try_into().unwrap(),
                memory_mib: 128.try_into().unwrap(),
                disk_mib: None,
            },
            driver: None,
            timeout_ms: 1,
            description: String::new(),
        }
    }

    #[test]
    fn the_contract_says_what_the_program_finds() {
        let http = workload(&function("f"), &version(Contract::Http { port: 8080 }));
        assert_eq!((http.env["PORT"].as_str(), http.env["A"].as_str()), ("8080", "1"));
        assert!(!http.runtime_api);
        let lambda = workload(&function("f"), &version(Contract::Lambda));
        assert_eq!(lambda.env["_HANDLER"], "main.handler");
        assert_eq!(lambda.env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "128");
        assert!(lambda.runtime_api);
    }

    #[test]
    fn machines_names_fit_whatever_the_functions_is() {
        for name in ["f", &"x".repeat(63), "My_Func"] {
            let function = function(name);
            let (one, two) = (MachineId::new(), MachineId::new());
            let named = machine_name(&function, u32::MAX, one).unwrap();
            assert_ne!(Some(named), machine_name(&function, u32::MAX, two));
        }
    }
}
