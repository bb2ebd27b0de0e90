-- Templates that the node may have: what it has of them it tells only while it is whole.

CREATE TABLE templates (
    id TEXT NOT NULL PRIMARY KEY
);
