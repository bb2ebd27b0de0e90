-- Functions, their versions, which of them is called, and calls that are kept until they are done.

CREATE TABLE functions (
    id              TEXT    NOT NULL PRIMARY KEY,
    project         TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    label           TEXT    NOT NULL, -- the name as a DNS label
    spec            TEXT    NOT NULL, -- FunctionSpec as JSON
    latest          BIGINT  NOT NULL, -- number of the newest version there ever was
    created_unix_ms BIGINT  NOT NULL,
    updated_unix_ms BIGINT  NOT NULL,
    UNIQUE (project, label)
);

CREATE TABLE function_versions (
    function        TEXT    NOT NULL,
    number          BIGINT  NOT NULL,
    spec            TEXT    NOT NULL, -- VersionSpec as JSON
    created_unix_ms BIGINT  NOT NULL,
    PRIMARY KEY (function, number)
);

-- An alias leads to one version, or to several by weight. The alias `live` is what is called when nobody says which.
CREATE TABLE function_aliases (
    function        TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    traffic         TEXT    NOT NULL, -- Traffic as JSON
    description     TEXT    NOT NULL,
    updated_unix_ms BIGINT  NOT NULL,
    PRIMARY KEY (function, name)
);

-- What `live` led to, step by step, so that one can go back.
CREATE TABLE function_rollouts (
    sequence   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    function   TEXT    NOT NULL,
    traffic    TEXT    NOT NULL,
    at_unix_ms BIGINT  NOT NULL
);

CREATE INDEX function_rollouts_function ON function_rollouts (function, sequence);

-- Calls that nobody waits for. A call stays until its result has been kept for its time.
CREATE TABLE invocations (
    id               TEXT    NOT NULL PRIMARY KEY,
    project          TEXT    NOT NULL,
    function         TEXT    NOT NULL,
    qualifier        TEXT,
    key_text         TEXT,             -- the caller's idempotency key
    fingerprint      TEXT    NOT NULL, -- of the request, for the key
    source           TEXT    NOT NULL, -- http, cron, lambda
    head             TEXT    NOT NULL, -- method, path, headers as JSON
    body             BLOB    NOT NULL,
    state            TEXT    NOT NULL, -- queued, running, succeeded, dead
    attempts         BIGINT  NOT NULL,
    due_unix_ms      BIGINT  NOT NULL, -- when it is tried next
    created_unix_ms  BIGINT  NOT NULL,
    finished_unix_ms BIGINT,
    version          BIGINT,
    status           BIGINT,           -- of the answer
    answer_head      TEXT,
    answer_body      BLOB,
    error            TEXT,
    UNIQUE (function, key_text)
);

CREATE INDEX invocations_due ON invocations (state, due_unix_ms);
CREATE INDEX invocations_function ON invocations (function, id);
CREATE INDEX invocations_project ON invocations (project, id);
CREATE INDEX invocations_finished ON invocations (finished_unix_ms);

CREATE TABLE triggers (
    id              TEXT    NOT NULL PRIMARY KEY,
    project         TEXT    NOT NULL,
    function        TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    spec            TEXT    NOT NULL, -- when and with what, as JSON
    enabled         BOOLEAN NOT NULL,
    handled_unix_ms BIGINT  NOT NULL, -- all up to then was run or left out
    last_unix_ms    BIGINT,           -- the scheduled time of its last run
    created_unix_ms BIGINT  NOT NULL,
    UNIQUE (function, name)
);
