//! Machines: what they should be, and what was last seen of them.

use hearth_domain::{ExitStatus, Holding, MachineSpec, StateWord};
use hearth_ids::{MachineId, ProjectId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    EventKind, EventRecord, IdempotencyKey, InsertError, Lookup, Made, Store, StoreError,
    by_id::Finding,
    event, idempotency, project,
    read::{Columns, signed, to_json},
};

/// How many tombstones are kept; the oldest go first.
pub const TOMBSTONES_MAX: u64 = 2_000;

/// What a machine should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Desired {
    /// Run.
    Running,
    /// Rest.
    Stopped,
    /// Be gone.
    Removed,
}

/// A machine to be inserted.
#[derive(Debug, Clone)]
pub struct NewMachine {
    /// All about it.
    pub spec: MachineSpec,
    /// The program and its arguments, the image's and the machine's together.
    pub args: Vec<String>,
    /// What it should do.
    pub desired: Desired,
    /// Now, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// The client's key, if it gave one.
    pub key: Option<IdempotencyKey>,
    /// Whether the project's quotas are asked: not for what is there already.
    pub within_quotas: bool,
}

/// A machine as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRow {
    /// All about it.
    pub spec: MachineSpec,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// What it should do.
    pub desired: Desired,
    /// What it was last seen doing.
    pub state: StateWord,
    /// Number of the transition last seen.
    pub sequence: u64,
    /// What went wrong, if it failed.
    pub reason: Option<String>,
    /// How its program ended, if it is stopped.
    pub exit: Option<ExitStatus>,
    /// Restarts in a row.
    pub restarts: u32,
    /// When it was made.
    pub created_unix_ms: u64,
    /// When its program started.
    pub started_unix_ms: Option<u64>,
    /// When it came to rest.
    pub finished_unix_ms: Option<u64>,
}

/// News about a machine. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Whose.
    pub machine: MachineId,
    /// Number of the transition.
    pub sequence: u64,
    /// When it was.
    pub at_unix_ms: u64,
    /// What kind of event to note; none if it is `None`.
    pub kind: Option<EventKind>,
    /// To where.
    pub state: StateWord,
    /// Why, for the event; what went wrong, for a machine that failed.
    pub reason: Option<String>,
    /// How its program ended, if it is stopped.
    pub exit: Option<ExitStatus>,
    /// Restarts in a row; `None` leaves what is stored.
    pub restarts: Option<u32>,
    /// When its program started; `None` leaves what is stored.
    pub started_unix_ms: Option<u64>,
    /// When it came to rest.
    pub finished_unix_ms: Option<u64>,
    /// It holds even over newer news: after a start, what the node says is so, however it counts.
    pub supersedes: bool,
}

/// What became of a machine that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Which.
    pub id: MachineId,
    /// Whose it was.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// Its last state.
    pub state: StateWord,
    /// What went wrong, if it failed.
    pub reason: Option<String>,
    /// How its program ended, if it was stopped.
    pub exit: Option<ExitStatus>,
}

impl Desired {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Running, Self::Stopped, Self::Removed];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
        }
    }
}

impl Store {
    /// Inserts a machine, which is pending, and notes its event.
    pub async fn insert_machine(&self, new: &NewMachine) -> Result<EventRecord, InsertError> {
        let failed = StoreError::query("insert a machine");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        refuse_taken_name(&mut transaction, &new.spec).await?;
        let made = Made::Machine(new.spec.id);
        if let Some(key) = &new.key
            && !idempotency::insert(&mut transaction, new.spec.project, key, made, new.created_unix_ms).await?
        {
            drop(transaction);
            let used = self.used_key(new.spec.project, &key.key).await?;
            return Err(InsertError::KeyUsed(used.map_or(made, |used| used.made)));
        }
        if new.within_quotas {
            admit(&mut transaction, new.spec.project, wanted(&new.spec)).await?;
        }
        let event = insert(&mut transaction, new).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(event)
    }

    /// Takes back an insert whose machine the node refused: no tombstone, and its key may be used again. Also where the
    /// machine's end was noted already.
    pub async fn withdraw_machine(&self, id: MachineId) -> Result<(), StoreError> {
        let statements = [
            "DELETE FROM idempotency_keys WHERE made = $1",
            "DELETE FROM machine_events WHERE machine_id = $1",
            "DELETE FROM tombstones WHERE id = $1",
            "DELETE FROM machines WHERE id = $1",
        ];
        self.change_all("withdraw a machine", id, &statements).await
    }

    /// For a machine that nobody was told of, and that the node still has: it should be gone, and its key may be used again.
    pub async fn give_up_machine(&self, id: MachineId) -> Result<(), StoreError> {
        let statements = [
            "DELETE FROM idempotency_keys WHERE made = $1",
            "UPDATE machines SET desired = 'removed' WHERE id = $1",
        ];
        self.change_all("give up a machine", id, &statements).await
    }

    /// The machine of an ID.
    pub async fn machine(&self, id: MachineId) -> Result<Option<MachineRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM machines WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a machine"))?;
        row.as_ref().map(read).transpose()
    }

    /// A project's machine of a name, an ID, or a beginning of an ID that only one has. A name goes before a beginning.
    pub async fn find_machine(&self, project: ProjectId, text: &str) -> Result<Lookup, StoreError> {
        let finding = Finding {
            action: "look up a machine",
            exact: "SELECT * FROM machines WHERE project = $1 AND (id = $2 OR name = $2) ORDER BY id = $2 DESC LIMIT 1",
            between: "SELECT * FROM machines WHERE project = $1 AND id >= $2 AND id < $3 ORDER BY id LIMIT 2",
            read,
        };
        self.find(&finding, project, text).await
    }

    /// Machines, newest first, of those older than `before`: a project's, or all.
    pub async fn machines(
        &self,
        project: Option<ProjectId>,
        before: Option<MachineId>,
        limit: u32,
    ) -> Result<Vec<MachineRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM machines WHERE ($1 IS NULL OR project = $1) AND ($2 IS NULL OR id < $2) \
             ORDER BY id DESC LIMIT $3",
        )
        .bind(project.map(|id| id.to_string()))
        .bind(before.map(|id| id.to_string()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list machines"))?;
        rows.iter().map(read).collect()
    }

    /// IDs of the machines of an image.
    pub async fn users_of_image(&self, image_id: &str) -> Result<Vec<MachineId>, StoreError> {
        self.ids("SELECT id FROM machines WHERE image_id = $1 ORDER BY id", image_id)
            .await
    }

    /// IDs of the machines of a kernel.
    pub async fn users_of_kernel(&self, kernel_id: &str) -> Result<Vec<MachineId>, StoreError> {
        self.ids("SELECT id FROM machines WHERE kernel_id = $1 ORDER BY id", kernel_id)
            .await
    }

    async fn ids(&self, sql: &'static str, argument: &str) -> Result<Vec<MachineId>, StoreError> {
        let rows = sqlx::query(sql)
            .bind(argument)
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list machines"))?;
        rows.iter().map(|row| Columns::new(row, "id")?.parse("id")).collect()
    }

    /// Changes what a machine should do. One that should be gone is not called back.
    pub async fn set_desired(&self, id: MachineId, desired: Desired) -> Result<(), StoreError> {
        sqlx::query("UPDATE machines SET desired = $2 WHERE id = $1 AND desired <> $2 AND desired <> 'removed'")
            .bind(id.to_string())
            .bind(desired.as_str())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change what a machine should do"))?;
        Ok(())
    }

    /// For a machine whose removal the node refused: it stays, at rest.
    pub async fn cancel_removal(&self, id: MachineId) -> Result<(), StoreError> {
        sqlx::query("UPDATE machines SET desired = 'stopped' WHERE id = $1 AND desired = 'removed'")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("call off a removal"))?;
        Ok(())
    }

    /// Stores news, all or nothing, and gives the events that were noted. What is old, or about a machine that is not
    /// there, is dropped.
    pub async fn observe(&self, news: &[Observation]) -> Result<Vec<EventRecord>, StoreError> {
        let failed = StoreError::query("store news of machines");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let mut events = Vec::new();
        for observation in news {
            events.extend(observe_one(&mut transaction, observation).await?);
        }
        transaction.commit().await.map_err(&failed)?;
        Ok(events)
    }

    /// Removes a machine, leaves its tombstone and notes the event; `None` if there is no such machine.
    pub async fn remove_machine(
        &self,
        tombstone: &Tombstone,
        now_unix_ms: u64,
    ) -> Result<Option<EventRecord>, StoreError> {
        let failed = StoreError::query("remove a machine");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let deleted = sqlx::query("DELETE FROM machines WHERE id = $1")
            .bind(tombstone.id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }
        bury(&mut transaction, tombstone, now_unix_ms).await?;
        let event = EventRecord {
            sequence: 0,
            at_unix_ms: now_unix_ms,
            kind: EventKind::Removed,
            project: tombstone.project,
            machine: tombstone.id,
            machine_name: tombstone.name.clone(),
            state: StateWord::Destroyed,
            exit_code: tombstone.exit.as_ref().map(|exit| exit.code),
            reason: None,
        };
        let event = event::insert(&mut transaction, event).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(Some(event))
    }

    /// What became of the machine of an ID that is gone.
    pub async fn tombstone_of(&self, id: MachineId) -> Result<Option<Tombstone>, StoreError> {
        let row = sqlx::query("SELECT * FROM tombstones WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("look up a removed machine"))?;
        row.as_ref().map(read_tombstone).transpose()
    }

    /// What became of a project's machine that is gone, by its ID, or by its name the last one that had it.
    pub async fn tombstone(&self, project: ProjectId, id_or_name: &str) -> Result<Option<Tombstone>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM tombstones WHERE project = $1 AND (id = $2 OR name = $2) \
             ORDER BY id = $2 DESC, removed_unix_ms DESC LIMIT 1",
        )
        .bind(project.to_string())
        .bind(id_or_name)
        .fetch_optional(&self.readers)
        .await
        .map_err(StoreError::query("look up a removed machine"))?;
        row.as_ref().map(read_tombstone).transpose()
    }
}

/// Inserts the row of a machine, and notes its event. Whatever may hinder it has been looked at.
pub(crate) async fn insert(connection: &mut SqliteConnection, new: &NewMachine) -> Result<EventRecord, StoreError> {
    sqlx::query(
        "INSERT INTO machines (id, name, image_id, kernel_id, spec, args, desired, state, sequence, restarts, \
         created_unix_ms, project, vcpus, memory_mib, snapshot) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, $9, $10, $11, $12, $13)",
    )
    .bind(new.spec.id.to_string())
    .bind(new.spec.name.as_str())
    .bind(&new.spec.image_id)
    .bind(&new.spec.kernel_id)
    .bind(to_json(&new.spec))
    .bind(to_json(&new.args))
    .bind(new.desired.as_str())
    .bind(StateWord::Pending.as_str())
    .bind(signed(new.created_unix_ms))
    .bind(new.spec.project.to_string())
    .bind(signed(new.spec.resources.vcpus.get().into()))
    .bind(signed(new.spec.resources.memory_mib.get().into()))
    .bind(new.spec.snapshot.map(|id| id.to_string()))
    .execute(&mut *connection)
    .await
    .map_err(StoreError::query("insert a machine"))?;
    let event = EventRecord {
        sequence: 0,
        at_unix_ms: new.created_unix_ms,
        kind: EventKind::Created,
        project: new.spec.project,
        machine: new.spec.id,
        machine_name: new.spec.name.to_string(),
        state: StateWord::Pending,
        exit_code: None,
        reason: None,
    };
    event::insert(connection, event).await
}

pub(crate) async fn refuse_taken_name(
    connection: &mut SqliteConnection,
    spec: &MachineSpec,
) -> Result<(), InsertError> {
    match holder_of_name(connection, spec.project, spec.name.as_str()).await? {
        None => Ok(()),
        Some(holder) => Err(InsertError::NameTaken {
            name: spec.name.to_string(),
            holder: Made::Machine(holder),
        }),
    }
}

/// Refuses what its quotas do not let a project hold more.
pub(crate) async fn admit(
    connection: &mut SqliteConnection,
    project: ProjectId,
    wanted: Holding,
) -> Result<(), InsertError> {
    let held = project::holding(connection, project).await?;
    let quotas = project::quotas(connection, project).await?;
    Ok(quotas.admit(held, wanted)?)
}

/// What a machine holds of its project's quotas.
pub(crate) fn wanted(spec: &MachineSpec) -> Holding {
    Holding {
        machines: 1,
        vcpus: spec.resources.vcpus.get().into(),
        memory_mib: spec.resources.memory_mib.get().into(),
    }
}

/// Reads, of rows that are older than projects, what each holds.
pub(crate) async fn read_holdings(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = StoreError::query("read what machines hold");
    let rows = sqlx::query("SELECT id, spec FROM machines WHERE vcpus = 0")
        .fetch_all(&mut *connection)
        .await
        .map_err(&failed)?;
    for row in &rows {
        let columns = Columns::new(row, "id")?;
        let held = wanted(&columns.json("spec")?);
        sqlx::query("UPDATE machines SET vcpus = $2, memory_mib = $3 WHERE id = $1")
            .bind(columns.get::<String>("id")?)
            .bind(signed(held.vcpus))
            .bind(signed(held.memory_mib))
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
    }
    Ok(())
}

async fn holder_of_name(
    connection: &mut SqliteConnection,
    project: ProjectId,
    name: &str,
) -> Result<Option<MachineId>, StoreError> {
    let row = sqlx::query("SELECT id FROM machines WHERE project = $1 AND name = $2")
        .bind(project.to_string())
        .bind(name)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::query("look up a name"))?;
    row.map(|row| Columns::new(&row, "id")?.parse("id")).transpose()
}

async fn observe_one(connection: &mut SqliteConnection, news: &Observation) -> Result<Option<EventRecord>, StoreError> {
    let failed = StoreError::query("store news of a machine");
    let failure = news.reason.as_ref().filter(|_| news.state == StateWord::Failed);
    let row = sqlx::query(
        "UPDATE machines SET state = $2, sequence = $3, reason = $4, exit_status = $5, \
         restarts = COALESCE($6, restarts), started_unix_ms = COALESCE($7, started_unix_ms), finished_unix_ms = $8 \
         WHERE id = $1 AND (sequence < $3 OR $9) RETURNING id, name, project",
    )
    .bind(news.machine.to_string())
    .bind(news.state.as_str())
    .bind(signed(news.sequence))
    .bind(failure)
    .bind(news.exit.as_ref().map(to_json))
    .bind(news.restarts.map(i64::from))
    .bind(news.started_unix_ms.map(signed))
    .bind(news.finished_unix_ms.map(signed))
    .bind(news.supersedes)
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let (Some(row), Some(kind)) = (row, news.kind) else {
        return Ok(None);
    };
    let columns = Columns::new(&row, "id")?;
    let event = EventRecord {
        sequence: 0,
        at_unix_ms: news.at_unix_ms,
        kind,
        project: columns.parse("project")?,
        machine: news.machine,
        machine_name: columns.get("name")?,
        state: news.state,
        exit_code: news.exit.as_ref().map(|exit| exit.code),
        reason: news.reason.clone(),
    };
    event::insert(connection, event).await.map(Some)
}

async fn bury(connection: &mut SqliteConnection, tombstone: &Tombstone, now_unix_ms: u64) -> Result<(), StoreError> {
    let failed = StoreError::query("remember a removed machine");
    sqlx::query(
        "INSERT INTO tombstones (id, name, state, reason, exit_status, removed_unix_ms, project) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(tombstone.id.to_string())
    .bind(&tombstone.name)
    .bind(tombstone.state.as_str())
    .bind(&tombstone.reason)
    .bind(tombstone.exit.as_ref().map(to_json))
    .bind(signed(now_unix_ms))
    .bind(tombstone.project.to_string())
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    sqlx::query(
        "DELETE FROM tombstones WHERE removed_unix_ms < \
         (SELECT removed_unix_ms FROM tombstones ORDER BY removed_unix_ms DESC LIMIT 1 OFFSET $1)",
    )
    .bind(signed(TOMBSTONES_MAX))
    .execute(connection)
    .await
    .map_err(&failed)?;
    Ok(())
}

pub(crate) fn read(row: &SqliteRow) -> Result<MachineRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(MachineRow {
        spec: columns.json("spec")?,
        args: columns.json("args")?,
        desired: columns.word("desired", &Desired::ALL, Desired::as_str)?,
        state: columns.state("state")?,
        sequence: columns.unsigned("sequence")?,
        reason: columns.get("reason")?,
        exit: columns.optional_json("exit_status")?,
        restarts: u32::try_from(columns.unsigned("restarts")?).unwrap_or(u32::MAX),
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        started_unix_ms: columns.optional_unsigned("started_unix_ms")?,
        finished_unix_ms: columns.optional_unsigned("finished_unix_ms")?,
    })
}

fn read_tombstone(row: &SqliteRow) -> Result<Tombstone, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(Tombstone {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        name: columns.get("name")?,
        state: columns.state("state")?,
        reason: columns.get("reason")?,
        exit: columns.optional_json("exit_status")?,
    })
}
