-- Cancelling. What nobody works on is settled at once; what is claimed, submitted or in doubt stays with whoever has it,
-- and its worker is told to stop. From the request on, no slot of the task is waiting to be begun: what comes back to
-- the queue is settled there, in the transaction that brings it back. So claims need not look at tasks.
--
-- A waiting slot that kept its handle was submitted, and may be paid for: it is resumed all the same.
-- The rule is `seedgate.domain.slot.cancel`; a property test compares the two.
-- event.kind: 5 cancellation asked for, with whoever asked as its detail.
ALTER TABLE task ADD COLUMN cancel_requested_at timestamptz;

-- Settles what waits, of those of the tasks whose cancellation was asked for. The caller has locked the tasks and their
-- slots, in this order.
CREATE FUNCTION settle_cancelled(tasks uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    stopped uuid[]; ordinals smallint[];
BEGIN
    SELECT array_agg(s.task_id), array_agg(s.ordinal) INTO stopped, ordinals
      FROM slot s JOIN task t ON t.id = s.task_id
     WHERE s.task_id = ANY (tasks) AND t.cancel_requested_at IS NOT NULL AND s.state IN (0, 1) AND s.handle IS NULL;
    IF stopped IS NOT NULL THEN
        PERFORM finish_slots(stopped, ordinals, array_fill(NULL::integer, ARRAY[cardinality(stopped)]),
                             array_fill('cancelled'::text, ARRAY[cardinality(stopped)]),
                             array_fill(NULL::text, ARRAY[cardinality(stopped)]));
    END IF;
END $$;

-- A cancellation is asked for; of an ended task it changes nothing. `account_` and `listing_` NULL: whosever, whichever.
-- A repeated call writes nothing, but tells the workers again.
CREATE FUNCTION cancel_task(
    task_ uuid, account_ uuid, listing_ text, actor text, OUT known boolean, OUT running integer, OUT in_doubt integer)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM task t WHERE t.id = task_ AND t.account_id = coalesce(account_, t.account_id)
        AND t.listing_id = coalesce(listing_, t.listing_id) FOR UPDATE;
    known := FOUND;
    IF NOT known THEN
        RETURN;
    END IF;
    PERFORM 1 FROM slot s WHERE s.task_id = task_ ORDER BY s.ordinal FOR UPDATE;
    UPDATE task t SET cancel_requested_at = seedgate_now()
     WHERE t.id = task_ AND t.state < 10 AND t.cancel_requested_at IS NULL;
    IF FOUND THEN
        INSERT INTO event (task_id, kind, ordinal, at, detail) VALUES (task_, 5, 0, seedgate_now(), actor);
        PERFORM settle_cancelled(ARRAY[task_]);
    END IF;
    SELECT count(*) FILTER (WHERE s.state IN (0, 1, 2, 3)), count(*) FILTER (WHERE s.state = 4) INTO running, in_doubt
      FROM slot s WHERE s.task_id = task_;
    IF running > 0 THEN
        PERFORM pg_notify('seedgate_cancel', '');
    END IF;
END $$;

-- A slot back to the queue: after an engine crash under a living worker (counted), or handed back by a worker that leaves.
-- In T4's order of locks, since it may end a task. What an engine was given is not kept as a handle: nothing of it goes on.
CREATE FUNCTION return_slot(
    task_ uuid, ordinal_ smallint, epoch_ integer, crashed boolean, delay_s double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
BEGIN
    PERFORM 1 FROM task t WHERE t.id = task_ FOR UPDATE;
    at := seedgate_now();
    PERFORM 1 FROM slot s WHERE s.task_id = task_ ORDER BY s.ordinal FOR UPDATE;
    UPDATE slot s SET state = CASE WHEN delay_s > 0 THEN 0 ELSE 1 END, worker_id = NULL,
           not_before = CASE WHEN delay_s > 0 THEN at + make_interval(secs => delay_s) END,
           crashes = s.crashes + crashed::integer,
           handle = CASE WHEN crashed OR EXISTS (SELECT 1 FROM attempt a WHERE a.task_id = task_ AND a.slot = ordinal_
                                                    AND a.epoch = epoch_ AND a.rerun_is_free) THEN NULL ELSE s.handle END
     WHERE s.task_id = task_ AND s.ordinal = ordinal_ AND s.epoch = epoch_ AND s.state IN (2, 3);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE attempt a SET state = 'lost', ended_at = at, reason = CASE WHEN crashed THEN 'crashed' ELSE 'handed back' END
     WHERE a.task_id = task_ AND a.slot = ordinal_ AND a.epoch = epoch_ AND a.ended_at IS NULL;
    IF crashed THEN
        INSERT INTO event (task_id, kind, ordinal, at) VALUES (task_, 4, ordinal_ * 1000000 + epoch_, at) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM settle_cancelled(ARRAY[task_]);
    PERFORM pg_notify('seedgate_slots', '');
    RETURN true;
END $$;

-- What dead workers left goes back to the queue: at most `most` tasks of expired leases, or of the named workers, which
-- are known to be dead. A slot whose submission may have gone out, and would be paid for, is in doubt instead. Tasks that
-- somebody has in his hands are left to the next sweep; the slots of the others are waited for, as T4 waits.
CREATE FUNCTION sweep_workers(dead uuid[], most integer) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := seedgate_now();
    gone uuid[];
    tasks uuid[];
    moved integer;
BEGIN
    SELECT array_agg(w.id) INTO gone
      FROM (SELECT id FROM worker WHERE lease_until < at OR id = ANY (dead) FOR UPDATE SKIP LOCKED) w;
    IF gone IS NULL THEN
        RETURN 0;
    END IF;
    SELECT array_agg(l.id) INTO tasks
      FROM (SELECT t.id FROM task t
             WHERE t.id IN (SELECT s.task_id FROM slot s WHERE s.worker_id = ANY (gone) ORDER BY s.task_id LIMIT most)
               FOR UPDATE SKIP LOCKED) l;
    PERFORM 1 FROM slot s WHERE s.task_id = ANY (tasks) ORDER BY s.task_id, s.ordinal FOR UPDATE;
    WITH held AS (
        SELECT task_id, ordinal, epoch FROM slot WHERE task_id = ANY (tasks) AND worker_id = ANY (gone)),
    lost AS (
        UPDATE attempt a
           SET state = CASE WHEN a.state = 'intent' AND NOT a.rerun_is_free THEN 'in_doubt' ELSE 'lost' END,
               ended_at = CASE WHEN a.state = 'intent' AND NOT a.rerun_is_free THEN NULL ELSE at END
          FROM held h
         WHERE a.task_id = h.task_id AND a.slot = h.ordinal AND a.epoch = h.epoch AND a.ended_at IS NULL
        RETURNING a.task_id, a.slot, a.state, a.rerun_is_free),
    back AS (
        UPDATE slot s SET worker_id = NULL, losses = s.losses + 1,
               state = CASE l.state WHEN 'in_doubt' THEN 4 ELSE 1 END,
               handle = CASE WHEN l.rerun_is_free THEN NULL ELSE s.handle END
          FROM held h LEFT JOIN lost l ON l.task_id = h.task_id AND l.slot = h.ordinal
         WHERE s.task_id = h.task_id AND s.ordinal = h.ordinal
        RETURNING s.task_id, s.ordinal, s.epoch),
    noted AS (
        INSERT INTO event (task_id, kind, ordinal, at) SELECT task_id, 3, ordinal * 1000000 + epoch, at FROM back ON CONFLICT DO NOTHING)
    SELECT count(*) INTO moved FROM back;
    PERFORM settle_cancelled(tasks);
    DELETE FROM worker w WHERE w.id = ANY (gone) AND NOT EXISTS (SELECT 1 FROM slot s WHERE s.worker_id = w.id);
    IF moved > 0 THEN
        PERFORM pg_notify('seedgate_slots', '');
    END IF;
    RETURN moved;
END $$;
