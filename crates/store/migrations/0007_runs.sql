-- When and where the last calls of functions ran, so that a call's lines are found in its instance's log.

CREATE TABLE call_runs (
    sequence     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    function     TEXT    NOT NULL,
    request      TEXT    NOT NULL,
    invocation   TEXT,             -- the kept call that this was a try of
    machine      TEXT    NOT NULL,
    from_unix_ms BIGINT  NOT NULL,
    to_unix_ms   BIGINT  NOT NULL
);

CREATE INDEX call_runs_function ON call_runs (function, sequence);
