//! From what AWS's clients ask for to a deployment of Hearth's. Pure.

use std::collections::BTreeMap;

use hearth_api::{Contract, DeployFunction, Runtime};
use hearth_domain::VersionSpec;

use super::{
    error::{Kind, LambdaError, LambdaResult},
    facts::{INITIALIZATION_VARIABLE, MEMORY_VARIABLE, SNAP_START},
    name::clip,
    wire::{Code, Settings},
};

/// What Lambda gives where nothing is asked for.
pub(super) const DEFAULT_TIMEOUT_S: u64 = 3;
pub(super) const DEFAULT_MEMORY_MIB: u64 = 128;
/// A guest has a kernel and an agent of its own; with less than this little is left for the program.
const MEMORY_MIN_MIB: u64 = 256;
/// Lambda's bounds.
const ASKED_MEMORY_MIB: std::ops::RangeInclusive<u64> = 128..=10_240;
const TIMEOUT_S: std::ops::RangeInclusive<u64> = 1..=900;
/// Variables that the contract sets, or that would look like an identity that there is not.
const RESERVED: [&str; 16] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    MEMORY_VARIABLE,
    "AWS_LAMBDA_FUNCTION_VERSION",
    INITIALIZATION_VARIABLE,
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
];

/// Hearth's runtime for one of Lambda's.
pub(super) fn runtime(text: &str) -> LambdaResult<Runtime> {
    let version = |prefix| text.strip_prefix(prefix);
    let dotted = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| c == '.' || c.is_ascii_digit());
    if version("python3").is_some_and(dotted) {
        Ok(Runtime::Python3)
    } else if version("nodejs").is_some_and(dotted) {
        Ok(Runtime::Node)
    } else if version("provided").is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
        Ok(Runtime::Provided)
    } else {
        Err(LambdaError::parameter(format!(
            "Value {:?} at 'runtime' is not possible here: use python3.x, nodejsNN.x or provided (provided.al2023), or deploy an image",
            clip(text)
        )))
    }
}

/// Refuses what would mean something else here than its caller thinks.
pub(super) fn check_meaning(settings: &Settings, architectures: &[String]) -> LambdaResult<()> {
    let vpc = settings.vpc_config.as_ref();
    let vpc = vpc.is_some_and(|vpc| !vpc.subnet_ids.is_empty() || !vpc.security_group_ids.is_empty());
    let given = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
    let dead_letters = settings.dead_letter_config.as_ref();
    let dead_letters = given(dead_letters.and_then(|config| config.target_arn.as_ref()));
    let folder = settings.image_config.as_ref();
    let folder = given(folder.and_then(|config| config.working_directory.as_ref()));
    let own = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    };
    let refusals = [
        (
            !settings.layers.is_empty(),
            "Layers are not possible here: put what they hold into the zip",
        ),
        (
            !settings.file_system_configs.is_empty(),
            "FileSystemConfigs are not possible here",
        ),
        (
            vpc,
            "VpcConfig is not possible here: a function has the network of its host",
        ),
        (
            dead_letters,
            "DeadLetterConfig is not possible here: calls that failed for good are kept, see `hearth fn invocations`",
        ),
        (
            given(settings.kms_key_arn.as_ref()),
            "KMSKeyArn is not possible here: secrets are closed with this host's key, see `hearth secret`",
        ),
        (
            folder,
            "ImageConfig.WorkingDirectory is not possible here: set it in the image",
        ),
        (
            architectures.iter().any(|architecture| architecture != own),
            "Architectures has to be that of this host; leave it out",
        ),
    ];
    match refusals.into_iter().find(|(there, _)| *there) {
        Some((_, why)) => Err(LambdaError::parameter(why)),
        None => Ok(()),
    }
}

/// Refuses code that is nowhere, or in more than one place.
pub(super) fn check_code(code: &Code) -> LambdaResult<()> {
    if code.s3_bucket.is_some() || code.s3_key.is_some() {
        return Err(LambdaError::parameter(
            "code in S3 is not possible here: send it as ZipFile, or push an image and name it as ImageUri",
        ));
    }
    match (&code.zip_file, &code.image_uri) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) => Err(LambdaError::parameter(
            "Code has both ZipFile and ImageUri; send one of them",
        )),
        (None, None) => Err(LambdaError::parameter("Code is missing: send ZipFile or ImageUri")),
    }
}

/// The deployment that would make this version once more.
pub(super) fn again(version: &VersionSpec) -> DeployFunction {
    let spec = version.clone();
    let port = spec.port();
    let env = spec.workload.env.iter();
    let contract: Contract = spec.contract.into();
    DeployFunction {
        image: spec.runtime.is_none().then_some(spec.image_id),
        runtime: spec.runtime.map(Into::into),
        source: spec.layers.into_iter().next(),
        handler: spec.handler.map(Into::into),
        contract: Some(contract),
        port: (contract == Contract::Http).then_some(port),
        env: env.map(|(name, value)| format!("{name}={value}")).collect(),
        entrypoint: spec.workload.entrypoint,
        cmd: spec.workload.cmd,
        secrets: spec.secrets.into_iter().map(Into::into).collect(),
        cpus: Some(spec.resources.vcpus.into()),
        memory_mib: Some(spec.resources.memory_mib.into()),
        timeout_ms: Some(spec.timeout_ms),
        driver: spec.driver.map(Into::into),
        description: spec.description,
        ..DeployFunction::default()
    }
}

/// Puts what is asked for into a deployment. What is not asked for stays.
pub(super) fn apply(settings: &Settings, request: &mut DeployFunction) -> LambdaResult<()> {
    if let Some(wanted) = &settings.runtime {
        request.runtime = Some(runtime(wanted)?);
    }
    if let Some(handler) = &settings.handler {
        request.handler = Some(handler.clone());
    }
    if let Some(description) = &settings.description {
        request.description.clone_from(description);
    }
    if let Some(seconds) = settings.timeout {
        bounds("timeout", seconds, &TIMEOUT_S)?;
        request.timeout_ms = Some(seconds * 1000);
    }
    if let Some(environment) = &settings.environment {
        environment.variables.keys().try_for_each(|name| check_variable(name))?;
        replace_variables(request, &environment.variables);
    }
    if let Some(memory) = settings.memory_size {
        bounds("memorySize", memory, &ASKED_MEMORY_MIB)?;
        request.memory_mib = Some(memory.max(MEMORY_MIN_MIB));
        set_variable(request, MEMORY_VARIABLE, Some(&memory.to_string()));
    }
    if let Some(wanted) = settings.snap_start.as_ref().and_then(|it| it.apply_on.as_deref()) {
        let asked = snap_start(wanted, request.contract)?;
        set_variable(request, INITIALIZATION_VARIABLE, asked.then_some(SNAP_START));
    }
    if let Some(config) = &settings.image_config {
        request.entrypoint.clone_from(&config.entry_point);
        request.cmd = config.command.clone().unwrap_or_default();
    }
    Ok(())
}

fn replace_variables(request: &mut DeployFunction, variables: &BTreeMap<String, String>) {
    request
        .env
        .retain(|line| is_of(MEMORY_VARIABLE, line) || is_of(INITIALIZATION_VARIABLE, line));
    let lines = variables.iter().map(|(name, value)| format!("{name}={value}"));
    request.env.extend(lines);
}

fn set_variable(request: &mut DeployFunction, name: &str, value: Option<&str>) {
    request.env.retain(|line| !is_of(name, line));
    request.env.extend(value.map(|value| format!("{name}={value}")));
}

fn is_of(variable: &str, line: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| name == variable)
}

/// Whether the runtime is to have its hooks run.
fn snap_start(apply_on: &str, contract: Option<Contract>) -> LambdaResult<bool> {
    match (apply_on, contract) {
        ("None", _) => Ok(false),
        ("PublishedVersions", Some(Contract::Http)) => Err(LambdaError::parameter(
            "SnapStart is not possible for this function: its contract is http, which has no runtime hooks",
        )),
        ("PublishedVersions", _) => Ok(true),
        (other, _) => Err(LambdaError::new(
            Kind::Validation,
            format!(
                "1 validation error detected: Value '{}' at 'snapStart.applyOn' failed to satisfy constraint: Member must \
                 satisfy enum value set: [PublishedVersions, None]",
                clip(other)
            ),
        )),
    }
}

fn check_variable(name: &str) -> LambdaResult<()> {
    if RESERVED.contains(&name) || name == "LAMBDA_RUNTIME_DIR" {
        return Err(LambdaError::parameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided \
             contains reserved keys that are currently not supported for modification. Reserved keys used in this request: {name}"
        )));
    }
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if word {
        return Ok(());
    }
    Err(LambdaError::parameter(format!(
        "{:?} is no name of an environment variable: use letters, digits and '_', beginning with a letter",
        clip(name)
    )))
}

fn bounds(field: &str, value: u64, range: &std::ops::RangeInclusive<u64>) -> LambdaResult<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (min, max) = (range.start(), range.end());
    Err(LambdaError::parameter(format!(
        "Value '{value}' at '{field}' failed to satisfy constraint: Member must have value between {min} and {max}"
    )))
}
