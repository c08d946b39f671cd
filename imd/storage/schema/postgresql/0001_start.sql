-- Tables and columns are those of the embedded schema, with one exception: "user" is a reserved
-- word of PostgreSQL, so the table is called account, and so are the columns that name one.
-- Ids come from the application and are random; times are milliseconds since the epoch.
--
-- change is the transaction that touched a row last.  It is in no index on purpose: an update of
-- nothing but counters then stays on its page (HOT), for which the fillfactor leaves room.

-- schema: version of these tables; salt: part of the epoch, to be changed when a backup was
-- restored; feed: rows of feed below this transaction may be gone.
CREATE TABLE meta (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO meta (key, value) VALUES
    ('salt', substr(replace(gen_random_uuid()::text, '-', ''), 1, 12)),
    ('feed', '0');

CREATE TABLE account (
    id       bigint PRIMARY KEY,
    name     text    COLLATE "C" NOT NULL UNIQUE,
    password text    NOT NULL,
    display  text    NOT NULL DEFAULT '',
    disabled boolean NOT NULL DEFAULT false,
    roster   bigint  NOT NULL DEFAULT 0,
    created  bigint  NOT NULL
) WITH (fillfactor = 90);

CREATE TABLE device (
    id         bigint PRIMARY KEY,
    account    bigint NOT NULL REFERENCES account,
    label      text   NOT NULL,
    token_hash bytea  NOT NULL UNIQUE,
    session    bigint NOT NULL DEFAULT 0,
    created    bigint NOT NULL,
    seen       bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX device_account ON device (account);

-- One row for each word that one user has said about another (imd.friendship).
CREATE TABLE friendship (
    account bigint NOT NULL REFERENCES account,
    peer    bigint NOT NULL REFERENCES account,
    state   text   NOT NULL,
    note    text   NOT NULL DEFAULT '',
    PRIMARY KEY (account, peer)
);
CREATE INDEX friendship_peer ON friendship (peer, account);

CREATE TABLE conversation (
    id     bigint PRIMARY KEY,
    kind   text    NOT NULL DEFAULT 'direct',
    low    bigint  NOT NULL REFERENCES account,
    high   bigint  NOT NULL REFERENCES account,
    open   boolean NOT NULL,
    last   bigint  NOT NULL DEFAULT 0,
    floor  bigint  NOT NULL DEFAULT 1,
    change xid8    NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (low, high)
) WITH (fillfactor = 70);

CREATE TABLE member (
    conversation bigint NOT NULL REFERENCES conversation,
    account      bigint NOT NULL REFERENCES account,
    delivered    bigint NOT NULL DEFAULT 0,
    read         bigint NOT NULL DEFAULT 0,
    change       xid8   NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (conversation, account)
) WITH (fillfactor = 70);
CREATE INDEX member_account ON member (account, conversation);

CREATE TABLE message (
    conversation bigint NOT NULL,
    seq          bigint NOT NULL,
    sender       bigint NOT NULL,
    device       bigint NOT NULL,
    id           uuid   NOT NULL,
    at           bigint NOT NULL,
    kind         text   NOT NULL,
    body         bytea  NOT NULL,
    PRIMARY KEY (conversation, seq)
);
-- The id comes first: clients make them in the order of time, so new ones lie close together.
CREATE UNIQUE INDEX message_id ON message (id, conversation, sender);

CREATE TABLE file (
    id       bigint PRIMARY KEY,
    owner    bigint  NOT NULL REFERENCES account,
    size     bigint  NOT NULL,
    sha256   text    NOT NULL,
    complete boolean NOT NULL DEFAULT false,
    created  bigint  NOT NULL
);

-- What other nodes have to hear of, one row a transaction and kind, for ten minutes.
-- kind 1, heads: conversation, last, low, high; 2, cursors: conversation, account, delivered,
-- read, low, high; 3, users whose friends, devices or account changed: account.
CREATE TABLE feed (
    change       xid8        NOT NULL DEFAULT pg_current_xact_id(),
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind         smallint    NOT NULL,
    conversation bigint[]    NOT NULL DEFAULT '{}',
    account      bigint[]    NOT NULL DEFAULT '{}',
    last         bigint[]    NOT NULL DEFAULT '{}',
    low          bigint[]    NOT NULL DEFAULT '{}',
    high         bigint[]    NOT NULL DEFAULT '{}',
    delivered    bigint[]    NOT NULL DEFAULT '{}',
    read         bigint[]    NOT NULL DEFAULT '{}'
);
CREATE INDEX feed_change ON feed (change);

-- The name of this log: the cluster, its timeline (a promotion begins a new one) and the salt.
-- Fails on a standby, whose log may end before what was acknowledged.
CREATE FUNCTION imd_epoch() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_hex(s.system_identifier) || '-'
        || ltrim(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), '0') || '-' || m.value
    FROM pg_control_system() AS s, meta AS m WHERE m.key = 'salt'
$$;

-- Commit a batch; the outcomes are those of imd.model.Outcome, decided as imd.storage.decide does.
CREATE FUNCTION imd_append(
    p_conversation bigint[], p_sender bigint[], p_device bigint[], p_id uuid[], p_kind text[],
    p_body bytea[], p_file bigint[], p_at bigint
) RETURNS TABLE (outcome int, seq bigint, at bigint, low bigint, high bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- A statement of its own: the next one gets a newer snapshot, and so sees what those
    -- committed that held these locks.  Nobody locks conversations in another order.
    PERFORM 1 FROM conversation AS c WHERE c.id = ANY (p_conversation)
    ORDER BY c.id FOR NO KEY UPDATE;

    RETURN QUERY
    WITH item AS MATERIALIZED (
        SELECT * FROM unnest(p_conversation, p_sender, p_device, p_id, p_kind, p_body, p_file)
        WITH ORDINALITY AS u (conversation, sender, device, id, kind, body, file, nth)
    ), known AS MATERIALIZED (
        SELECT i.*, c.last, c.low, c.high, c.open,
            m.seq AS old_seq, m.at AS old_at, m.kind = i.kind AND m.body = i.body AS same,
            i.file IS NULL OR EXISTS (
                SELECT FROM file AS f WHERE f.id = i.file AND f.owner = i.sender AND f.complete
            ) AS has_file
        FROM item AS i
        JOIN conversation AS c ON c.id = i.conversation AND i.sender IN (c.low, c.high)
        LEFT JOIN LATERAL (
            SELECT * FROM message AS m
            WHERE m.id = i.id AND m.conversation = i.conversation AND m.sender = i.sender LIMIT 1
        ) AS m ON true
    ), fresh AS MATERIALIZED (
        SELECT f.*, f.last + row_number() OVER (PARTITION BY f.conversation ORDER BY f.nth) AS seq
        FROM (
            SELECT k.*, row_number() OVER (
                PARTITION BY k.conversation, k.sender, k.id ORDER BY k.nth) AS repeat
            FROM known AS k WHERE k.old_seq IS NULL AND k.open AND k.has_file
        ) AS f WHERE f.repeat = 1
    ), inserted AS (
        INSERT INTO message (conversation, seq, sender, device, id, at, kind, body)
        SELECT f.conversation, f.seq, f.sender, f.device, f.id, p_at, f.kind, f.body
        FROM fresh AS f
    ), head AS (
        SELECT f.conversation, max(f.seq) AS last, min(f.low) AS low, min(f.high) AS high
        FROM fresh AS f GROUP BY f.conversation
    ), counted AS (
        UPDATE conversation AS c SET last = h.last, change = pg_current_xact_id()
        FROM head AS h WHERE c.id = h.conversation
    ), told AS (
        INSERT INTO feed (kind, conversation, last, low, high)
        SELECT 1, array_agg(h.conversation), array_agg(h.last), array_agg(h.low), array_agg(h.high)
        FROM head AS h HAVING count(*) > 0
    ), decided AS (
        SELECT i.nth, k.low, k.high, coalesce(k.old_seq, f.seq) AS seq,
            coalesce(k.old_at, p_at) AS at,
            CASE
                WHEN k.nth IS NULL THEN 4
                WHEN k.old_seq IS NOT NULL THEN CASE WHEN k.same THEN 2 ELSE 3 END
                WHEN f.nth = k.nth THEN 1
                WHEN f.nth < k.nth THEN
                    CASE WHEN f.kind = k.kind AND f.body = k.body THEN 2 ELSE 3 END
                WHEN NOT k.open THEN 4
                ELSE 5
            END AS outcome
        FROM item AS i
        LEFT JOIN known AS k ON k.nth = i.nth
        LEFT JOIN fresh AS f
            ON f.conversation = k.conversation AND f.sender = k.sender AND f.id = k.id
    )
    SELECT d.outcome, d.seq, d.at, d.low, d.high FROM decided AS d ORDER BY d.nth;
END $$;
