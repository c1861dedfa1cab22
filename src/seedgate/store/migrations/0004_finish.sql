-- T4: settle slots, and end every task whose slots are all settled. The only place where a task ends.
--
-- A settlement without reason brought its pictures and is taken from whoever has it; one with a reason must come from the
-- slot's present epoch, or without epoch from a decision about the whole task (deadline, cancellation).
-- Locks: task, then slot, then account. The arithmetic is `seedgate.domain.outcome.end`; a property test compares them.
-- Returns the positions whose settlement was taken; the others found their slot settled, or in other hands, and leave an
-- event unless they merely repeat what was taken before (a call whose answer was lost).
CREATE TYPE spoken AS (reason text, message text);

CREATE FUNCTION finish_slots(tasks uuid[], ordinals smallint[], epochs integer[], reasons text[], messages text[])
RETURNS SETOF integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    at timestamptz;
    won integer[];
    ended uuid[]; account_ids uuid[]; released bigint[]; held bigint[]; closed integer[];
    key_ids uuid[]; key_closed integer[];
BEGIN
    PERFORM 1 FROM task WHERE id = ANY (tasks) ORDER BY id FOR UPDATE;
    at := seedgate_now();
    PERFORM 1 FROM slot s WHERE s.task_id = ANY (tasks) ORDER BY s.task_id, s.ordinal FOR UPDATE;
    WITH settled AS (
        UPDATE slot s SET state = 10, worker_id = NULL, not_before = NULL, reason = u.reason, message = u.message
          FROM unnest(tasks, ordinals, epochs, reasons, messages) WITH ORDINALITY
               u (task_id, ordinal, epoch, reason, message, o)
          JOIN task t ON t.id = u.task_id
         WHERE s.task_id = u.task_id AND s.ordinal = u.ordinal AND s.state < 10 AND t.state < 10
           AND (u.reason IS NULL OR u.epoch IS NULL OR (s.epoch = u.epoch AND s.state IN (2, 3)))
        RETURNING u.o::integer AS o, s.task_id, s.ordinal, u.epoch, u.reason),
    attempts AS (
        -- The one that settles is done or refused, also when it was given up for lost; others still open are abandoned.
        UPDATE attempt a SET ended_at = at, reason = w.reason,
               state = CASE WHEN a.epoch IS DISTINCT FROM w.epoch THEN 'abandoned'
                            WHEN w.reason IS NULL THEN 'done' ELSE 'refused' END
          FROM settled w
         WHERE a.task_id = w.task_id AND a.slot = w.ordinal
           AND (a.ended_at IS NULL OR (a.state = 'lost' AND a.epoch = w.epoch AND w.reason IS NULL)))
    SELECT array_agg(o) INTO won FROM settled;
    -- Slots that still wait for references which their first slot failed to get will never have them.
    UPDATE slot s SET state = 10, reason = f.reason, message = f.message FROM slot f
     WHERE s.task_id = ANY (tasks) AND s.state = 0 AND s.not_before IS NULL
       AND f.task_id = s.task_id AND f.ordinal = 0 AND f.state = 10 AND f.reason IS NOT NULL;

    INSERT INTO event (task_id, kind, ordinal, at, detail)
    SELECT u.task_id, 2, u.ordinal * 1000000 + coalesce(u.epoch, 0), at, coalesce(u.reason, 'pictures')
      FROM unnest(tasks, ordinals, epochs, reasons) WITH ORDINALITY u (task_id, ordinal, epoch, reason, o)
     WHERE u.o <> ALL (coalesce(won, '{}'))
       AND NOT EXISTS (SELECT 1 FROM slot s WHERE s.task_id = u.task_id AND s.ordinal = u.ordinal AND s.epoch = u.epoch
                          AND s.state = 10 AND s.reason IS NOT DISTINCT FROM u.reason)
    ON CONFLICT DO NOTHING;
    IF won IS NULL THEN
        RETURN;
    END IF;

    SELECT array_agg(t.id ORDER BY t.id) INTO ended FROM task t
     WHERE t.id = ANY (tasks) AND t.state < 10
       AND NOT EXISTS (SELECT 1 FROM slot s WHERE s.task_id = t.id AND s.state < 10);
    IF ended IS NOT NULL THEN
        UPDATE task t SET state = CASE WHEN i.n > 0 THEN 10 WHEN f.reason = 'cancelled' THEN 12 ELSE 11 END,
               completed_at = greatest(at, t.created_at), delivered = i.n, files = i.names,
               charged_micros = i.n * t.unit_price_micros,
               released_micros = t.held_micros - i.n * t.unit_price_micros,
               reason = CASE WHEN i.n = 0 THEN coalesce(f.reason, 'internal') END,
               message = CASE WHEN i.n = 0 THEN f.message END
          FROM task e,
               LATERAL (SELECT count(*)::smallint AS n, coalesce(array_agg(m.name ORDER BY m.ordinal), '{}') AS names
                          FROM image m WHERE m.task_id = e.id) i,
               LATERAL (SELECT (SELECT (s.reason, s.message)::spoken FROM slot s
                                 WHERE s.task_id = e.id AND s.reason IS NOT NULL ORDER BY s.ordinal LIMIT 1) AS said) w,
               LATERAL (SELECT (w.said).reason, (w.said).message) f
         WHERE e.id = ANY (ended) AND t.id = e.id;

        INSERT INTO posting (subject_id, entry, side, account_id, book, mode, amount_micros, at)
        SELECT t.id, p.entry, p.side, t.account_id, p.book, t.mode,
               p.sign * CASE p.entry WHEN 2 THEN t.charged_micros ELSE t.released_micros END, at
          FROM task t, (VALUES (2, 1, 2, -1), (2, 2, 3, 1), (3, 1, 2, -1), (3, 2, 1, 1)) p (entry, side, book, sign)
         WHERE t.id = ANY (ended) AND CASE p.entry WHEN 2 THEN t.charged_micros ELSE t.released_micros END > 0;

        PERFORM 1 FROM account a WHERE a.id IN (SELECT t.account_id FROM task t WHERE t.id = ANY (ended))
          ORDER BY a.id FOR UPDATE;
        UPDATE account a SET avail_micros = a.avail_micros + s.released, held_micros = a.held_micros - s.held,
                             open_holds = a.open_holds - s.closed
          FROM (SELECT t.account_id, sum(t.released_micros)::bigint AS released, sum(t.held_micros)::bigint AS held,
                       count(*)::integer AS closed FROM task t WHERE t.id = ANY (ended) GROUP BY t.account_id) s
         WHERE a.id = s.account_id;
        UPDATE key_state k SET open_holds = k.open_holds - s.closed, spent_micros = k.spent_micros - s.released
          FROM (SELECT t.key_id, count(*)::integer AS closed, sum(t.released_micros)::bigint AS released
                  FROM task t WHERE t.id = ANY (ended) GROUP BY t.key_id) s
         WHERE k.key_id = s.key_id;

        INSERT INTO event (task_id, kind, ordinal, at) SELECT u, 1, 0, at FROM unnest(ended) u;
        INSERT INTO delivery (task_id, account_id, url, due_at)
        SELECT t.id, t.account_id, t.callback_url, at FROM task t
         WHERE t.id = ANY (ended) AND t.callback_url IS NOT NULL;
        PERFORM pg_notify('seedgate_ended', '');
    END IF;
    RETURN QUERY SELECT unnest(won);
END $$;
