-- What E2B's clients pin to a secret: texts by name, as JSON.
ALTER TABLE secrets ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
