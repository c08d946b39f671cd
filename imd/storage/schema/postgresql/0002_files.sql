-- compatible-since: 1
-- Bytes that the store of files has.  files: rows of file that show them; at 0 the bytes are to
-- be deleted, and then the row.  Every byte in that store belongs to a row here or to an
-- incomplete row of file of the same id, so that none is ever lost sight of.
CREATE TABLE blob (
    id     bigint PRIMARY KEY,
    sha256 text   NOT NULL,
    size   bigint NOT NULL,
    files  bigint NOT NULL
);
CREATE UNIQUE INDEX blob_sha256 ON blob (sha256) WHERE files > 0;
CREATE INDEX blob_unused ON blob (id) WHERE files = 0;

-- name, mime: the owner's words; media: what the bytes are, if they may be shown in a page;
-- sent: some message carries it.
ALTER TABLE file
    ADD COLUMN name  text    NOT NULL DEFAULT '',
    ADD COLUMN mime  text    NOT NULL DEFAULT '',
    ADD COLUMN media text    NOT NULL DEFAULT '',
    ADD COLUMN sent  boolean NOT NULL DEFAULT false,
    ADD COLUMN blob  bigint  REFERENCES blob;
CREATE INDEX file_owner ON file (owner, created);
CREATE INDEX file_unsent ON file (created) WHERE NOT sent;
CREATE INDEX file_blob ON file (blob);

-- The conversations that hold a file.
CREATE TABLE attachment (
    file         bigint NOT NULL,
    conversation bigint NOT NULL,
    PRIMARY KEY (file, conversation)
);

-- The sizes of all blobs and of all incomplete files.
CREATE TABLE file_total (bytes bigint NOT NULL);
INSERT INTO file_total SELECT coalesce(sum(size), 0) FROM file WHERE NOT complete;

-- What links to files are signed with.
INSERT INTO meta (key, value) VALUES
    ('links', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));

-- Commit a batch; the outcomes are those of imd.model.Outcome, decided as imd.storage.decide does.
-- Beside the function of version 1, which nodes of that version go on calling: it knows neither
-- sessions nor which conversations hold a file, and they send no files.
CREATE FUNCTION imd_append(
    p_conversation bigint[], p_sender bigint[], p_device bigint[], p_id uuid[], p_kind text[],
    p_body bytea[], p_file bigint[], p_session bigint[], p_at bigint
) RETURNS TABLE (outcome int, seq bigint, at bigint, low bigint, high bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- A statement of its own: the next one gets a newer snapshot, and so sees what those
    -- committed that held these locks.  Nobody locks conversations in another order.
    PERFORM 1 FROM conversation AS c WHERE c.id = ANY (p_conversation)
    ORDER BY c.id FOR NO KEY UPDATE;

    -- After all conversations, so that nobody waits in a circle; who deletes files locks them too.
    IF array_length(array_remove(p_file, NULL), 1) > 0 THEN
        PERFORM 1 FROM file AS f WHERE f.id = ANY (p_file) ORDER BY f.id FOR NO KEY UPDATE;
    END IF;

    RETURN QUERY
    WITH known AS MATERIALIZED (
        -- may: the place of a message that could become new, if its session is not replaced.
        -- A newer session of the device has to be seen here if it was answered before: it was
        -- entered before it sent, and its answer held the lock that was awaited above.
        -- replaced: unknown if its device was logged out, and then it cannot become new either.
        SELECT i.*, c.last, c.low, c.high, c.open,
            m.seq AS old_seq, m.at AS old_at, m.kind = i.kind AND m.body = i.body AS same,
            CASE WHEN m.seq IS NULL AND c.open AND (i.file IS NULL OR EXISTS (
                SELECT FROM file AS f WHERE f.id = i.file AND f.owner = i.sender AND f.complete
            )) THEN i.nth END AS may,
            (SELECT d.session > i.session FROM device AS d WHERE d.id = i.device) AS replaced
        FROM unnest(p_conversation, p_sender, p_device, p_id, p_kind, p_body, p_file, p_session)
            WITH ORDINALITY AS i (conversation, sender, device, id, kind, body, file, session, nth)
        LEFT JOIN conversation AS c ON c.id = i.conversation AND i.sender IN (c.low, c.high)
        LEFT JOIN LATERAL (
            SELECT * FROM message AS m WHERE c.id IS NOT NULL
            AND m.id = i.id AND m.conversation = i.conversation AND m.sender = i.sender LIMIT 1
        ) AS m ON true
    ), ranked AS (
        -- chosen: the place of the message of this id that does become new.
        SELECT k.*, min(k.may) FILTER (WHERE NOT k.replaced)
            OVER (PARTITION BY k.conversation, k.sender, k.id) AS chosen
        FROM known AS k
    ), counted AS MATERIALIZED (
        SELECT r.*, r.last + count(*) FILTER (WHERE r.nth = r.chosen)
            OVER (PARTITION BY r.conversation ORDER BY r.nth) AS seq
        FROM ranked AS r
    ), inserted AS (
        INSERT INTO message (conversation, seq, sender, device, id, at, kind, body)
        SELECT n.conversation, n.seq, n.sender, n.device, n.id, p_at, n.kind, n.body
        FROM counted AS n WHERE n.nth = n.chosen
    ), attached AS (
        INSERT INTO attachment (file, conversation)
        SELECT DISTINCT n.file, n.conversation FROM counted AS n
        WHERE n.nth = n.chosen AND n.file IS NOT NULL ON CONFLICT DO NOTHING
    ), sent AS (
        UPDATE file AS f SET sent = true FROM counted AS n
        WHERE n.nth = n.chosen AND n.file IS NOT NULL AND f.id = n.file AND NOT f.sent
    ), head AS (
        SELECT n.conversation, max(n.seq) AS last, min(n.low) AS low, min(n.high) AS high
        FROM counted AS n WHERE n.nth = n.chosen GROUP BY n.conversation
    ), moved AS (
        UPDATE conversation AS c SET last = h.last, change = pg_current_xact_id()
        FROM head AS h WHERE c.id = h.conversation
    ), told AS (
        INSERT INTO feed (kind, conversation, last, low, high)
        SELECT 1, array_agg(h.conversation), array_agg(h.last), array_agg(h.low), array_agg(h.high)
        FROM head AS h HAVING count(*) > 0
    ), decided AS (
        SELECT n.nth, n.low, n.high, coalesce(n.old_at, p_at) AS at,
            coalesce(n.old_seq, f.seq, n.seq) AS seq,
            CASE
                WHEN n.last IS NULL THEN 4
                WHEN n.old_seq IS NOT NULL THEN CASE WHEN n.same THEN 2 ELSE 3 END
                WHEN n.nth = n.chosen THEN 1
                WHEN n.nth > n.chosen THEN
                    CASE WHEN f.kind = n.kind AND f.body = n.body THEN 2 ELSE 3 END
                WHEN n.replaced IS NULL THEN 7
                WHEN n.replaced THEN 6
                WHEN NOT n.open THEN 4
                ELSE 5
            END AS outcome
        FROM counted AS n
        -- Only for repetitions within the batch; the condition keeps it from being quadratic.
        LEFT JOIN LATERAL (
            SELECT f.seq, f.kind, f.body FROM counted AS f
            WHERE n.nth > n.chosen AND f.nth = n.chosen LIMIT 1
        ) AS f ON true
    )
    SELECT d.outcome, d.seq, d.at, d.low, d.high FROM decided AS d ORDER BY d.nth;
END $$;
