-- How a row is kept: what it holds is a JSON document, `doc`; beside it stand only the columns that are looked up by.
-- `sum` is a checksum over table, key, version numbers and document: a damaged row is an error, never a wrong answer.
-- Times are microseconds since 1970. `seq` is the order in which rows were first stored: lists go by it.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('fence', 0), ('check', 0);

-- Registration.

CREATE TABLE service (
    name           TEXT PRIMARY KEY,
    version        INTEGER NOT NULL,
    builds_at_once INTEGER NOT NULL,
    doc            TEXT NOT NULL,
    sum            INTEGER NOT NULL
) STRICT;

CREATE TABLE environment (
    name TEXT PRIMARY KEY,
    doc  TEXT NOT NULL,
    sum  INTEGER NOT NULL
) STRICT;

-- `reach` is how many secrets all hooks of its repository have.
CREATE TABLE hook (
    service       TEXT PRIMARY KEY,
    provider      TEXT NOT NULL,
    repository_id TEXT,
    path          TEXT NOT NULL,
    hook          TEXT,
    secrets       INTEGER NOT NULL,
    reach         INTEGER NOT NULL,
    sealed        BLOB NOT NULL,
    doc           TEXT NOT NULL,
    sum           INTEGER NOT NULL
) STRICT;
CREATE INDEX hook_by_path ON hook (provider, path);
CREATE INDEX hook_by_repository ON hook (provider, repository_id) WHERE repository_id IS NOT NULL;
CREATE INDEX hook_by_hook ON hook (provider, hook) WHERE hook IS NOT NULL;
CREATE INDEX hook_by_reach ON hook (provider, reach);

CREATE TABLE secret (
    name   TEXT PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

-- Intake. `replay` and `digest` are hashes over the service and the delivery's key or body. Both go when they expire, and so
-- does the body; a record without a body is one that has expired.

CREATE TABLE delivery (
    seq         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    service     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    replay      BLOB UNIQUE,
    digest      BLOB,
    undecided   INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    sum         INTEGER NOT NULL
) STRICT;
CREATE INDEX delivery_by_digest ON delivery (digest) WHERE digest IS NOT NULL;
CREATE INDEX delivery_by_service ON delivery (service);
CREATE INDEX delivery_undecided ON delivery (service) WHERE undecided = 1;

-- There before its delivery has its place: see below.
CREATE TABLE delivery_body (
    delivery INTEGER PRIMARY KEY,
    sealed   BLOB NOT NULL
) STRICT;

-- What has come in since anything else was written: deliveries and their work, in one table without an index, so that taking them in
-- touches few pages. Whatever else writes deletes them here first, and a trigger puts them where they belong; whoever reads
-- deliveries or looks for work looks here, too. A number here is higher than any in `delivery`.
CREATE TABLE inbox (
    seq         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL,
    service     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    replay      BLOB,
    digest      BLOB,
    undecided   INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    sum         INTEGER NOT NULL,
    work        TEXT NOT NULL,
    due         INTEGER NOT NULL,
    work_doc    TEXT NOT NULL,
    work_sum    INTEGER NOT NULL
) STRICT;
CREATE VIEW intake AS SELECT *, x'' AS sealed FROM inbox;

-- Several deliveries go in by one statement, all or none. None, where anything that was stored before is in the way of one; what is
-- in the inbox itself, the writer knows. A number that is taken says that another process has written.
CREATE TRIGGER intake_take INSTEAD OF INSERT ON intake BEGIN
    SELECT RAISE(ABORT, 'in the way')
        WHERE EXISTS (SELECT 1 FROM delivery WHERE seq >= new.seq)
           OR EXISTS (SELECT 1 FROM delivery WHERE replay = new.replay)
           OR EXISTS (SELECT 1 FROM delivery WHERE digest = new.digest)
           OR EXISTS (SELECT 1 FROM delivery WHERE id = new.id);
    INSERT INTO inbox VALUES (
        new.seq, new.id, new.service, new.received_at, new.replay, new.digest, new.undecided, new.doc, new.sum,
        new.work, new.due, new.work_doc, new.work_sum);
    INSERT INTO delivery_body (delivery, sealed) VALUES (new.seq, new.sealed);
END;
CREATE TRIGGER inbox_move AFTER DELETE ON inbox BEGIN
    INSERT OR IGNORE INTO delivery (seq, id, service, received_at, replay, digest, undecided, doc, sum) VALUES (
        old.seq, old.id, old.service, old.received_at, old.replay, old.digest, old.undecided, old.doc, old.sum);
    INSERT OR REPLACE INTO work (id, due, doc, sum) VALUES (old.work, old.due, old.work_doc, old.work_sum);
END;

-- The engine.

CREATE TABLE ledger (
    service TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    sum     INTEGER NOT NULL
) STRICT;

CREATE TABLE build (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    service    TEXT NOT NULL,
    commit_id  TEXT NOT NULL,
    over       INTEGER NOT NULL,
    doc        TEXT NOT NULL,
    sum        INTEGER NOT NULL
) STRICT;
CREATE INDEX build_by_commit ON build (service, commit_id);
CREATE INDEX build_by_service ON build (service);
CREATE INDEX build_live ON build (service) WHERE over = 0;

-- What the queue decides by: small, so that looking at it reads no build.
CREATE TABLE queued (
    build TEXT PRIMARY KEY,
    doc   TEXT NOT NULL,
    sum   INTEGER NOT NULL
) STRICT;

-- A limit holds because a place of it can be taken once.
CREATE TABLE slot (
    part  TEXT NOT NULL,
    n     INTEGER NOT NULL,
    build TEXT NOT NULL,
    sum   INTEGER NOT NULL,
    PRIMARY KEY (part, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX slot_by_build ON slot (build);

CREATE TABLE release (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    service    TEXT NOT NULL,
    over       INTEGER NOT NULL,
    doc        TEXT NOT NULL,
    sum        INTEGER NOT NULL
) STRICT;
CREATE INDEX release_by_service ON release (service);
CREATE INDEX release_live ON release (service) WHERE over = 0;

CREATE TABLE lane (
    service     TEXT NOT NULL,
    environment TEXT NOT NULL,
    component   TEXT NOT NULL,
    doc         TEXT NOT NULL,
    sum         INTEGER NOT NULL,
    PRIMARY KEY (service, environment, component)
) STRICT;

CREATE TABLE ref (
    service TEXT NOT NULL,
    name    TEXT NOT NULL,
    doc     TEXT NOT NULL,
    sum     INTEGER NOT NULL,
    PRIMARY KEY (service, name)
) STRICT;

-- Work that waits (state 0), is held (1), or cannot be read (2). The columns of the lease are not part of the sum: they
-- change with every claim, and a wrong one costs a repeat at most.
CREATE TABLE work (
    seq      INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    due      INTEGER NOT NULL,
    state    INTEGER NOT NULL DEFAULT 0,
    holder   TEXT,
    until    INTEGER,
    fence    INTEGER NOT NULL DEFAULT 0,
    claims   INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    error    TEXT,
    doc      TEXT NOT NULL,
    sum      INTEGER NOT NULL
) STRICT;
CREATE INDEX work_due ON work (due) WHERE state = 0;
CREATE INDEX work_held ON work (until) WHERE state = 1;

CREATE TABLE quarantine (
    seq INTEGER PRIMARY KEY,
    id  TEXT NOT NULL,
    doc TEXT NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
