-- Tables. On `task`, `slot`, `posting`, `idempotency`, `image` and `attempt` there are no foreign keys: those rows come in
-- batches, and per-row checks would double the cost of an accept; `seedgate check` proves their references instead.
-- Ids are UUIDv7 made by the client, so that range partitions by time can come without a changed statement.

-- The one clock: the server's time plus a shift that is zero outside tests.
CREATE TABLE clock (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    shift interval NOT NULL DEFAULT '0'
);
INSERT INTO clock DEFAULT VALUES;

CREATE FUNCTION seedgate_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN clock_timestamp() + (SELECT shift FROM clock);

CREATE TABLE installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL,
    secret_check bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT seedgate_now()
);

-- Money ---------------------------------------------------------------------------------------------------------------

-- A limit of 0 is no limit, here and of a key.
CREATE TABLE account (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    avail_micros bigint NOT NULL DEFAULT 0 CHECK (avail_micros >= 0),
    held_micros bigint NOT NULL DEFAULT 0 CHECK (held_micros >= 0),
    open_holds integer NOT NULL DEFAULT 0 CHECK (open_holds >= 0),
    tat_us bigint NOT NULL DEFAULT 0,
    submits_per_minute integer CHECK (submits_per_minute BETWEEN 0 AND 60000000),
    concurrent_tasks integer CHECK (concurrent_tasks >= 0),
    polls_per_minute integer CHECK (polls_per_minute >= 0),
    max_waiting integer CHECK (max_waiting >= 0),
    frozen boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT seedgate_now(),
    CHECK (held_micros = 0 OR open_holds > 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- `models` NULL is all; `manages_keys` lets a key make, rotate and revoke its account's other keys.
CREATE TABLE api_key (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES account,
    kind text NOT NULL CHECK (kind IN ('live', 'test', 'dev')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    models text[] CHECK (cardinality(models) BETWEEN 1 AND 100),
    route text NOT NULL DEFAULT 'auto' CHECK (route IN ('auto', 'value', 'official')),
    manages_keys boolean NOT NULL DEFAULT false,
    polls_per_minute integer CHECK (polls_per_minute >= 0),
    created_at timestamptz NOT NULL DEFAULT seedgate_now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX api_key_name ON api_key (account_id, name) WHERE revoked_at IS NULL;

-- What a caller sends is a secret of its key, of which only the digest is kept. A key that is rotated gets another one
-- and stays itself, with its limits, budget and idempotency; the old secret works on until `expires_at`.
CREATE TABLE key_secret (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    key_id uuid NOT NULL REFERENCES api_key,
    prefix text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT seedgate_now(),
    expires_at timestamptz
);
CREATE INDEX key_secret_by_key ON key_secret (key_id);

-- What a submit changes of a key, apart from `api_key` so that the row stays narrow and its updates stay on its page.
-- `spent_micros` is what its open tasks hold and its ended tasks were charged. A limit of NULL is the default, 0 is none;
-- a budget of NULL is none, 0 is nothing.
CREATE TABLE key_state (
    key_id uuid PRIMARY KEY REFERENCES api_key,
    account_id uuid NOT NULL REFERENCES account,
    open_holds integer NOT NULL DEFAULT 0 CHECK (open_holds >= 0),
    tat_us bigint NOT NULL DEFAULT 0,
    spent_micros bigint NOT NULL DEFAULT 0 CHECK (spent_micros >= 0),
    submits_per_minute integer CHECK (submits_per_minute BETWEEN 0 AND 60000000),
    concurrent_tasks integer CHECK (concurrent_tasks >= 0),
    budget_micros bigint CHECK (budget_micros >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- entry: 1 hold, 2 charge, 3 release, 4 grant, 5 debit. side: 1 from, 2 to. book: 1 available, 2 held, 3 revenue, 4 funding.
CREATE TABLE posting (
    subject_id uuid NOT NULL,
    entry smallint NOT NULL,
    side smallint NOT NULL,
    account_id uuid NOT NULL,
    book smallint NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    amount_micros bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (subject_id, entry, side),
    CHECK ((side = 1 AND amount_micros <= 0) OR (side = 2 AND amount_micros >= 0)),
    CHECK ((entry, side, book) IN
        ((1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 3), (3, 1, 2), (3, 2, 1), (4, 1, 4), (4, 2, 1), (5, 1, 1), (5, 2, 4)))
);

-- Grants and debits by an operator: who, why, how much. Its id is the subject of its postings.
CREATE TABLE adjustment (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES account,
    entry smallint NOT NULL CHECK (entry IN (4, 5)),
    amount_micros bigint NOT NULL CHECK (amount_micros BETWEEN 1 AND 1000000000000000),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    idempotency_key text UNIQUE,
    at timestamptz NOT NULL DEFAULT seedgate_now()
);

-- Tasks ---------------------------------------------------------------------------------------------------------------

-- `price_version` is the configuration row that the unit price comes from; 0 is the listing's own price.
-- state: 0 pending, 1 processing, 10 success, 11 failed, 12 cancelled; from 10 on nothing changes any more.
CREATE TABLE task (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    state smallint NOT NULL DEFAULT 0,
    listing_id text NOT NULL,
    listing_version integer NOT NULL,
    price_version bigint NOT NULL DEFAULT 0,
    pictures smallint NOT NULL CHECK (pictures BETWEEN 1 AND 100),
    unit_price_micros bigint NOT NULL CHECK (unit_price_micros >= 0),
    held_micros bigint NOT NULL,
    request text NOT NULL,
    changes text NOT NULL,
    callback_url text,
    created_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    started_at timestamptz,
    completed_at timestamptz,
    delivered smallint,
    charged_micros bigint,
    released_micros bigint,
    files text[],
    reason text,
    message text,
    CHECK (state IN (0, 1, 10, 11, 12)),
    CHECK (held_micros = unit_price_micros * pictures),
    CHECK ((state >= 10) = (completed_at IS NOT NULL)),
    CHECK (state < 10 OR (charged_micros IS NOT NULL AND released_micros IS NOT NULL AND delivered IS NOT NULL
        AND charged_micros + released_micros = held_micros AND charged_micros >= 0 AND released_micros >= 0
        AND charged_micros = unit_price_micros * delivered AND cardinality(files) = delivered)),
    CHECK (state >= 10 OR (charged_micros IS NULL AND released_micros IS NULL AND delivered IS NULL AND files IS NULL)),
    CHECK ((state = 10) = (delivered IS NOT NULL AND delivered > 0)),
    CHECK (state < 11 OR reason IS NOT NULL),
    CHECK (completed_at >= created_at)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX task_by_account ON task (account_id, id);
CREATE INDEX task_open_deadline ON task (deadline_at) WHERE state < 10;

-- state: 0 blocked, 1 waiting, 2 claimed, 3 submitted, 4 in doubt, 10 settled.
CREATE TABLE slot (
    task_id uuid NOT NULL,
    ordinal smallint NOT NULL,
    account_id uuid NOT NULL,
    lane text NOT NULL,
    state smallint NOT NULL,
    first_picture smallint NOT NULL,
    pictures smallint NOT NULL CHECK (pictures > 0),
    epoch integer NOT NULL DEFAULT 0,
    worker_id uuid,
    not_before timestamptz,
    handle text,
    crashes smallint NOT NULL DEFAULT 0,
    losses smallint NOT NULL DEFAULT 0,
    reason text,
    message text,
    PRIMARY KEY (task_id, ordinal),
    CHECK (state IN (0, 1, 2, 3, 4, 10)),
    CHECK ((state IN (2, 3)) = (worker_id IS NOT NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX slot_waiting ON slot (lane, account_id, task_id, ordinal) WHERE state = 1;
CREATE INDEX slot_delayed ON slot (not_before) WHERE state = 0 AND not_before IS NOT NULL;
CREATE INDEX slot_lost ON slot (losses) WHERE state = 1 AND losses >= 20;
CREATE INDEX slot_leased ON slot (worker_id) WHERE worker_id IS NOT NULL;

-- One row per attempt, written before the side effect. state: intent, accepted, done, refused, lost, in_doubt, abandoned.
CREATE TABLE attempt (
    task_id uuid NOT NULL,
    slot smallint NOT NULL,
    epoch integer NOT NULL,
    lane text NOT NULL,
    state text NOT NULL DEFAULT 'intent'
        CHECK (state IN ('intent', 'accepted', 'done', 'refused', 'lost', 'in_doubt', 'abandoned')),
    rerun_is_free boolean NOT NULL,
    handle text,
    reason text,
    cost_micros bigint NOT NULL DEFAULT 0 CHECK (cost_micros >= 0),
    started_at timestamptz NOT NULL,
    accepted_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (task_id, slot, epoch),
    CHECK ((state IN ('intent', 'accepted', 'in_doubt')) = (ended_at IS NULL)),
    CHECK (state <> 'accepted' OR handle IS NOT NULL)
);

-- A picture as it arrives: checked, stored, and from this row on it counts.
CREATE TABLE image (
    task_id uuid NOT NULL,
    ordinal smallint NOT NULL CHECK (ordinal >= 0),
    slot smallint NOT NULL,
    epoch integer NOT NULL,
    name text NOT NULL UNIQUE CHECK (name ~ '^[0-9A-Za-z]{22}\.(jpg|png|webp)$'),
    format text NOT NULL CHECK (format IN ('jpeg', 'png', 'webp')),
    width integer NOT NULL CHECK (width > 0),
    height integer NOT NULL CHECK (height > 0),
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    at timestamptz NOT NULL,
    deleted_at timestamptz,
    PRIMARY KEY (task_id, ordinal)
);
CREATE INDEX image_live ON image (at) WHERE deleted_at IS NULL;

-- A task's references once fetched and cleaned; the files are stored by their SHA-256.
CREATE TABLE reference (
    task_id uuid NOT NULL,
    ordinal smallint NOT NULL,
    original_sha256 text NOT NULL,
    sha256 text NOT NULL,
    format text NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    size_bytes bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (task_id, ordinal)
);
CREATE INDEX reference_by_content ON reference (sha256);

-- What happened to a task besides what its rows say. kind: 1 finished, 2 late outcome, 3 lost with its worker, 4 crashed.
CREATE TABLE event (
    task_id uuid NOT NULL,
    kind smallint NOT NULL,
    ordinal integer NOT NULL,
    at timestamptz NOT NULL,
    detail text NOT NULL DEFAULT '',
    PRIMARY KEY (task_id, kind, ordinal)
);

-- The outbox: one row per task that wants a callback, written with its end.
CREATE TABLE delivery (
    task_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    url text NOT NULL,
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'delivered', 'exhausted', 'held')),
    attempts smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL
);
CREATE INDEX delivery_due ON delivery (due_at) WHERE state = 'due';

-- `key` is what was asked for (dialect and listing), a line feed, and the caller's Idempotency-Key; or, for a submit
-- without one, a tab and the fingerprint, so that a caller which says it retries is recognised.
CREATE TABLE idempotency (
    key_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    task_id uuid NOT NULL,
    answer bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (key_id, key)
);
CREATE INDEX idempotency_by_age ON idempotency USING brin (at);

-- Workers and lanes ---------------------------------------------------------------------------------------------------

-- A slot is leased to a worker, and the lease is the worker's: one row to keep alive, however many slots it holds.
CREATE TABLE worker (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    process text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT seedgate_now(),
    lease_until timestamptz NOT NULL
);

-- `capacity` bounds what a lane does at once over all processes; lanes without a row, or with NULL, are bounded by their
-- workers alone. Beyond `max_waiting` slots nothing more is accepted for it.
CREATE TABLE lane (
    name text PRIMARY KEY,
    capacity integer CHECK (capacity >= 0),
    max_waiting integer CHECK (max_waiting >= 0)
);
