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
    WITH known AS MATERIALIZED (
        -- may: the place of a message that could become new.
        SELECT i.*, c.last, c.low, c.high, c.open,
            m.seq AS old_seq, m.at AS old_at, m.kind = i.kind AND m.body = i.body AS same,
            CASE WHEN m.seq IS NULL AND c.open AND (i.file IS NULL OR EXISTS (
                SELECT FROM file AS f WHERE f.id = i.file AND f.owner = i.sender AND f.complete
            )) THEN i.nth END AS may
        FROM unnest(p_conversation, p_sender, p_device, p_id, p_kind, p_body, p_file)
            WITH ORDINALITY AS i (conversation, sender, device, id, kind, body, file, nth)
        LEFT JOIN conversation AS c ON c.id = i.conversation AND i.sender IN (c.low, c.high)
        LEFT JOIN LATERAL (
            SELECT * FROM message AS m WHERE c.id IS NOT NULL
            AND m.id = i.id AND m.conversation = i.conversation AND m.sender = i.sender LIMIT 1
        ) AS m ON true
    ), ranked AS (
        -- chosen: the place of the message of this id that does become new.
        SELECT k.*, min(k.may) OVER (PARTITION BY k.conversation, k.sender, k.id) AS chosen
        FROM known AS k
    ), counted AS MATERIALIZED (
        SELECT r.*, r.last + count(*) FILTER (WHERE r.nth = r.chosen)
            OVER (PARTITION BY r.conversation ORDER BY r.nth) AS seq
        FROM ranked AS r
    ), inserted AS (
        INSERT INTO message (conversation, seq, sender, device, id, at, kind, body)
        SELECT n.conversation, n.seq, n.sender, n.device, n.id, p_at, n.kind, n.body
        FROM counted AS n WHERE n.nth = n.chosen
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
