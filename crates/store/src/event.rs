//! What happened to machines.

use hearth_domain::StateWord;
use hearth_ids::{MachineId, ProjectId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{Store, StoreError, read::Columns, read::signed};

/// About how many events are kept; the oldest go first.
pub const EVENTS_MAX: u64 = 20_000;
/// Old events are removed once in so many.
const SWEEP_EVERY: u64 = 500;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The machine was made.
    Created,
    /// It came into another state.
    State,
    /// It was removed.
    Removed,
    /// The node does not know it any more.
    Lost,
    /// The node had it and the store did not; the store has it again.
    Adopted,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Its number; grows.
    pub sequence: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// What.
    pub kind: EventKind,
    /// In which project.
    pub project: ProjectId,
    /// To which machine.
    pub machine: MachineId,
    /// The machine's name.
    pub machine_name: String,
    /// The machine's state afterwards.
    pub state: StateWord,
    /// Its program's exit code, if it is stopped.
    pub exit_code: Option<i32>,
    /// Why.
    pub reason: Option<String>,
}

/// Which events to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFilter {
    /// After the one of this number.
    pub after: u64,
    /// From then on, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// Of this project; of all if absent.
    pub project: Option<ProjectId>,
    /// Of this machine.
    pub machine: Option<MachineId>,
    /// At most so many.
    pub limit: u32,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Created, Self::State, Self::Removed, Self::Lost, Self::Adopted];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::State => "state",
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::Adopted => "adopted",
        }
    }
}

impl Store {
    /// Events, oldest first.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM machine_events \
             WHERE sequence > $1 AND at_unix_ms >= $2 AND ($3 IS NULL OR machine_id = $3) \
             AND ($4 IS NULL OR project = $4) ORDER BY sequence LIMIT $5",
        )
        .bind(signed(filter.after))
        .bind(signed(filter.since_unix_ms))
        .bind(filter.machine.map(|id| id.to_string()))
        .bind(filter.project.map(|id| id.to_string()))
        .bind(i64::from(filter.limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("read events"))?;
        rows.iter().map(read).collect()
    }

    /// Number of the newest event, 0 if there is none.
    pub async fn last_event(&self) -> Result<u64, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT MAX(sequence) FROM machine_events")
            .fetch_one(&self.readers)
            .await
            .map_err(StoreError::query("read the newest event"))?;
        Ok(last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0))
    }

    /// Notes an event about a machine that has no row; its number is given.
    pub async fn note_event(&self, event: EventRecord) -> Result<EventRecord, StoreError> {
        let failed = StoreError::query("note an event");
        let mut connection = self.writer.acquire().await.map_err(failed)?;
        insert(&mut connection, event).await
    }
}

/// Notes an event; its number is given.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    mut event: EventRecord,
) -> Result<EventRecord, StoreError> {
    let failed = StoreError::query("note an event");
    let sequence: i64 = sqlx::query_scalar(
        "INSERT INTO machine_events (at_unix_ms, kind, machine_id, machine_name, state, exit_code, reason, project) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING sequence",
    )
    .bind(signed(event.at_unix_ms))
    .bind(event.kind.as_str())
    .bind(event.machine.to_string())
    .bind(&event.machine_name)
    .bind(event.state.as_str())
    .bind(event.exit_code)
    .bind(&event.reason)
    .bind(event.project.to_string())
    .fetch_one(&mut *connection)
    .await
    .map_err(&failed)?;
    event.sequence = sequence.unsigned_abs();
    if event.sequence.is_multiple_of(SWEEP_EVERY) {
        sqlx::query("DELETE FROM machine_events WHERE sequence <= $1")
            .bind(signed(event.sequence.saturating_sub(EVENTS_MAX)))
            .execute(connection)
            .await
            .map_err(&failed)?;
    }
    Ok(event)
}

fn read(row: &SqliteRow) -> Result<EventRecord, StoreError> {
    let columns = Columns::new(row, "machine_id")?;
    Ok(EventRecord {
        sequence: columns.unsigned("sequence")?,
        at_unix_ms: columns.unsigned("at_unix_ms")?,
        kind: columns.word("kind", &EventKind::ALL, EventKind::as_str)?,
        project: columns.parse("project")?,
        machine: columns.parse("machine_id")?,
        machine_name: columns.get("machine_name")?,
        state: columns.state("state")?,
        exit_code: columns.get("exit_code")?,
        reason: columns.get("reason")?,
    })
}
