-- Volumes: shared folders that outlive machines. A row without its folder has an empty one; a folder without a row goes.

CREATE TABLE volumes (
    id              TEXT   NOT NULL PRIMARY KEY,
    project         TEXT   NOT NULL REFERENCES projects (id),
    name            TEXT   NOT NULL,
    created_unix_ms BIGINT NOT NULL,
    UNIQUE (project, name)
);
