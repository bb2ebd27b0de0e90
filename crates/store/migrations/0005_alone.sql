-- Calls during which the process died again and again: any of them may be the cause.

ALTER TABLE invocations ADD COLUMN alone BOOLEAN NOT NULL DEFAULT FALSE; -- whether it runs beside no other such call

CREATE INDEX invocations_alone ON invocations (state, due_unix_ms) WHERE alone;
