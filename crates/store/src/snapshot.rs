//! Snapshots, and forks, which are made by a snapshot that goes when its machines are made.
//!
//! ```text
//! making ──► ready ──► removing ──► (no row)
//!   │          ⇅           ▲
//!   │         lost ────────┤     lost: the node has it no more
//!   └──► (no row) or ──────┘     where the node did not make it
//! ```

use hearth_domain::{Holding, MachineName, MachineSpec};
use hearth_ids::{BuildId, ProjectId, SnapshotId};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    EventRecord, IdempotencyKey, InsertError, Lookup, MachineRow, Made, NewMachine, Store, StoreError,
    by_id::Finding,
    idempotency, machine, project,
    read::{Columns, signed, to_json},
    sandbox,
};

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotState {
    /// The node makes it. Of a fork's: not all of its machines are made.
    Making,
    /// It is there. Of a fork's: all of its machines are made.
    Ready,
    /// It is to be gone.
    Removing,
    /// The node does not have it any more.
    Lost,
}

impl SnapshotState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Making, Self::Ready, Self::Removing, Self::Lost];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Ready => "ready",
            Self::Removing => "removing",
            Self::Lost => "lost",
        }
    }
}

/// A snapshot to be inserted.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// Its identity.
    pub id: SnapshotId,
    /// What people call it.
    pub name: Option<MachineName>,
    /// All about the machine that it is of.
    pub spec: MachineSpec,
    /// The machine's program and its arguments.
    pub args: Vec<String>,
    /// Now, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// The client's key, if it gave one.
    pub key: Option<IdempotencyKey>,
    /// The build of a template that makes it, if one does: then it is the template's, and nobody is shown it.
    pub build: Option<BuildId>,
}

/// A fork to be inserted: a transient snapshot, and the machines that begin with it.
#[derive(Debug, Clone)]
pub struct NewFork {
    /// The snapshot, whose name is not kept.
    pub snapshot: NewSnapshot,
    /// The machines, of the snapshot's project; their keys do not count.
    pub machines: Vec<NewMachine>,
}

/// A snapshot as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its identity.
    pub id: SnapshotId,
    /// Whose it is.
    pub project: ProjectId,
    /// What people call it; unique in its project.
    pub name: Option<String>,
    /// All about the machine that it is of, as that was then.
    pub spec: MachineSpec,
    /// The machine's program and its arguments.
    pub args: Vec<String>,
    /// How far it is.
    pub state: SnapshotState,
    /// Whether it is a fork's, and goes with that.
    pub transient: bool,
    /// The build of a template that made it, if one did.
    pub build: Option<BuildId>,
    /// What it is, once it is made.
    pub facts: Option<SnapshotFacts>,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

impl SnapshotRow {
    /// Whether machines go on from it where it was made. Else they boot, with the disk as it was.
    pub fn has_memory(&self) -> bool {
        self.facts.as_ref().is_none_or(SnapshotFacts::has_memory)
    }
}

/// What the node says of a snapshot that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_unix_ms: u64,
    /// The snapshots that its machine went on from, the newest first.
    pub parents: Vec<SnapshotId>,
    /// The VMM's version.
    pub vmm_version: String,
    /// What executed the guest's instructions.
    pub accelerator: String,
    /// Features of the host's processor that the guest saw.
    pub cpu_features: Vec<String>,
    /// Version of the agent in the guest.
    pub agent_version: String,
    /// Its files.
    pub parts: Vec<PartFacts>,
    /// How long its machine stood still, in microseconds.
    pub paused_us: u64,
}

impl SnapshotFacts {
    /// Whether it is of more than the disk.
    pub fn has_memory(&self) -> bool {
        self.parts.iter().any(|part| part.name == "memory")
    }
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFacts {
    /// What it holds.
    pub name: String,
    /// Its length, holes included.
    pub bytes: u64,
    /// What of it was ever written.
    pub data_bytes: u64,
    /// BLAKE3 of it, in hexadecimal digits.
    pub hash: String,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Those of a project; of all if absent.
    pub project: Option<ProjectId>,
    /// Those of the machine of this name or ID.
    pub machine: Option<String>,
    /// Those of forks and of templates as well.
    pub all_kinds: bool,
    /// Those older than this one.
    pub before: Option<SnapshotId>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// Notes a snapshot that the node is to make.
    pub async fn insert_snapshot(&self, new: &NewSnapshot) -> Result<(), InsertError> {
        let failed = StoreError::query("insert a snapshot");
        let project = new.spec.project;
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        refuse_taken_name(&mut transaction, new).await?;
        let unused = note_key(&mut transaction, new).await?;
        if !unused {
            drop(transaction);
            return Err(self.key_used(new).await?);
        }
        if !sandbox::is_layer(&mut transaction, new.id).await? {
            project::admit_snapshot(&mut transaction, project).await?;
        }
        insert(&mut transaction, new, false).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(())
    }

    /// Notes a fork that the node is to make: all of its machines, which are pending, or none. Gives their events.
    pub async fn insert_fork(&self, new: &NewFork) -> Result<Vec<EventRecord>, InsertError> {
        let failed = StoreError::query("insert a fork");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let unused = note_key(&mut transaction, &new.snapshot).await?;
        if !unused {
            drop(transaction);
            return Err(self.key_used(&new.snapshot).await?);
        }
        let wanted = new.machines.iter().map(|machine| machine::wanted(&machine.spec));
        let wanted = wanted.fold(Holding::default(), |sum, one| Holding {
            machines: sum.machines + one.machines,
            vcpus: sum.vcpus + one.vcpus,
            memory_mib: sum.memory_mib + one.memory_mib,
        });
        machine::admit(&mut transaction, new.snapshot.spec.project, wanted).await?;
        insert(&mut transaction, &new.snapshot, true).await?;
        let mut events = Vec::with_capacity(new.machines.len());
        for machine in &new.machines {
            machine::refuse_taken_name(&mut transaction, &machine.spec).await?;
            events.push(machine::insert(&mut transaction, machine).await?);
        }
        transaction.commit().await.map_err(&failed)?;
        Ok(events)
    }

    async fn key_used(&self, new: &NewSnapshot) -> Result<InsertError, StoreError> {
        let used = match &new.key {
            Some(key) => self.used_key(new.spec.project, &key.key).await?,
            None => None,
        };
        let made = used.map_or(Made::Snapshot(new.id), |used| used.made);
        Ok(InsertError::KeyUsed(made))
    }

    /// Notes that the node has a snapshot, and what it is. One that is to be gone stays so.
    pub async fn note_snapshot_made(&self, id: SnapshotId, facts: &SnapshotFacts) -> Result<(), StoreError> {
        sqlx::query("UPDATE snapshots SET state = 'ready', facts = $2 WHERE id = $1 AND state <> 'removing'")
            .bind(id.to_string())
            .bind(to_json(facts))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("note a snapshot that was made"))?;
        Ok(())
    }

    /// Notes that all machines of a fork are made, and how long its source stood still.
    pub async fn note_fork_made(&self, id: SnapshotId, paused_us: u64) -> Result<(), StoreError> {
        let failed = StoreError::query("note a fork that was made");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        sqlx::query("UPDATE snapshots SET state = 'ready' WHERE id = $1")
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        sqlx::query("UPDATE idempotency_keys SET paused_us = $2 WHERE made = $1")
            .bind(id.to_string())
            .bind(signed(paused_us))
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)
    }

    /// Notes that a snapshot is to be gone. `false` if the node makes it just now, or it is not there.
    pub async fn begin_snapshot_removal(&self, id: SnapshotId) -> Result<bool, StoreError> {
        let noted = sqlx::query("UPDATE snapshots SET state = 'removing' WHERE id = $1 AND state <> 'making'")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("note a removal"))?;
        Ok(noted.rows_affected() == 1)
    }

    /// For a snapshot whose removal the node refused: it stays.
    pub async fn cancel_snapshot_removal(&self, id: SnapshotId) -> Result<(), StoreError> {
        self.change_snapshot(
            "UPDATE snapshots SET state = 'ready' WHERE id = $1 AND state = 'removing'",
            id,
        )
        .await
    }

    /// Notes that the node has a snapshot no more.
    pub async fn lose_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        self.change_snapshot(
            "UPDATE snapshots SET state = 'lost' WHERE id = $1 AND state = 'ready'",
            id,
        )
        .await
    }

    /// Forgets a snapshot that the node has not.
    pub async fn forget_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        self.change_snapshot("DELETE FROM snapshots WHERE id = $1", id).await
    }

    async fn change_snapshot(&self, sql: &'static str, id: SnapshotId) -> Result<(), StoreError> {
        sqlx::query(sql)
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change a snapshot"))?;
        Ok(())
    }

    /// Takes back an insert whose snapshot the node did not make, or a fork with its machines, none of which the node has:
    /// no tombstone, and its key may be used again.
    pub async fn withdraw_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        let statements = [
            "DELETE FROM machine_events WHERE machine_id IN (SELECT machines.id FROM machines \
             JOIN snapshots ON machines.snapshot = snapshots.id WHERE snapshots.id = $1 AND snapshots.transient)",
            "DELETE FROM machines WHERE snapshot IN (SELECT id FROM snapshots WHERE id = $1 AND transient)",
            "DELETE FROM idempotency_keys WHERE made = $1",
            "DELETE FROM snapshots WHERE id = $1",
        ];
        self.change_all("withdraw a snapshot", id, &statements).await
    }

    /// For a snapshot that was not made, and of which the node may have something all the same: it is to be gone, while its
    /// name and its key may be used again.
    pub async fn abandon_snapshot(&self, id: SnapshotId) -> Result<(), StoreError> {
        let statements = [
            "UPDATE snapshots SET state = 'removing', name = NULL WHERE id = $1",
            "DELETE FROM idempotency_keys WHERE made = $1",
        ];
        self.change_all("abandon a snapshot", id, &statements).await
    }

    /// The snapshot of an ID, be it a fork's.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM snapshots WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a snapshot"))?;
        row.as_ref().map(read).transpose()
    }

    /// A project's snapshot of a name, an ID, or a beginning of an ID that only one has. Those of forks are not there.
    pub async fn find_snapshot(&self, project: ProjectId, text: &str) -> Result<Lookup<SnapshotRow>, StoreError> {
        let finding = Finding {
            action: "look up a snapshot",
            exact: "SELECT * FROM snapshots WHERE project = $1 AND NOT transient AND build IS NULL AND (id = $2 OR name = $2) \
                    ORDER BY id = $2 DESC LIMIT 1",
            between: "SELECT * FROM snapshots WHERE project = $1 AND NOT transient AND build IS NULL AND id >= $2 AND id < $3 \
                      ORDER BY id LIMIT 2",
            read,
        };
        self.find(&finding, project, text).await
    }

    /// Snapshots, newest first.
    pub async fn snapshots(&self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM snapshots WHERE ($1 IS NULL OR project = $1) \
             AND ($2 IS NULL OR machine = $2 OR machine_name = $2) AND ($3 OR (NOT transient AND build IS NULL)) \
             AND ($4 IS NULL OR id < $4) ORDER BY id DESC LIMIT $5",
        )
        .bind(filter.project.map(|id| id.to_string()))
        .bind(&filter.machine)
        .bind(filter.all_kinds)
        .bind(filter.before.map(|id| id.to_string()))
        .bind(i64::from(filter.limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list snapshots"))?;
        rows.iter().map(read).collect()
    }

    /// The machines whose first start goes on, or went on, from a snapshot.
    pub async fn machines_of_snapshot(&self, id: SnapshotId) -> Result<Vec<MachineRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM machines WHERE snapshot = $1 ORDER BY id")
            .bind(id.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list the machines of a snapshot"))?;
        rows.iter().map(machine::read).collect()
    }

    /// IDs of the snapshots of machines of a kernel.
    pub async fn snapshots_of_kernel(&self, kernel_id: &str) -> Result<Vec<SnapshotId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM snapshots WHERE kernel_id = $1 AND NOT transient ORDER BY id")
            .bind(kernel_id)
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list snapshots"))?;
        rows.iter().map(|row| Columns::new(row, "id")?.parse("id")).collect()
    }

    /// How many snapshots a project has, those of templates with them, those of forks and of steps of builds left out.
    pub async fn snapshots_held(&self, project: ProjectId) -> Result<u64, StoreError> {
        let failed = StoreError::query("count snapshots");
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        held(&mut connection, project).await
    }
}

/// How many snapshots a project has, those of templates with them, those of forks and of steps of builds left out.
pub(crate) async fn held(connection: &mut SqliteConnection, project: ProjectId) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM snapshots WHERE project = $1 AND NOT transient \
             AND id NOT IN (SELECT snapshot FROM template_layers)",
    )
    .bind(project.to_string())
    .fetch_one(connection)
    .await
    .map_err(StoreError::query("count snapshots"))?;
    Ok(count.unsigned_abs())
}

async fn refuse_taken_name(connection: &mut SqliteConnection, new: &NewSnapshot) -> Result<(), InsertError> {
    let Some(name) = &new.name else { return Ok(()) };
    let row = sqlx::query("SELECT id FROM snapshots WHERE project = $1 AND name = $2")
        .bind(new.spec.project.to_string())
        .bind(name.as_str())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::query("look up a name"))?;
    let Some(row) = row else { return Ok(()) };
    let holder: SnapshotId = Columns::new(&row, "id")?.parse("id")?;
    Err(InsertError::NameTaken {
        name: name.to_string(),
        holder: Made::Snapshot(holder),
    })
}

/// Whether the key, if there is one, was not used before.
async fn note_key(connection: &mut SqliteConnection, new: &NewSnapshot) -> Result<bool, StoreError> {
    let Some(key) = &new.key else { return Ok(true) };
    let made = Made::Snapshot(new.id);
    idempotency::insert(connection, new.spec.project, key, made, new.created_unix_ms).await
}

async fn insert(connection: &mut SqliteConnection, new: &NewSnapshot, transient: bool) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO snapshots (id, project, name, machine, machine_name, kernel_id, spec, args, state, transient, \
         created_unix_ms, build) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'making', $9, $10, $11)",
    )
    .bind(new.id.to_string())
    .bind(new.spec.project.to_string())
    .bind(new.name.as_ref().filter(|_| !transient).map(MachineName::as_str))
    .bind(new.spec.id.to_string())
    .bind(new.spec.name.as_str())
    .bind(&new.spec.kernel_id)
    .bind(to_json(&new.spec))
    .bind(to_json(&new.args))
    .bind(transient)
    .bind(signed(new.created_unix_ms))
    .bind(new.build.map(|id| id.to_string()))
    .execute(connection)
    .await
    .map_err(StoreError::query("insert a snapshot"))?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<SnapshotRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(SnapshotRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        name: columns.get("name")?,
        spec: columns.json("spec")?,
        args: columns.json("args")?,
        state: columns.word("state", &SnapshotState::ALL, SnapshotState::as_str)?,
        transient: columns.get("transient")?,
        build: columns.optional_parse("build")?,
        facts: columns.optional_json("facts")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
    })
}
