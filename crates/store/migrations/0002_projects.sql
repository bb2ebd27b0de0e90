-- Projects own machines, keys and secrets. What was made before there were projects is the default project's.

CREATE TABLE projects (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    quotas          TEXT    NOT NULL, -- Quotas as JSON
    created_unix_ms BIGINT  NOT NULL
);

INSERT INTO projects (id, name, quotas, created_unix_ms) VALUES ('prj00000000000000000000000000', 'default', '{}', 0);

-- Names are unique in a project only.
ALTER TABLE machines RENAME TO machines_before;
DROP INDEX machines_image;
DROP INDEX machines_kernel;

CREATE TABLE machines (
    id               TEXT    NOT NULL PRIMARY KEY,
    project          TEXT    NOT NULL REFERENCES projects (id),
    name             TEXT    NOT NULL,
    image_id         TEXT    NOT NULL,
    kernel_id        TEXT    NOT NULL,
    spec             TEXT    NOT NULL, -- MachineSpec as JSON
    vcpus            BIGINT  NOT NULL, -- as in the spec; 0 until it is read from there
    memory_mib       BIGINT  NOT NULL,
    args             TEXT    NOT NULL, -- the program and its arguments, as a JSON list
    desired          TEXT    NOT NULL, -- running, stopped, removed
    state            TEXT    NOT NULL, -- last seen
    sequence         BIGINT  NOT NULL, -- of the transition last seen; older news is dropped
    reason           TEXT,
    exit_status      TEXT,             -- ExitStatus as JSON
    restarts         BIGINT  NOT NULL,
    created_unix_ms  BIGINT  NOT NULL,
    started_unix_ms  BIGINT,
    finished_unix_ms BIGINT,
    UNIQUE (project, name)
);

INSERT INTO machines (id, project, name, image_id, kernel_id, spec, vcpus, memory_mib, args, desired, state, sequence,
    reason, exit_status, restarts, created_unix_ms, started_unix_ms, finished_unix_ms)
SELECT id, 'prj00000000000000000000000000', name, image_id, kernel_id, spec, 0, 0, args, desired, state, sequence,
    reason, exit_status, restarts, created_unix_ms, started_unix_ms, finished_unix_ms
FROM machines_before;

DROP TABLE machines_before;

CREATE INDEX machines_image ON machines (image_id);
CREATE INDEX machines_kernel ON machines (kernel_id);

ALTER TABLE tombstones ADD COLUMN project TEXT NOT NULL DEFAULT 'prj00000000000000000000000000';
DROP INDEX tombstones_name;
CREATE INDEX tombstones_name ON tombstones (project, name, removed_unix_ms);

ALTER TABLE machine_events ADD COLUMN project TEXT NOT NULL DEFAULT 'prj00000000000000000000000000';
CREATE INDEX machine_events_project ON machine_events (project, sequence);

ALTER TABLE idempotency_keys RENAME TO idempotency_keys_before;
DROP INDEX idempotency_keys_created;

CREATE TABLE idempotency_keys (
    project         TEXT    NOT NULL,
    key_text        TEXT    NOT NULL,
    fingerprint     TEXT    NOT NULL,
    machine_id      TEXT    NOT NULL,
    created_unix_ms BIGINT  NOT NULL,
    PRIMARY KEY (project, key_text)
);

INSERT INTO idempotency_keys (project, key_text, fingerprint, machine_id, created_unix_ms)
SELECT 'prj00000000000000000000000000', key_text, fingerprint, machine_id, created_unix_ms FROM idempotency_keys_before;

DROP TABLE idempotency_keys_before;

CREATE INDEX idempotency_keys_created ON idempotency_keys (created_unix_ms);

-- A revoked key has no row.
CREATE TABLE access_keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    project         TEXT    NOT NULL REFERENCES projects (id),
    name            TEXT    NOT NULL,
    role            TEXT    NOT NULL, -- admin, developer, invoker, viewer
    secret_sha256   TEXT    NOT NULL, -- in hexadecimal
    created_unix_ms BIGINT  NOT NULL,
    expires_unix_ms BIGINT,
    UNIQUE (project, name)
);

CREATE TABLE secrets (
    project         TEXT    NOT NULL REFERENCES projects (id),
    name            TEXT    NOT NULL,
    version         BIGINT  NOT NULL, -- counts from 1
    sealed          TEXT    NOT NULL, -- the closed box
    created_unix_ms BIGINT  NOT NULL,
    updated_unix_ms BIGINT  NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE TABLE audit (
    sequence     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at_unix_ms   BIGINT  NOT NULL,
    project      TEXT,             -- none where the caller was not known
    actor        TEXT    NOT NULL, -- key ID, or unix:<uid>, or none
    actor_name   TEXT    NOT NULL,
    origin       TEXT    NOT NULL, -- address, or unix
    operation    TEXT    NOT NULL, -- as in the OpenAPI document
    target       TEXT    NOT NULL,
    status       BIGINT  NOT NULL, -- of HTTP
    request_id   TEXT    NOT NULL
);

CREATE INDEX audit_project ON audit (project, sequence);
CREATE INDEX audit_at ON audit (at_unix_ms);

-- What the server notes of itself.
CREATE TABLE marks (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
