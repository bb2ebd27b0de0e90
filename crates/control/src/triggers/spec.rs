//! A trigger as it is stored: the wire's own JSON, checked before.

use hearth_api::{MissedRuns, PutTrigger, Trigger};
use hearth_domain::{CronSpec, InvalidCron};
use hearth_store::TriggerRow;

use crate::{
    error::{ApiError, ApiResult},
    time::timestamp,
};

const DEFAULT_ZONE: &str = "UTC";

/// When a trigger runs.
pub(super) fn cron(wanted: &PutTrigger) -> Result<CronSpec, InvalidCron> {
    let missed = match wanted.missed {
        MissedRuns::Skip => hearth_domain::MissedRuns::Skip,
        MissedRuns::RunOnce => hearth_domain::MissedRuns::RunOnce,
    };
    CronSpec::new(
        &wanted.cron,
        wanted.time_zone.as_deref().unwrap_or(DEFAULT_ZONE),
        missed,
    )
}

/// The same, for whoever sent it.
pub(super) fn checked_cron(wanted: &PutTrigger) -> ApiResult<CronSpec> {
    cron(wanted).map_err(|error| {
        let field = match error {
            InvalidCron::TimeZone(_) => "time_zone",
            _ => "cron",
        };
        ApiError::field(field, error.to_string())
    })
}

/// What a row holds; none if it cannot be read, which would be a fault of ours.
pub(super) fn of_row(row: &TriggerRow) -> Option<PutTrigger> {
    serde_json::from_str(&row.spec).ok()
}

/// A trigger as clients see it.
pub(super) fn shown(row: TriggerRow, now_unix_ms: u64) -> Option<Trigger> {
    let spec = of_row(&row)?;
    let next = cron(&spec).ok().filter(|_| row.enabled);
    let next = next.and_then(|cron| cron.next_after(now_unix_ms.max(row.handled_unix_ms)));
    Some(Trigger {
        id: row.id,
        name: row.name,
        spec,
        last_at: row.last_unix_ms.map(timestamp),
        next_at: next.map(timestamp),
    })
}
