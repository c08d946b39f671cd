-- Ids come from the application and are random; times are milliseconds since the epoch.
-- epoch: names this log; boot: mark of the last start; change: number of the last change.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;
CREATE TABLE user (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    password TEXT    NOT NULL,
    display  TEXT    NOT NULL DEFAULT '',
    disabled INTEGER NOT NULL DEFAULT 0,
    roster   INTEGER NOT NULL DEFAULT 0,
    created  INTEGER NOT NULL
);
CREATE TABLE device (
    id         INTEGER PRIMARY KEY,
    user       INTEGER NOT NULL REFERENCES user,
    label      TEXT    NOT NULL,
    token_hash BLOB    NOT NULL UNIQUE,
    session    INTEGER NOT NULL DEFAULT 0,
    created    INTEGER NOT NULL,
    seen       INTEGER NOT NULL
);
CREATE INDEX device_user ON device (user);
-- One row for each word that one user has said about another (imd.friendship).
CREATE TABLE friendship (
    user  INTEGER NOT NULL REFERENCES user,
    peer  INTEGER NOT NULL REFERENCES user,
    state TEXT    NOT NULL,
    note  TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (user, peer)
) WITHOUT ROWID;
CREATE INDEX friendship_peer ON friendship (peer, user);
CREATE TABLE conversation (
    id     INTEGER PRIMARY KEY,
    kind   TEXT    NOT NULL DEFAULT 'direct',
    low    INTEGER NOT NULL REFERENCES user,
    high   INTEGER NOT NULL REFERENCES user,
    open   INTEGER NOT NULL,
    last   INTEGER NOT NULL DEFAULT 0,
    floor  INTEGER NOT NULL DEFAULT 1,
    change INTEGER NOT NULL,
    UNIQUE (low, high)
);
CREATE TABLE member (
    conversation INTEGER NOT NULL REFERENCES conversation,
    user         INTEGER NOT NULL REFERENCES user,
    delivered    INTEGER NOT NULL DEFAULT 0,
    read         INTEGER NOT NULL DEFAULT 0,
    change       INTEGER NOT NULL,
    PRIMARY KEY (conversation, user)
) WITHOUT ROWID;
CREATE INDEX member_user ON member (user, conversation);
CREATE TABLE message (
    conversation INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    sender       INTEGER NOT NULL,
    device       INTEGER NOT NULL,
    id           BLOB    NOT NULL,
    at           INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    body         BLOB    NOT NULL,
    PRIMARY KEY (conversation, seq)
) WITHOUT ROWID;
-- The id comes first: clients make them in the order of time, so new ones lie close together.
CREATE UNIQUE INDEX message_id ON message (id, conversation, sender);
CREATE TABLE file (
    id       INTEGER PRIMARY KEY,
    owner    INTEGER NOT NULL REFERENCES user,
    size     INTEGER NOT NULL,
    sha256   TEXT    NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0,
    created  INTEGER NOT NULL
);
