-- Sandboxes: machines that somebody runs commands in, for a time. What one is doing is its machine's to say.

CREATE TABLE sandboxes (
    id              TEXT    NOT NULL PRIMARY KEY,
    project         TEXT    NOT NULL REFERENCES projects (id),
    machine         TEXT    NOT NULL UNIQUE,
    template        TEXT    NOT NULL, -- a template's ID or a snapshot's, which may be gone
    alias           TEXT,             -- the name that it was asked for by
    metadata        TEXT    NOT NULL, -- JSON object of texts
    settings        TEXT    NOT NULL, -- SandboxSettings as JSON
    state           TEXT    NOT NULL, -- running, paused, stopped, killed: what it should be
    timeout_ms      BIGINT  NOT NULL, -- the first one
    started_unix_ms BIGINT  NOT NULL,
    ends_unix_ms    BIGINT  NOT NULL
);

CREATE INDEX sandboxes_project ON sandboxes (project, started_unix_ms, id);

-- What sandboxes are made of. A build is a try to make one, and its snapshot what came of it.
CREATE TABLE sandbox_templates (
    id              TEXT    NOT NULL PRIMARY KEY,
    project         TEXT    NOT NULL REFERENCES projects (id),
    public          BOOLEAN NOT NULL, -- whether others may make sandboxes of it
    sandbox         TEXT,             -- the one that it is a snapshot of, if it is one
    created_unix_ms BIGINT  NOT NULL,
    updated_unix_ms BIGINT  NOT NULL,
    last_unix_ms    BIGINT,           -- when a sandbox was last made of it
    spawned         BIGINT  NOT NULL  -- how many were
);

CREATE INDEX sandbox_templates_project ON sandbox_templates (project, id);

CREATE TABLE template_names (
    project  TEXT NOT NULL,
    name     TEXT NOT NULL,
    template TEXT NOT NULL,
    PRIMARY KEY (project, name)
);

CREATE INDEX template_names_template ON template_names (template);

CREATE TABLE template_builds (
    id               TEXT   NOT NULL PRIMARY KEY,
    template         TEXT   NOT NULL,
    state            TEXT   NOT NULL, -- waiting, building, ready, error
    plan             TEXT   NOT NULL, -- BuildPlan as JSON
    reason           TEXT,            -- BuildReason as JSON, of one that failed
    snapshot         TEXT,            -- of one that is ready
    created_unix_ms  BIGINT NOT NULL,
    finished_unix_ms BIGINT
);

CREATE INDEX template_builds_template ON template_builds (template, id);
CREATE INDEX template_builds_snapshot ON template_builds (snapshot);

CREATE TABLE template_tags (
    template        TEXT   NOT NULL,
    tag             TEXT   NOT NULL,
    build           TEXT   NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (template, tag)
);

CREATE TABLE template_build_logs (
    build      TEXT   NOT NULL,
    sequence   BIGINT NOT NULL, -- from 0
    at_unix_ms BIGINT NOT NULL,
    level      TEXT   NOT NULL, -- debug, info, warn, error
    step       TEXT,
    message    TEXT   NOT NULL,
    PRIMARY KEY (build, sequence)
);

-- What the steps of builds left on the disk, by what led to it.
CREATE TABLE template_layers (
    project      TEXT   NOT NULL,
    key          TEXT   NOT NULL, -- SHA-256 of what was built on and of all steps up to there
    snapshot     TEXT   NOT NULL,
    used_unix_ms BIGINT NOT NULL,
    PRIMARY KEY (project, key)
);

-- Snapshots that a template is made of are the template's, and no person's.
ALTER TABLE snapshots ADD COLUMN build TEXT;
