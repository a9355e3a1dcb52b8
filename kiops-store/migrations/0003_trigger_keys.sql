-- The keys that a service's API trigger takes.

CREATE TABLE trigger_key (
    service TEXT PRIMARY KEY,
    sealed  BLOB NOT NULL
) STRICT;
