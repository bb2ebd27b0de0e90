//! Calling functions.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use bytes::Bytes;
use hearth_api::{
    IDEMPOTENCY_KEY_HEADER, Invocation, InvocationAccepted, InvocationList, InvocationState, InvokeQuery,
    ListInvocationsQuery,
};
use hearth_client::{ApiPath, Client, Exchange};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::function_path;
use crate::{
    args::InvokeArgs,
    output::{ago, harmless, note, print_json, print_line, print_table},
};

/// Lambda's header of an answer that is an error of the function's own.
const FUNCTION_ERROR: &str = "x-amz-function-error";
/// The exit code of a call that the function failed, as against one that Hearth could not make.
const EXIT_FUNCTION_FAILED: u8 = 1;
const RESULTS: u32 = 100;

/// An answer, for programs.
#[derive(Serialize)]
struct Answer {
    status: u16,
    headers: std::collections::BTreeMap<String, String>,
    /// As text; what is none is replaced.
    body: String,
}

pub(super) async fn invoke(client: &Client, args: InvokeArgs, json: bool) -> anyhow::Result<u8> {
    let body = data(args.data.as_deref())?;
    let query = InvokeQuery {
        qualifier: args.qualifier,
        r#async: args.later.then_some(true),
        path: args.path,
    };
    let path = function_path(&args.function, &["invoke"]).query(&query);
    let mut headers = HeaderMap::new();
    if let Some(key) = &args.idempotency_key {
        let name = HeaderName::from_static(IDEMPOTENCY_KEY_HEADER);
        headers.insert(
            name,
            HeaderValue::from_str(key).context("the idempotency key is not plain text")?,
        );
    }
    let exchange = client.exchange(&path, headers, body).await?;
    if args.later {
        return accepted(exchange, json).await;
    }
    answer(exchange, args.include, json).await
}

/// `TEXT`, `@FILE` or `-`.
fn data(text: Option<&str>) -> anyhow::Result<Bytes> {
    match text {
        None => Ok(Bytes::new()),
        Some("-") => {
            let mut read = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut read)
                .context("cannot read standard input")?;
            Ok(read.into())
        }
        Some(text) => match text.strip_prefix('@') {
            Some(file) => Ok(std::fs::read(file)
                .with_context(|| format!("cannot read {file}"))?
                .into()),
            None => Ok(text.to_owned().into()),
        },
    }
}

async fn accepted(exchange: Exchange, json: bool) -> anyhow::Result<u8> {
    let accepted: InvocationAccepted = serde_json::from_slice(&whole(exchange).await?)?;
    if json {
        print_json(&accepted)?;
    } else {
        print_line(accepted.invocation_id.to_string());
    }
    Ok(0)
}

async fn whole(mut exchange: Exchange) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = exchange.body.next().await {
        body.extend_from_slice(&piece?);
    }
    Ok(body)
}

/// Prints an answer; one that says that the function failed ends with a code of its own.
async fn answer(mut exchange: Exchange, include: bool, json: bool) -> anyhow::Result<u8> {
    let failed = exchange.headers.contains_key(FUNCTION_ERROR) || !exchange.status.is_success();
    let code = if failed { EXIT_FUNCTION_FAILED } else { 0 };
    if json {
        let (status, headers) = (exchange.status.as_u16(), exchange.headers.clone());
        let headers = headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        });
        let headers = headers.collect();
        let body = String::from_utf8_lossy(&whole(exchange).await?).into_owned();
        print_json(&Answer { status, headers, body })?;
        return Ok(code);
    }
    if include {
        print_line(exchange.status.to_string());
        for (name, value) in &exchange.headers {
            print_line(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        }
        print_line("");
    }
    let mut out = std::io::stdout();
    let mut last = b'\n';
    while let Some(piece) = exchange.body.next().await {
        let piece = piece?;
        last = piece.last().copied().unwrap_or(last);
        if out.write_all(&piece).and_then(|()| out.flush()).is_err() {
            return Ok(code);
        }
    }
    if last != b'\n' && std::io::IsTerminal::is_terminal(&out) {
        print_line("");
    }
    if failed {
        let kind = exchange.headers.get(FUNCTION_ERROR).and_then(|kind| kind.to_str().ok());
        let what = kind.map_or_else(|| exchange.status.to_string(), |kind| harmless(kind).into_owned());
        note(format!("the function failed: {what}"), json);
    }
    Ok(code)
}

pub(super) async fn list(
    client: &Client,
    function: Option<String>,
    state: Option<String>,
    json: bool,
) -> anyhow::Result<u8> {
    let query = ListInvocationsQuery {
        function,
        state: state.map(|state| serde_json::from_value(state.into())).transpose()?,
        limit: Some(RESULTS),
        cursor: None,
    };
    let list: InvocationList = client.get(&ApiPath::v1(&["invocations"]).query(&query)).await?;
    if json {
        print_json(&list.invocations)?;
        return Ok(0);
    }
    let rows: Vec<[String; 7]> = list.invocations.iter().map(row).collect();
    print_table(["ID", "FUNCTION", "FROM", "STATE", "TRIES", "KEPT", "ERROR"], &rows);
    if list.next_cursor.is_some() {
        note(format!("only the newest {RESULTS} are shown"), json);
    }
    Ok(0)
}

fn row(call: &Invocation) -> [String; 7] {
    let state = match call.state {
        InvocationState::Queued => "queued",
        InvocationState::Running => "running",
        InvocationState::Succeeded => "succeeded",
        InvocationState::Dead => "dead",
    };
    let error: String = call.error.as_deref().unwrap_or_default().chars().take(60).collect();
    [
        call.id.to_string(),
        call.function.clone(),
        call.source.clone(),
        state.to_owned(),
        call.attempts.to_string(),
        ago(call.created_at),
        error.lines().next().unwrap_or_default().to_owned(),
    ]
}

pub(super) async fn result(client: &Client, id: &str, json: bool) -> anyhow::Result<u8> {
    let (headers, body) = client.download(&ApiPath::v1(&["invocations", id, "result"])).await?;
    let status = headers
        .get("x-hearth-function-status")
        .and_then(|status| status.to_str().ok()?.parse().ok())
        .unwrap_or(http::StatusCode::OK);
    let exchange = Exchange { status, headers, body };
    answer(exchange, false, json).await
}

pub(super) async fn replay(client: &Client, ids: &[String], json: bool) -> anyhow::Result<u8> {
    let mut replayed: Vec<Invocation> = Vec::with_capacity(ids.len());
    for id in ids {
        let call = client.post(&ApiPath::v1(&["invocations", id, "replay"])).await?;
        replayed.push(call);
    }
    if json {
        print_json(&replayed)?;
    } else {
        for call in replayed {
            print_line(call.id.to_string());
        }
    }
    Ok(0)
}
