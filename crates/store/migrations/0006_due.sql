-- What is chosen among calls that are due is read from one index alone: a row's last column lies behind its bodies.

DROP INDEX invocations_alone;
DROP INDEX invocations_due;
CREATE INDEX invocations_due ON invocations (state, due_unix_ms, id, function, project, alone);
