-- Snapshots of machines. A fork makes a transient one, which nobody is shown.

CREATE TABLE snapshots (
    id              TEXT    NOT NULL PRIMARY KEY,
    project         TEXT    NOT NULL REFERENCES projects (id),
    name            TEXT,
    machine         TEXT    NOT NULL, -- what it is of, which may be gone
    machine_name    TEXT    NOT NULL,
    kernel_id       TEXT    NOT NULL,
    spec            TEXT    NOT NULL, -- the machine's MachineSpec as JSON
    args            TEXT    NOT NULL, -- the machine's program and its arguments, as a JSON list
    state           TEXT    NOT NULL, -- making, ready, removing, lost
    transient       BOOLEAN NOT NULL,
    facts           TEXT,             -- SnapshotFacts as JSON, once it is made
    created_unix_ms BIGINT  NOT NULL,
    UNIQUE (project, name)
);

CREATE INDEX snapshots_project ON snapshots (project, id);
CREATE INDEX snapshots_kernel ON snapshots (kernel_id);

ALTER TABLE machines ADD COLUMN snapshot TEXT; -- as in the spec
CREATE INDEX machines_snapshot ON machines (snapshot);

-- A key stands for whatever was made with it: a machine, a snapshot, or, by its transient snapshot, a fork.
ALTER TABLE idempotency_keys RENAME COLUMN machine_id TO made;
ALTER TABLE idempotency_keys ADD COLUMN paused_us BIGINT; -- of a fork: how long its source stood still
