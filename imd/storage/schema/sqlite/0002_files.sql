-- Bytes that the store of files has.  files: rows of file that show them; at 0 the bytes are to
-- be deleted, and then the row.  Every byte in that store belongs to a row here or to an
-- incomplete row of file of the same id, so that none is ever lost sight of.
CREATE TABLE blob (
    id     INTEGER PRIMARY KEY,
    sha256 TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    files  INTEGER NOT NULL
);
CREATE UNIQUE INDEX blob_sha256 ON blob (sha256) WHERE files > 0;
CREATE INDEX blob_unused ON blob (id) WHERE files = 0;
-- name, mime: the owner's words; media: what the bytes are, if they may be shown in a page;
-- sent: some message carries it.
ALTER TABLE file ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE file ADD COLUMN mime TEXT NOT NULL DEFAULT '';
ALTER TABLE file ADD COLUMN media TEXT NOT NULL DEFAULT '';
ALTER TABLE file ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE file ADD COLUMN blob INTEGER REFERENCES blob;
CREATE INDEX file_owner ON file (owner, created);
CREATE INDEX file_unsent ON file (created) WHERE NOT sent;
CREATE INDEX file_blob ON file (blob);
-- The conversations that hold a file.
CREATE TABLE attachment (
    file         INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    PRIMARY KEY (file, conversation)
) WITHOUT ROWID;
-- The sizes of all blobs and of all incomplete files.
CREATE TABLE file_total (bytes INTEGER NOT NULL);
INSERT INTO file_total SELECT coalesce(sum(size), 0) FROM file WHERE NOT complete;
-- What links to files are signed with.
INSERT INTO meta (key, value) VALUES ('links', lower(hex(randomblob(32))));
