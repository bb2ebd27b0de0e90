//! What happened, read from the store and then as it comes.

use std::{collections::VecDeque, sync::Arc};

use axum::{extract::State, response::Response};
use futures::stream;
use hearth_api::{Event, EventKind, EventLine, EventsQuery, ProblemLine};
use hearth_domain::Action;
use hearth_ids::MachineId;
use hearth_store::{EventFilter, EventRecord, StoreError};
use tokio::sync::broadcast;

use crate::{
    api_doc::Problems,
    app::{App, no_machine},
    caller::{Caller, Tenant},
    error::{ApiError, ApiResult},
    extract::ApiQuery,
    stream::ndjson,
    time::{timestamp, unix_ms},
};

/// Events that are read at once.
const PAGE: u32 = 500;

/// What happened, oldest first, as JSON lines.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "events", params(EventsQuery),
    responses((status = 200, description = "Lines of JSON", body = EventLine, content_type = "application/x-ndjson"), Problems))]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(query): ApiQuery<EventsQuery>,
) -> ApiResult<Response> {
    let tenant = caller.may(&app, Action::MachineRead).await?;
    let machine = match &query.machine {
        Some(text) => Some(machine_of(&app, &tenant, text).await?),
        None => None,
    };
    // Listening begins before the store is read, so that nothing falls between.
    let news = app.events.subscribe();
    let from_now = query.follow && query.since.is_none() && query.after.is_none();
    let after = if from_now {
        app.store.last_event().await?
    } else {
        query.after.unwrap_or(0)
    };
    let reader = Reader {
        app: Arc::clone(&app),
        filter: EventFilter {
            after,
            since_unix_ms: query.since.map_or(0, unix_ms),
            project: Some(tenant.project),
            machine,
            limit: PAGE,
        },
        follow: query.follow,
        news,
        read: VecDeque::new(),
        caught_up: false,
        broken: false,
    };
    Ok(ndjson(
        &app,
        stream::unfold(reader, |mut reader| async {
            reader.next().await.map(|line| (line, reader))
        }),
    ))
}

/// The machine may be gone: its events are still there.
async fn machine_of(app: &App, tenant: &Tenant, text: &str) -> ApiResult<MachineId> {
    match app.find(tenant, text).await {
        Ok(row) => Ok(row.spec.id),
        Err(error) => match app.store.tombstone(tenant.project, text).await? {
            Some(tombstone) => Ok(tombstone.id),
            None if error.problem.code == hearth_api::ProblemCode::MachineNotFound => Err(no_machine(text)),
            None => Err(error),
        },
    }
}

/// Reads the store to its end, then what is told; back to the store when telling was too fast for the client.
struct Reader {
    app: Arc<App>,
    filter: EventFilter,
    follow: bool,
    news: broadcast::Receiver<EventRecord>,
    read: VecDeque<EventRecord>,
    caught_up: bool,
    broken: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<EventLine> {
        if self.broken {
            return None;
        }
        match self.next_record().await {
            Ok(record) => {
                let record = record?;
                self.filter.after = record.sequence;
                Some(EventLine::Event(event(record)))
            }
            Err(error) => {
                self.broken = true;
                Some(EventLine::Problem(ProblemLine::from(*ApiError::from(error).problem)))
            }
        }
    }

    async fn next_record(&mut self) -> Result<Option<EventRecord>, StoreError> {
        loop {
            if let Some(record) = self.read.pop_front() {
                return Ok(Some(record));
            }
            if !self.caught_up {
                self.read = self.app.store.events(self.filter).await?.into();
                self.caught_up = self.read.is_empty();
                if self.caught_up && !self.follow {
                    return Ok(None);
                }
                continue;
            }
            match self.news.recv().await {
                Ok(record) if self.wants(&record) => return Ok(Some(record)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.caught_up = false,
                Err(broadcast::error::RecvError::Closed) => return Ok(None),
            }
        }
    }

    fn wants(&self, record: &EventRecord) -> bool {
        record.sequence > self.filter.after
            && record.at_unix_ms >= self.filter.since_unix_ms
            && self.filter.project.is_none_or(|project| project == record.project)
            && self.filter.machine.is_none_or(|machine| machine == record.machine)
    }
}

fn event(record: EventRecord) -> Event {
    Event {
        sequence: record.sequence,
        at: timestamp(record.at_unix_ms),
        kind: kind(record.kind),
        machine_id: record.machine,
        machine_name: record.machine_name,
        state: record.state.into(),
        exit_code: record.exit_code,
        reason: record.reason,
    }
}

fn kind(kind: hearth_store::EventKind) -> EventKind {
    match kind {
        hearth_store::EventKind::Created => EventKind::Created,
        hearth_store::EventKind::State => EventKind::State,
        hearth_store::EventKind::Removed => EventKind::Removed,
        hearth_store::EventKind::Lost => EventKind::Lost,
        hearth_store::EventKind::Adopted => EventKind::Adopted,
    }
}
