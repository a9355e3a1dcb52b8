-- Tokens of connections to Git hosts. Version and lease stand within what is sealed, too: a row whose columns were changed does not open.
-- A version is given once in the life of the database, whatever is removed.

CREATE TABLE token (
    connection TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    sealed     BLOB NOT NULL
) STRICT;

INSERT INTO counter (name, value) VALUES ('token', 0);
