//! From a deployment to a function and a version: every field parsed once, here. Pure.

use hearth_api::{DeployFunction, FunctionSettings, SecretUse, TrafficShare};
use hearth_domain::{
    Contract, DEFAULT_PORT, FunctionName, FunctionSpec, Handler, InvalidFunction, Resources, Runtime, ScaleRule,
    SecretName, SecretRef, SecretTarget, Traffic, VersionSpec, Workload,
};
use hearth_ids::{FunctionId, ProjectId};

use crate::{
    error::{ApiError, ApiResult},
    machines::input,
};

const DEFAULT_CPUS: u64 = 1;
const DEFAULT_MEMORY_MIB: u64 = 256;
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const DEFAULT_MAX: u32 = 10;
const DEFAULT_HTTP_CONCURRENCY: u32 = 16;
const DEFAULT_IDLE_MS: u64 = 60_000;
const DESCRIPTION_MAX: usize = 256;
const SECRETS_MAX: usize = 64;
/// Where secrets' files lie in a guest.
const SECRETS_DIR: &str = "/run/secrets/";

/// What a plan takes from its surroundings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) image_id: String,
    /// Whether the image says what to run.
    pub(crate) image_has_program: bool,
}

/// A function's name, as a path names it.
pub(crate) fn name(text: &str) -> ApiResult<FunctionName> {
    text.parse()
        .map_err(|error: InvalidFunction| ApiError::field("name", error.to_string()))
}

/// The reference of the image that a deployment runs on.
pub(crate) fn image(request: &DeployFunction) -> ApiResult<String> {
    match (&request.image, request.runtime) {
        (Some(image), None) if !image.is_empty() => Ok(image.clone()),
        (None, Some(runtime)) => Ok(runtime_image(runtime.into())),
        (Some(_), None) => Err(ApiError::field("image", "image is empty; name one, or a runtime")),
        (Some(_), Some(_)) => Err(ApiError::field(
            "image",
            "a runtime has an image of its own; leave out image, or runtime",
        )),
        (None, None) => Err(ApiError::field(
            "image",
            "image is missing: name one, or a source with its runtime (python3, node or provided)",
        )),
    }
}

/// The name under which the image of a runtime is imported.
pub(crate) fn runtime_image(runtime: Runtime) -> String {
    format!("hearth/runtime-{runtime}")
}

/// The function after a deployment, which may be its first.
pub(crate) fn function(
    before: Option<FunctionSpec>,
    project: ProjectId,
    name: FunctionName,
    contract: Contract,
    settings: &FunctionSettings,
) -> ApiResult<FunctionSpec> {
    let spec = before.unwrap_or_else(|| FunctionSpec {
        id: FunctionId::new(),
        project,
        name,
        public: false,
        scale: ScaleRule {
            min: 0,
            max: DEFAULT_MAX.max(settings.min.unwrap_or(0)),
            concurrency: match contract {
                Contract::Http { .. } => DEFAULT_HTTP_CONCURRENCY,
                Contract::Lambda => 1,
            },
            idle_ms: DEFAULT_IDLE_MS,
        },
    });
    let spec = with_settings(spec, settings)?;
    if contract == Contract::Lambda && spec.scale.concurrency != 1 {
        return Err(ApiError::field(
            "settings.concurrency",
            format!(
                "concurrency {} is not valid: a Lambda runtime handles one event at a time; leave it out, or use the contract http",
                spec.scale.concurrency
            ),
        ));
    }
    Ok(spec)
}

/// The function with other settings.
pub(crate) fn with_settings(mut spec: FunctionSpec, settings: &FunctionSettings) -> ApiResult<FunctionSpec> {
    let scale = spec.scale;
    spec.public = settings.public.unwrap_or(spec.public);
    spec.scale = ScaleRule {
        min: settings.min.unwrap_or(scale.min),
        max: settings.max.unwrap_or(scale.max),
        concurrency: settings.concurrency.unwrap_or(scale.concurrency),
        idle_ms: settings.idle_ms.unwrap_or(scale.idle_ms),
    };
    match spec.scale.check() {
        Ok(()) => Ok(spec),
        Err(error @ InvalidFunction::Bounds { field, .. }) => {
            Err(ApiError::field(format!("settings.{field}"), error.to_string()))
        }
        Err(error) => Err(ApiError::field("settings", error.to_string())),
    }
}

/// How an instance is called.
pub(crate) fn contract(request: &DeployFunction) -> ApiResult<Contract> {
    let lambda = match (request.runtime, request.contract) {
        (Some(_), Some(hearth_api::Contract::Http)) => {
            return Err(ApiError::field(
                "contract",
                "a runtime is called by the contract lambda; for the contract http, deploy an image",
            ));
        }
        (Some(_), _) | (None, Some(hearth_api::Contract::Lambda)) => true,
        (None, Some(hearth_api::Contract::Http) | None) => false,
    };
    match (lambda, request.port) {
        (true, None) => Ok(Contract::Lambda),
        (true, Some(_)) => Err(ApiError::field(
            "port",
            "the contract lambda has no port; leave out port, or use the contract http",
        )),
        (false, Some(0)) => Err(ApiError::field("port", "port 0 is not valid: ports go from 1 to 65535")),
        (false, port) => Ok(Contract::Http {
            port: port.unwrap_or(DEFAULT_PORT),
        }),
    }
}

/// The version that a deployment asks for; its number comes from the store.
pub(crate) fn version(request: DeployFunction, function: FunctionId, facts: &Facts) -> ApiResult<VersionSpec> {
    let contract = contract(&request)?;
    let image = image(&request)?;
    let runtime: Option<Runtime> = request.runtime.map(Into::into);
    let handler = handler(&request, runtime)?;
    let source = source(&request, runtime)?;
    if request.description.chars().count() > DESCRIPTION_MAX {
        return Err(ApiError::field(
            "description",
            format!("description is longer than {DESCRIPTION_MAX} characters; make it shorter"),
        ));
    }
    let spec = VersionSpec {
        function,
        number: 0,
        image,
        image_id: facts.image_id.clone(),
        layers: source.into_iter().collect(),
        runtime,
        handler,
        contract,
        resources: resources(&request)?,
        driver: request.driver.map(Into::into),
        timeout_ms: request.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
        secrets: secrets(&request.secrets)?,
        description: request.description.clone(),
        workload: workload(request, facts)?,
    };
    spec.check()
        .map_err(|error| ApiError::field("timeout_ms", error.to_string()))?;
    Ok(spec)
}

fn handler(request: &DeployFunction, runtime: Option<Runtime>) -> ApiResult<Option<Handler>> {
    let handler = request.handler.as_deref().map(str::parse::<Handler>).transpose();
    let handler = handler.map_err(|error| ApiError::field("handler", error.to_string()))?;
    match (runtime, &handler) {
        (Some(runtime @ (Runtime::Python3 | Runtime::Node)), None) => Err(ApiError::field(
            "handler",
            format!("handler is missing: runtime {runtime} needs one, as module.function, such as main.handler"),
        )),
        _ => Ok(handler),
    }
}

fn source(request: &DeployFunction, runtime: Option<Runtime>) -> ApiResult<Option<String>> {
    match (&request.source, runtime) {
        (None, Some(_)) => Err(ApiError::field(
            "source",
            "source is missing: a runtime runs a source; upload one first (`hearth fn deploy --source DIR` does)",
        )),
        (Some(_), None) => Err(ApiError::field(
            "source",
            "a source goes with a runtime; name one, or leave out source",
        )),
        (source, _) => Ok(source.clone()),
    }
}

fn resources(request: &DeployFunction) -> ApiResult<Resources> {
    let refused = |field| move |error: hearth_domain::InvalidSize| ApiError::field(field, error.to_string());
    let (vcpus, memory_mib) = (
        request.cpus.unwrap_or(DEFAULT_CPUS),
        request.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB),
    );
    Ok(Resources {
        vcpus: vcpus.try_into().map_err(refused("cpus"))?,
        memory_mib: memory_mib.try_into().map_err(refused("memory_mib"))?,
        disk_mib: None,
    })
}

fn workload(request: DeployFunction, facts: &Facts) -> ApiResult<Workload> {
    input::arguments("cmd", &request.cmd)?;
    input::arguments("entrypoint", request.entrypoint.as_deref().unwrap_or_default())?;
    let own = request.entrypoint.iter().flatten().chain(&request.cmd).next();
    if own.is_none() && !facts.image_has_program {
        return Err(ApiError::field(
            "cmd",
            "cmd is missing: the image does not say what to run, so give a command",
        ));
    }
    Ok(Workload {
        entrypoint: request.entrypoint,
        cmd: request.cmd,
        env: input::environment(request.env)?,
        ..Workload::default()
    })
}

/// The secrets that a program gets.
pub(crate) fn secrets(uses: &[SecretUse]) -> ApiResult<Vec<SecretRef>> {
    if uses.len() > SECRETS_MAX {
        return Err(ApiError::field(
            "secrets",
            format!("there are {} secrets; at most {SECRETS_MAX} are possible", uses.len()),
        ));
    }
    uses.iter()
        .enumerate()
        .map(|(place, used)| secret(place, used))
        .collect()
}

/// Whether a path leads to a file below the folder of secrets.
fn is_secret_file(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    path.strip_prefix(SECRETS_DIR)
        .is_some_and(|rest| rest.split('/').all(plain) && !rest.contains('\0'))
}

fn secret(place: usize, used: &SecretUse) -> ApiResult<SecretRef> {
    let field = format!("secrets[{place}]");
    let name: SecretName = used
        .name
        .parse()
        .map_err(|error: hearth_domain::InvalidLabel| ApiError::field(format!("{field}.name"), error.to_string()))?;
    let target = match (&used.env, &used.file) {
        (Some(env), None) if !env.is_empty() && !env.contains(['=', '\0']) => SecretTarget::Env(env.clone()),
        (None, Some(file)) if is_secret_file(file) => SecretTarget::File(file.clone()),
        (None, None) => SecretTarget::Env(name.to_string()),
        (Some(env), None) => {
            return Err(ApiError::field(
                format!("{field}.env"),
                format!("env {env:?} is not valid: name a variable"),
            ));
        }
        (None, Some(file)) => {
            return Err(ApiError::field(
                format!("{field}.file"),
                format!("file {file:?} is not valid: secrets' files lie below {SECRETS_DIR}"),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::field(
                field,
                "a secret goes to a variable or to a file; name one of them",
            ));
        }
    };
    Ok(SecretRef {
        name: name.to_string(),
        target,
    })
}

/// Where an alias leads.
pub(crate) fn traffic(shares: &[TrafficShare]) -> ApiResult<Traffic> {
    let shares = shares.iter().map(|share| {
        let percent = u8::try_from(share.percent).map_err(|_| {
            ApiError::field(
                "traffic",
                format!("percent {} is not valid: it goes from 0 to 100", share.percent),
            )
        })?;
        Ok(hearth_domain::TrafficShare {
            version: share.version,
            percent,
        })
    });
    let shares = shares.collect::<ApiResult<Vec<_>>>()?;
    Traffic::new(shares).map_err(|error| ApiError::field("traffic", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            image_id: "sha256:1".into(),
            image_has_program: true,
        }
    }

    fn image_of(reference: &str) -> DeployFunction {
        DeployFunction {
            image: Some(reference.into()),
            ..DeployFunction::default()
        }
    }

    fn python() -> DeployFunction {
        DeployFunction {
            runtime: Some(hearth_api::Runtime::Python3),
            source: Some("sha256:2".into()),
            handler: Some("main.handler".into()),
            ..DeployFunction::default()
        }
    }

    fn planned(request: DeployFunction) -> ApiResult<VersionSpec> {
        version(request, FunctionId::new(), &facts())
    }

    #[test]
    fn what_is_absent_is_as_usual() {
        let spec = planned(image_of("web")).unwrap();
        assert_eq!((spec.contract, spec.port()), (Contract::Http { port: 8080 }, 8080));
        assert_eq!((spec.timeout_ms, spec.resources.memory_mib.get()), (30_000, 256));
        let spec = planned(python()).unwrap();
        assert_eq!(
            (spec.contract, spec.image.as_str()),
            (Contract::Lambda, "hearth/runtime-python3")
        );
        assert_eq!(spec.layers, ["sha256:2"]);
        let name: FunctionName = "f".parse().unwrap();
        let function = function(
            None,
            ProjectId::DEFAULT,
            name,
            Contract::Lambda,
            &FunctionSettings::default(),
        );
        assert_eq!(function.unwrap().scale.concurrency, 1);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one row a field")]
    fn each_field_is_named_when_it_is_wrong() {
        let secret = |env: Option<&str>, file: Option<&str>| DeployFunction {
            secrets: vec![SecretUse {
                name: "db".into(),
                env: env.map(Into::into),
                file: file.map(Into::into),
            }],
            ..python()
        };
        for (request, field) in [
            (DeployFunction::default(), "image"),
            (image_of(""), "image"),
            (
                DeployFunction {
                    image: Some("x".into()),
                    ..python()
                },
                "image",
            ),
            (
                DeployFunction {
                    handler: None,
                    ..python()
                },
                "handler",
            ),
            (
                DeployFunction {
                    handler: Some("main".into()),
                    ..python()
                },
                "handler",
            ),
            (
                DeployFunction {
                    source: None,
                    ..python()
                },
                "source",
            ),
            (
                DeployFunction {
                    source: Some("x".into()),
                    ..image_of("web")
                },
                "source",
            ),
            (
                DeployFunction {
                    port: Some(80),
                    ..python()
                },
                "port",
            ),
            (
                DeployFunction {
                    port: Some(0),
                    ..image_of("web")
                },
                "port",
            ),
            (
                DeployFunction {
                    contract: Some(hearth_api::Contract::Http),
                    ..python()
                },
                "contract",
            ),
            (
                DeployFunction {
                    cpus: Some(0),
                    ..python()
                },
                "cpus",
            ),
            (
                DeployFunction {
                    memory_mib: Some(1),
                    ..python()
                },
                "memory_mib",
            ),
            (
                DeployFunction {
                    timeout_ms: Some(0),
                    ..python()
                },
                "timeout_ms",
            ),
            (
                DeployFunction {
                    timeout_ms: Some(900_001),
                    ..python()
                },
                "timeout_ms",
            ),
            (
                DeployFunction {
                    env: vec!["x".into()],
                    ..python()
                },
                "env[0]",
            ),
            (
                DeployFunction {
                    description: "x".repeat(257),
                    ..python()
                },
                "description",
            ),
            (secret(Some("A=B"), None), "secrets[0].env"),
            (secret(None, Some("/etc/passwd")), "secrets[0].file"),
            (secret(Some("A"), Some("/run/secrets/a")), "secrets[0]"),
        ] {
            let refused = planned(request.clone()).unwrap_err().problem;
            assert_eq!(refused.field.as_deref(), Some(field), "{request:?}");
        }
    }

    #[test]
    fn settings_keep_what_they_do_not_name() {
        let name: FunctionName = "f".parse().unwrap();
        let http = Contract::Http { port: 1 };
        let settings = FunctionSettings {
            min: Some(20),
            ..FunctionSettings::default()
        };
        let spec = function(None, ProjectId::DEFAULT, name, http, &settings).unwrap();
        assert_eq!((spec.scale.min, spec.scale.max), (20, 20));
        let settings = FunctionSettings {
            max: Some(3),
            ..FunctionSettings::default()
        };
        let refused = with_settings(spec.clone(), &settings).unwrap_err().problem;
        assert_eq!(refused.field.as_deref(), Some("settings.min"));
        let settings = FunctionSettings {
            public: Some(true),
            ..FunctionSettings::default()
        };
        let after = with_settings(spec.clone(), &settings).unwrap();
        assert_eq!((after.public, after.scale), (true, spec.scale));
    }

    #[test]
    fn shares_are_a_hundred_together() {
        let share = |version, percent| TrafficShare { version, percent };
        assert!(traffic(&[share(1, 90), share(2, 10)]).is_ok());
        for wrong in [
            vec![],
            vec![share(1, 99)],
            vec![share(1, u32::MAX), share(2, 101)],
            vec![share(1, 50), share(1, 50)],
        ] {
            assert!(traffic(&wrong).is_err(), "{wrong:?}");
        }
    }
}
