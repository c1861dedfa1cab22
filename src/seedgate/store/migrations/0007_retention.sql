-- What is kept how long: requests are wiped, tasks retire, and the books can still be proved.

-- When what is personal in the request was removed. Only of ended tasks.
ALTER TABLE task ADD COLUMN wiped_at timestamptz CHECK (wiped_at IS NULL OR state >= 10);
-- Every ended task stands in exactly one of the two, oldest first.
CREATE INDEX task_to_wipe ON task (completed_at) WHERE completed_at IS NOT NULL AND wiped_at IS NULL;
CREATE INDEX task_to_retire ON task (completed_at) WHERE wiped_at IS NOT NULL;

-- What was deleted, as sums: postings whose task is gone are proved against these. `batch` is the id of a task that was
-- deleted with it; a task is deleted once, so it names the batch.
CREATE TABLE retirement (
    batch uuid NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    mode text NOT NULL CHECK (mode IN ('live', 'test')),
    tasks integer NOT NULL CHECK (tasks > 0),
    held_micros bigint NOT NULL,
    charged_micros bigint NOT NULL CHECK (charged_micros >= 0),
    released_micros bigint NOT NULL CHECK (released_micros >= 0),
    at timestamptz NOT NULL,
    PRIMARY KEY (batch, account_id, key_id, mode),
    CHECK (charged_micros + released_micros = held_micros)
);

-- The ids of deleted tasks by account: a statement finds the postings of a task through it, as through the task before.
CREATE TABLE retired_task (
    account_id uuid NOT NULL,
    task_id uuid NOT NULL,
    PRIMARY KEY (account_id, task_id)
);

-- Remove what is personal of those of the tasks that have ended: prompt, addresses, what the caller wrote into unknown
-- parameters. The rest of the request stays, and can be read as one. Returns how many had anything to remove.
-- Lock: task; whoever changes its references or its delivery holds it too.
CREATE FUNCTION wipe_tasks(tasks uuid[]) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ids uuid[];
BEGIN
    SELECT array_agg(l.id) INTO ids
      FROM (SELECT t.id FROM task t WHERE t.id = ANY (tasks) AND t.state >= 10 AND t.wiped_at IS NULL
             ORDER BY t.id FOR UPDATE) l;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE task SET wiped_at = seedgate_now(), callback_url = NULL, changes = '[]',
           request = (request::jsonb || '{"prompt": "", "references": []}')::text
     WHERE id = ANY (ids);
    DELETE FROM reference WHERE task_id = ANY (ids);
    -- Whoever was not reached in that time is not called any more.
    UPDATE delivery SET url = '', state = CASE state WHEN 'due' THEN 'exhausted' ELSE state END
     WHERE task_id = ANY (ids);
    RETURN cardinality(ids);
END $$;

-- Delete the oldest tasks that ended longer ago than `age`, with all that belongs to them; their postings stay. Only
-- tasks that are wiped and have no picture left. Returns how many.
CREATE FUNCTION retire_tasks(age interval, most integer) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := seedgate_now();
    ids uuid[];
BEGIN
    SELECT array_agg(r.id) INTO ids
      FROM (SELECT t.id FROM task t
             WHERE t.wiped_at IS NOT NULL AND t.completed_at < at - age
               AND NOT EXISTS (SELECT 1 FROM image i WHERE i.task_id = t.id AND i.deleted_at IS NULL)
             ORDER BY t.completed_at LIMIT most FOR UPDATE OF t SKIP LOCKED) r;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO retirement (batch, account_id, key_id, mode, tasks, held_micros, charged_micros, released_micros, at)
    SELECT ids[1], t.account_id, t.key_id, t.mode, count(*), sum(t.held_micros), sum(t.charged_micros),
           sum(t.released_micros), at
      FROM task t WHERE t.id = ANY (ids) GROUP BY t.account_id, t.key_id, t.mode;
    INSERT INTO retired_task (account_id, task_id) SELECT t.account_id, t.id FROM task t WHERE t.id = ANY (ids);
    DELETE FROM slot WHERE task_id = ANY (ids);
    DELETE FROM attempt WHERE task_id = ANY (ids);
    DELETE FROM image WHERE task_id = ANY (ids);
    DELETE FROM reference WHERE task_id = ANY (ids);
    DELETE FROM event WHERE task_id = ANY (ids);
    DELETE FROM delivery WHERE task_id = ANY (ids);
    DELETE FROM task WHERE id = ANY (ids);
    RETURN cardinality(ids);
END $$;
