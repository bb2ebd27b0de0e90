//! What of a plan's steps and stages is refused before anything is begun.

use std::collections::BTreeSet;

use hearth_domain::{BuildPlan, BuildStep};

use super::source::Source;
use crate::{
    app::App,
    caller::Tenant,
    error::{ApiError, ApiResult},
    machines::create,
    templates::steps::{STEPS_MAX, Step},
};

/// Stages of one build.
const STAGES_MAX: usize = 50;
/// The longest name of a stage, in bytes: it may be an image's.
const NAME_MAX: usize = 256;

/// Refuses steps that cannot be read, stages whose image is not there, and copies of what is no stage before.
pub(in crate::templates) async fn check(app: &App, tenant: &Tenant, plan: &BuildPlan) -> ApiResult<()> {
    let total = plan.steps.len() + plan.stages.iter().map(|stage| stage.steps.len()).sum::<usize>();
    if total > STEPS_MAX {
        let reason = format!("{total} steps are too many: at most {STEPS_MAX}, with those of stages");
        return Err(ApiError::field("steps", reason));
    }
    if plan.stages.len() > STAGES_MAX {
        let reason = format!("{} stages are too many: at most {STAGES_MAX}", plan.stages.len());
        return Err(ApiError::field("stages", reason));
    }
    let mut before = BTreeSet::new();
    for (at, stage) in plan.stages.iter().enumerate() {
        let field = format!("stages[{at}]");
        check_steps(&format!("{field}.steps"), &stage.steps, &before)?;
        check_name(&format!("{field}.name"), &stage.name)?;
        if !before.insert(stage.name.as_str()) {
            let reason = format!("{:?} is the name of a stage before, too", stage.name);
            return Err(ApiError::field(format!("{field}.name"), reason));
        }
        let driver = app.default_driver().await?;
        create::facts_of(app, &stage.image, None, driver, tenant.host).await?;
    }
    check_steps("steps", &plan.steps, &before)
}

fn check_name(field: &str, name: &str) -> ApiResult<()> {
    let valid = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if valid {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    let reason = format!("{shown:?} is no name of a stage: 1 to {NAME_MAX} characters of ASCII without blanks");
    Err(ApiError::field(field, reason))
}

fn check_steps(field: &str, steps: &[BuildStep], before: &BTreeSet<&str>) -> ApiResult<()> {
    for (at, step) in steps.iter().enumerate() {
        let field = format!("{field}[{at}]");
        Step::parse(step).map_err(|reason| ApiError::field(field.clone(), reason))?;
        let Some(stage) = &step.stage else { continue };
        if step.kind != "COPY" || step.files_hash.is_some() {
            let reason = "only a copy has a stage, and one that has a stage has no files of its own";
            return Err(ApiError::field(format!("{field}.stage"), reason));
        }
        if !before.contains(stage.as_str()) {
            return Err(ApiError::field(format!("{field}.stage"), no_stage(stage, before)));
        }
        if let Some(source) = step.args.first() {
            Source::parse(source).map_err(|reason| ApiError::field(format!("{field}.args"), reason))?;
        }
    }
    Ok(())
}

fn no_stage(stage: &str, before: &BTreeSet<&str>) -> String {
    let shown: String = stage.chars().take(80).collect();
    if before.is_empty() {
        return format!("{shown:?} is no stage before this step: there is none");
    }
    let before: Vec<_> = before.iter().copied().collect();
    format!(
        "{shown:?} is no stage before this step: there are {}",
        before.join(", ")
    )
}
