-- T2: claim waiting slots of one lane, fairly between accounts, and renew the worker's lease in the same transaction.
-- A walk over the partial index (lane, account, task) from a cursor, k slots per account, deepening while places remain:
-- its cost follows the batch, never the queue. No row lock is ever waited for, so it cannot deadlock with an ending task.
CREATE FUNCTION claim_slots(
    lane_ text, worker_ uuid, host_ text, process_ text, want integer, cursor_ uuid, lease_s double precision)
RETURNS TABLE (task_id uuid, ordinal smallint, epoch integer, account_id uuid, first_picture smallint, pictures smallint,
               handle text, crashes smallint, request text, listing_id text, listing_version integer,
               left_s double precision, prepared boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz := seedgate_now();
    room integer; places integer := want; walk uuid := cursor_; found_account uuid; wrapped boolean := false; k integer;
    accounts uuid[] := '{}'; tasks uuid[] := '{}'; ordinals smallint[] := '{}'; more_tasks uuid[]; more_ordinals smallint[];
BEGIN
    -- An idle worker asks four times a second, and writes nothing.
    PERFORM 1 FROM slot s WHERE s.state = 1 AND s.lane = lane_ LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO worker (id, host, process, lease_until)
    VALUES (worker_, host_, process_, at + make_interval(secs => lease_s))
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until;
    SELECT l.capacity INTO room FROM lane l WHERE l.name = lane_ AND l.capacity IS NOT NULL FOR UPDATE;
    IF FOUND THEN
        places := least(places, room - (SELECT count(*) FROM slot s
                                         WHERE s.worker_id IS NOT NULL AND s.lane = lane_)::integer);
    END IF;
    WHILE places > cardinality(accounts) LOOP
        SELECT s.account_id INTO found_account FROM slot s
         WHERE s.state = 1 AND s.lane = lane_ AND s.account_id > walk ORDER BY s.account_id LIMIT 1;
        IF NOT FOUND THEN
            EXIT WHEN wrapped;
            wrapped := true;
            walk := '00000000-0000-0000-0000-000000000000';
            CONTINUE;
        END IF;
        EXIT WHEN wrapped AND found_account > cursor_;
        accounts := accounts || found_account;
        walk := found_account;
    END LOOP;
    -- First an equal share each, then whoever has more takes the places that are left.
    FOR pass IN 1 .. 2 LOOP
        EXIT WHEN cardinality(accounts) = 0 OR cardinality(tasks) >= places;
        k := CASE pass WHEN 1 THEN ceil(places::numeric / cardinality(accounts))::integer ELSE places - cardinality(tasks) END;
        SELECT array_agg(m.task_id), array_agg(m.ordinal) INTO more_tasks, more_ordinals
          FROM (SELECT w.task_id, w.ordinal FROM unnest(accounts) u (id),
                       LATERAL (SELECT s.task_id, s.ordinal FROM slot s
                                 WHERE s.state = 1 AND s.lane = lane_ AND s.account_id = u.id
                                   AND (pass = 1 OR NOT (s.task_id, s.ordinal) IN (SELECT * FROM unnest(tasks, ordinals)))
                                 ORDER BY s.task_id, s.ordinal LIMIT k FOR UPDATE SKIP LOCKED) w
                 LIMIT places - cardinality(tasks)) m;
        tasks := tasks || coalesce(more_tasks, '{}');
        ordinals := ordinals || coalesce(more_ordinals, '{}');
    END LOOP;
    IF cardinality(tasks) = 0 THEN
        RETURN;
    END IF;
    UPDATE task SET state = 1, started_at = at
     WHERE id IN (SELECT t.id FROM task t WHERE t.id = ANY (tasks) AND t.state = 0 FOR UPDATE SKIP LOCKED);
    RETURN QUERY
    UPDATE slot s SET state = 2, epoch = s.epoch + 1, worker_id = worker_
      FROM unnest(tasks, ordinals) u (task_id, ordinal), task t
     WHERE s.task_id = u.task_id AND s.ordinal = u.ordinal AND t.id = u.task_id
    RETURNING s.task_id, s.ordinal, s.epoch, s.account_id, s.first_picture, s.pictures, s.handle, s.crashes, t.request,
              t.listing_id, t.listing_version, extract(epoch FROM t.deadline_at - at)::double precision,
              EXISTS (SELECT 1 FROM reference r WHERE r.task_id = s.task_id);
END $$;

-- The intent, written before the side effect. Returns the positions whose slots are still held by this epoch.
-- Slots are locked before attempts, here and everywhere.
CREATE FUNCTION open_attempts(tasks uuid[], slots smallint[], epochs integer[], lanes text[], free boolean[])
RETURNS SETOF integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    mine integer[];
BEGIN
    SELECT array_agg(l.o) INTO mine
      FROM (SELECT u.o::integer AS o FROM unnest(tasks, slots, epochs) WITH ORDINALITY u (task_id, slot, epoch, o)
              JOIN slot s ON s.task_id = u.task_id AND s.ordinal = u.slot
             WHERE s.epoch = u.epoch AND s.state = 2 ORDER BY s.task_id, s.ordinal FOR UPDATE OF s) l;
    INSERT INTO attempt (task_id, slot, epoch, lane, rerun_is_free, started_at)
    SELECT u.task_id, u.slot, u.epoch, u.lane, u.free, seedgate_now()
      FROM unnest(tasks, slots, epochs, lanes, free) WITH ORDINALITY u (task_id, slot, epoch, lane, free, o)
     WHERE u.o = ANY (mine)
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT unnest(mine);
END $$;

-- T3: the handle, stored the moment it is known. Returns the positions that won. A handle whose slot has moved on is still
-- written to its attempt: it may be paid for.
CREATE FUNCTION record_handles(tasks uuid[], slots smallint[], epochs integer[], handles text[])
RETURNS SETOF integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    won integer[];
BEGIN
    PERFORM 1 FROM slot s WHERE s.task_id = ANY (tasks) ORDER BY s.task_id, s.ordinal FOR UPDATE;
    WITH held AS (
        UPDATE slot s SET state = 3, handle = u.handle
          FROM unnest(tasks, slots, epochs, handles) WITH ORDINALITY u (task_id, ordinal, epoch, handle, o)
         WHERE s.task_id = u.task_id AND s.ordinal = u.ordinal AND s.epoch = u.epoch AND s.state IN (2, 3)
        RETURNING u.o::integer AS o)
    SELECT array_agg(o) INTO won FROM held;
    UPDATE attempt a SET handle = u.handle, accepted_at = seedgate_now(),
           state = CASE WHEN a.state = 'intent' THEN 'accepted' ELSE a.state END
      FROM unnest(tasks, slots, epochs, handles) u (task_id, slot, epoch, handle)
     WHERE a.task_id = u.task_id AND a.slot = u.slot AND a.epoch = u.epoch AND a.handle IS NULL;
    RETURN QUERY SELECT unnest(won);
END $$;

-- A picture that was checked and stored. It counts, whoever brings it, while its task is open and its attempt was not
-- abandoned; the first one for a place wins. Returns the positions that were kept: the files of the others must go.
CREATE FUNCTION keep_images(
    tasks uuid[], ordinals smallint[], slots smallint[], epochs integer[], names text[], formats text[],
    widths integer[], heights integer[], sizes_bytes bigint[], digests bytea[])
RETURNS SETOF integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM task WHERE id = ANY (tasks) ORDER BY id FOR SHARE;
    INSERT INTO image (task_id, ordinal, slot, epoch, name, format, width, height, size_bytes, sha256, at)
    SELECT u.task_id, u.ordinal, u.slot, u.epoch, u.name, u.format, u.width, u.height, u.size_bytes, u.digest, seedgate_now()
      FROM unnest(tasks, ordinals, slots, epochs, names, formats, widths, heights, sizes_bytes, digests)
           u (task_id, ordinal, slot, epoch, name, format, width, height, size_bytes, digest)
      JOIN task t ON t.id = u.task_id
      JOIN attempt a ON a.task_id = u.task_id AND a.slot = u.slot AND a.epoch = u.epoch
     WHERE t.state < 10 AND a.state <> 'abandoned' AND u.ordinal < t.pictures
     ORDER BY u.task_id, u.ordinal  -- two workers may bring the same places, each in its own order
    ON CONFLICT DO NOTHING;
    -- Looked up instead of RETURNING, so that the call can be repeated when its answer was lost.
    RETURN QUERY
    SELECT u.o::integer FROM unnest(tasks, names) WITH ORDINALITY u (task_id, name, o)
     WHERE EXISTS (SELECT 1 FROM image i WHERE i.name = u.name AND i.task_id = u.task_id);
END $$;

-- References of a task once they are stored: writes them and unblocks the task's other slots.
CREATE FUNCTION record_references(
    task_ uuid, epoch_ integer, originals text[], contents text[], formats text[], widths integer[], heights integer[],
    sizes_bytes bigint[])
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM slot s WHERE s.task_id = task_ AND s.ordinal = 0 AND s.epoch = epoch_ AND s.state = 2 FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO reference (task_id, ordinal, original_sha256, sha256, format, width, height, size_bytes, at)
    SELECT task_, u.o - 1, u.original, u.content, u.format, u.width, u.height, u.size_bytes, seedgate_now()
      FROM unnest(originals, contents, formats, widths, heights, sizes_bytes) WITH ORDINALITY
           u (original, content, format, width, height, size_bytes, o)
    ON CONFLICT DO NOTHING;
    UPDATE slot SET state = 1 WHERE task_id = task_ AND state = 0 AND not_before IS NULL;
    PERFORM pg_notify('seedgate_slots', '');
    RETURN true;
END $$;

-- Workers -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION renew_lease(worker_ uuid, host_ text, process_ text, lease_s double precision)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO worker (id, host, process, lease_until)
    VALUES (worker_, host_, process_, seedgate_now() + make_interval(secs => lease_s))
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
$$;

-- Delayed slots whose time has come.
CREATE FUNCTION wake_delayed(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    woken integer;
BEGIN
    UPDATE slot SET state = 1, not_before = NULL WHERE (task_id, ordinal) IN (
        SELECT s.task_id, s.ordinal FROM slot s
         WHERE s.state = 0 AND s.not_before <= seedgate_now() LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS woken = ROW_COUNT;
    IF woken > 0 THEN
        PERFORM pg_notify('seedgate_slots', '');
    END IF;
    RETURN woken;
END $$;
