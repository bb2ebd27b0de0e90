-- What the Lambda API was told of functions and Hearth has no field for: of a function as number 0, of its versions by theirs.

CREATE TABLE lambda_facts (
    function TEXT   NOT NULL,
    number   BIGINT NOT NULL,
    facts    TEXT   NOT NULL, -- JSON
    PRIMARY KEY (function, number)
);
