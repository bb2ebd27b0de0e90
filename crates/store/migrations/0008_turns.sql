-- Of projects whose calls run alone, whose is next: the one with the least.

ALTER TABLE projects ADD COLUMN alone_turn_unix_ms BIGINT NOT NULL DEFAULT 0;
