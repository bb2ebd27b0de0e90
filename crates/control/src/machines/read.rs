//! Looking at machines.

use std::sync::Arc;

use axum::{Json, extract::State};
use hearth_api::{ListMachinesQuery, Machine, MachineList};
use hearth_domain::Action;
use hearth_ids::MachineId;

use super::view;
use crate::{
    api_doc::Problems,
    app::App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{ApiPath, ApiQuery, page_limit},
};

/// Rows that are read at once.
const PAGE: u32 = 250;

/// Machines, newest first: those that are not at rest, unless more are asked for.
#[utoipa::path(get, path = "/v1/machines", tag = "machines", operation_id = "list_machines", params(ListMachinesQuery),
    responses((status = 200, description = "A page of machines", body = MachineList), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<ListMachinesQuery>,
) -> ApiResult<Json<MachineList>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let limit = page_limit(query.limit)? as usize;
    let mut before = query.cursor.as_deref().map(cursor).transpose()?;
    let mut machines = Vec::new();
    // What a machine does is known to the node rather than to the store, so the store cannot choose by it.
    loop {
        let rows = app.store.machines(Some(tenant.project), before, PAGE).await?;
        let read_all = rows.len() < PAGE as usize;
        before = rows.last().map(|row| row.spec.id).or(before);
        for row in rows {
            let seen = app.status(row.spec.id);
            let machine = view::machine(row, seen, false);
            if !wanted(&query, &machine) {
                continue;
            }
            if machines.len() == limit {
                let next_cursor = machines.last().map(|last: &Machine| last.id.to_string());
                return Ok(Json(MachineList { machines, next_cursor }));
            }
            machines.push(machine);
        }
        if read_all {
            return Ok(Json(MachineList {
                machines,
                next_cursor: None,
            }));
        }
    }
}

fn cursor(text: &str) -> ApiResult<MachineId> {
    text.parse()
        .map_err(|_| ApiError::field("cursor", "cursor is not valid: use next_cursor of the page before"))
}

fn wanted(query: &ListMachinesQuery, machine: &Machine) -> bool {
    let in_state = match query.state {
        Some(state) => machine.state == state,
        None => query.all || !machine.state.is_at_rest(),
    };
    in_state
        && query
            .name
            .as_ref()
            .is_none_or(|name| machine.name.contains(name.as_str()))
}

/// One machine, by name, ID, or a beginning of an ID that only one has.
#[utoipa::path(get, path = "/v1/machines/{machine}", tag = "machines", operation_id = "get_machine",
    params(("machine" = String, Path, description = "Name or ID")),
    responses((status = 200, description = "The machine", body = Machine), Problems))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(wanted): ApiPath,
) -> ApiResult<Json<Machine>> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let row = app.find(&tenant, &wanted).await?;
    let seen = app.status(row.spec.id);
    Ok(Json(view::machine(row, seen, true)))
}
