-- Written so that both SQLite and PostgreSQL could read it but for AUTOINCREMENT. Times are milliseconds since the epoch.

CREATE TABLE machines (
    id               TEXT    NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    image_id         TEXT    NOT NULL,
    kernel_id        TEXT    NOT NULL,
    spec             TEXT    NOT NULL, -- MachineSpec as JSON
    args             TEXT    NOT NULL, -- the program and its arguments, as a JSON list
    desired          TEXT    NOT NULL, -- running, stopped, removed
    state            TEXT    NOT NULL, -- last seen
    sequence         BIGINT  NOT NULL, -- of the transition last seen; older news is dropped
    reason           TEXT,
    exit_status      TEXT,             -- ExitStatus as JSON
    restarts         BIGINT  NOT NULL,
    created_unix_ms  BIGINT  NOT NULL,
    started_unix_ms  BIGINT,
    finished_unix_ms BIGINT
);

CREATE INDEX machines_image ON machines (image_id);
CREATE INDEX machines_kernel ON machines (kernel_id);

-- What became of machines that are gone, for whoever still waits for them.
CREATE TABLE tombstones (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    reason          TEXT,
    exit_status     TEXT,
    removed_unix_ms BIGINT  NOT NULL
);

CREATE INDEX tombstones_name ON tombstones (name, removed_unix_ms);
CREATE INDEX tombstones_removed ON tombstones (removed_unix_ms);

CREATE TABLE machine_events (
    sequence     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at_unix_ms   BIGINT  NOT NULL,
    kind         TEXT    NOT NULL,
    machine_id   TEXT    NOT NULL,
    machine_name TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    exit_code    BIGINT,
    reason       TEXT
);

CREATE INDEX machine_events_machine ON machine_events (machine_id, sequence);

-- Keys of creates, so that one may be sent again.
CREATE TABLE idempotency_keys (
    key_text        TEXT    NOT NULL PRIMARY KEY,
    fingerprint     TEXT    NOT NULL,
    machine_id      TEXT    NOT NULL,
    created_unix_ms BIGINT  NOT NULL
);

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_unix_ms);
