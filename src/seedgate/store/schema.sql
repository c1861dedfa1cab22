-- Generated from the migrations by tools/dump_schema.py; read it, change a migration.

CREATE TYPE public.spoken AS (
	reason text,
	message text
);

CREATE FUNCTION public.accept_tasks(accounts uuid[], keys uuid[], offer_listings text[], offer_versions integer[], offer_prices bigint[], offer_price_versions bigint[], offer_lanes text[], deadline_s integer, default_rate integer, default_tasks integer, acc integer[], key_ integer[], offer integer[], idem text[], memories smallint[], fingerprints bytea[], dup integer[], ids uuid[], pictures smallint[], slots smallint[], blocked boolean[], requests text[], changes text[], callbacks text[], answers bytea[], wake boolean, OUT codes integer[], OUT owners integer[], OUT waits_us bigint[], OUT hit_at integer[], OUT hit_answers bytea[], OUT rooms integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
    moment timestamptz;
    now_us bigint;
    avail bigint[]; acc_open integer[]; acc_limit integer[]; acc_rate integer[]; acc_tat bigint[]; modes text[]; stopped boolean[];
    key_open integer[]; key_limit integer[]; rate integer[]; tat bigint[]; budget bigint[];
    spent bigint[]; acc_new integer[]; key_spent bigint[]; key_new integer[];
    hit_fingerprints bytea[]; hit_index integer[]; last integer[]; spoilt boolean[];
    a integer; k integer; o integer; h integer; amount bigint; acc_earned bigint; earned bigint; excess bigint;
BEGIN
    -- The account's lock serialises everything of the account: money, limits, idempotency. Ascending order, so no deadlock.
    SELECT array_agg(s.avail_micros ORDER BY s.id), array_agg(s.open_holds ORDER BY s.id),
           array_agg(nullif(s.concurrent_tasks, 0) ORDER BY s.id), array_agg(nullif(s.submits_per_minute, 0) ORDER BY s.id),
           array_agg(s.tat_us ORDER BY s.id), array_agg(s.mode ORDER BY s.id), array_agg(s.frozen ORDER BY s.id)
      INTO avail, acc_open, acc_limit, acc_rate, acc_tat, modes, stopped
      FROM (SELECT id, avail_micros, open_holds, concurrent_tasks, submits_per_minute, tat_us, mode, frozen FROM account
             WHERE id = ANY (accounts) ORDER BY id FOR UPDATE) s;
    -- Statements of their own, so that each sees what was committed while the lock was awaited.
    SELECT array_agg(s.open_holds ORDER BY s.key_id),
           array_agg(nullif(coalesce(s.concurrent_tasks, default_tasks), 0) ORDER BY s.key_id),
           array_agg(nullif(coalesce(s.submits_per_minute, default_rate), 0) ORDER BY s.key_id),
           array_agg(s.tat_us ORDER BY s.key_id), array_agg(s.budget_micros - s.spent_micros ORDER BY s.key_id)
      INTO key_open, key_limit, rate, tat, budget
      FROM key_state s WHERE s.key_id = ANY (keys);
    IF cardinality(avail) IS DISTINCT FROM cardinality(accounts) OR cardinality(tat) IS DISTINCT FROM cardinality(keys) THEN
        RAISE EXCEPTION 'an account or key of the batch does not exist' USING ERRCODE = 'foreign_key_violation';
    END IF;
    moment := seedgate_now();
    SELECT array_agg(u.o::integer), array_agg(m.fingerprint), array_agg(m.answer)
      INTO hit_at, hit_fingerprints, hit_answers
      FROM unnest(key_, idem, memories) WITH ORDINALITY u (k, i, m, o),
           LATERAL (SELECT d.fingerprint, d.answer FROM idempotency d
                     WHERE d.key_id = keys[u.k] AND d.key = u.i
                       AND (u.m = 0 OR d.at > moment - interval '15 minutes') LIMIT 1) m
     WHERE u.i IS NOT NULL AND u.m <> 1;
    hit_index := array_fill(NULL::integer, ARRAY[cardinality(ids)]);
    FOR h IN 1 .. coalesce(cardinality(hit_at), 0) LOOP
        hit_index[hit_at[h]] := h;
    END LOOP;

    now_us := (extract(epoch FROM moment) * 1000000)::bigint;
    codes := array_fill(0, ARRAY[cardinality(ids)]);
    owners := array_fill(NULL::integer, ARRAY[cardinality(ids)]);
    spoilt := array_fill(NULL::boolean, ARRAY[cardinality(ids)]);
    last := owners;  -- the newest submit of the batch, up to each, that was accepted with the same idempotency key
    waits_us := array_fill(0::bigint, ARRAY[cardinality(ids)]);
    spent := array_fill(0::bigint, ARRAY[cardinality(accounts)]);
    acc_new := array_fill(0, ARRAY[cardinality(accounts)]);
    key_spent := array_fill(0::bigint, ARRAY[cardinality(keys)]);
    key_new := array_fill(0, ARRAY[cardinality(keys)]);

    FOR i IN 1 .. cardinality(ids) LOOP
        a := acc[i]; k := key_[i];
        o := last[dup[i]];
        IF memories[i] <> 1 THEN
            last[i] := o;
            IF o IS NOT NULL THEN
                owners[i] := o;
                codes[i] := CASE WHEN fingerprints[o] = fingerprints[i] THEN 1 ELSE 2 END;
                CONTINUE;
            END IF;
            h := hit_index[i];
            -- A submit of this batch that was asked for anew and refused has made what is stored useless to a retry.
            IF h IS NOT NULL AND NOT coalesce(spoilt[dup[i]], false) THEN
                codes[i] := CASE WHEN hit_fingerprints[h] = fingerprints[i] THEN 1 ELSE 2 END;
                CONTINUE;
            END IF;
        END IF;
        spoilt[i] := memories[i] = 1 OR coalesce(spoilt[dup[i]], false);
        IF stopped[a] THEN
            codes[i] := 3;
            CONTINUE;
        END IF;
        IF acc_open[a] + acc_new[a] >= acc_limit[a] OR key_open[k] + key_new[k] >= key_limit[k] THEN
            codes[i] := 5;
        ELSE
            amount := offer_prices[offer[i]] * pictures[i];
            IF avail[a] - spent[a] < amount THEN
                codes[i] := 6;
                CONTINUE;
            END IF;
            IF budget[k] - key_spent[k] < amount THEN
                codes[i] := 7;
                CONTINUE;
            END IF;
            IF rate[k] IS NOT NULL OR acc_rate[a] IS NOT NULL THEN
                acc_earned := greatest(least(acc_tat[a], now_us + 60000000), now_us) + 60000000 / acc_rate[a];
                earned := greatest(least(tat[k], now_us + 60000000), now_us) + 60000000 / rate[k];
                excess := greatest(acc_earned - now_us - 60000000 / acc_rate[a] * acc_rate[a],
                                   earned - now_us - 60000000 / rate[k] * rate[k]);
                IF excess > 0 THEN
                    codes[i] := 4;
                    waits_us[i] := excess;
                ELSE
                    acc_tat[a] := coalesce(acc_earned, acc_tat[a]);
                    tat[k] := coalesce(earned, tat[k]);
                END IF;
            END IF;
        END IF;
        IF codes[i] <> 0 THEN
            rooms := rooms || seedgate_room(i, now_us, acc_rate[a], acc_tat[a], rate[k], tat[k],
                acc_limit[a], acc_open[a] + acc_new[a], key_limit[k], key_open[k] + key_new[k]);
            CONTINUE;
        END IF;
        spent[a] := spent[a] + amount;
        acc_new[a] := acc_new[a] + 1;
        key_spent[k] := key_spent[k] + amount;
        key_new[k] := key_new[k] + 1;
        owners[i] := i;
        last[i] := i;
        spoilt[i] := false;
    END LOOP;

    INSERT INTO task (id, account_id, key_id, mode, listing_id, listing_version, price_version, pictures, unit_price_micros,
                      held_micros, request, changes, callback_url, created_at, deadline_at)
    SELECT u.id, accounts[u.a], keys[u.k], modes[u.a], offer_listings[u.f], offer_versions[u.f], offer_price_versions[u.f], u.n,
           offer_prices[u.f], offer_prices[u.f] * u.n, u.request, u.change, u.callback, moment, moment + make_interval(secs => deadline_s)
      FROM unnest(ids, acc, key_, offer, pictures, requests, changes, callbacks)
           WITH ORDINALITY u (id, a, k, f, n, request, change, callback, o)
     WHERE codes[u.o] = 0;
    -- Only the first slot of a task with references may start: it fetches them and unblocks the others.
    INSERT INTO slot (task_id, ordinal, account_id, lane, state, first_picture, pictures)
    SELECT u.id, s.i, accounts[u.a], offer_lanes[u.f], CASE WHEN u.blocked AND s.i > 0 THEN 0 ELSE 1 END, s.i, u.n / u.slots
      FROM unnest(ids, acc, offer, pictures, slots, blocked) WITH ORDINALITY u (id, a, f, n, slots, blocked, o),
           LATERAL generate_series(0, u.slots - 1) s (i)
     WHERE codes[u.o] = 0;
    INSERT INTO posting (subject_id, entry, side, account_id, book, mode, amount_micros, at)
    SELECT u.id, 1, s.side, accounts[u.a], s.side, modes[u.a], offer_prices[u.f] * u.n * CASE s.side WHEN 1 THEN -1 ELSE 1 END, moment
      FROM unnest(ids, acc, offer, pictures) WITH ORDINALITY u (id, a, f, n, o), (VALUES (1), (2)) s (side)
     WHERE codes[u.o] = 0;
    INSERT INTO idempotency (key_id, key, fingerprint, task_id, answer, at)
    SELECT keys[u.k], u.i, u.fingerprint, u.id, u.answer, moment
      FROM unnest(ids, key_, idem, memories, fingerprints, answers) WITH ORDINALITY u (id, k, i, m, fingerprint, answer, o)
     WHERE codes[u.o] = 0 AND u.i IS NOT NULL AND u.m = 0;
    IF 0 < ANY (memories) THEN
        INSERT INTO idempotency (key_id, key, fingerprint, task_id, answer, at)
        SELECT DISTINCT ON (u.k, u.i) keys[u.k], u.i, u.fingerprint, u.id, u.answer, moment
          FROM unnest(ids, key_, idem, memories, fingerprints, answers) WITH ORDINALITY u (id, k, i, m, fingerprint, answer, o)
         WHERE codes[u.o] = 0 AND u.i IS NOT NULL AND u.m > 0 ORDER BY u.k, u.i, u.o DESC
            ON CONFLICT (key_id, key) DO UPDATE
           SET fingerprint = excluded.fingerprint, task_id = excluded.task_id, answer = excluded.answer, at = excluded.at;
    END IF;
    -- What was asked for anew and refused has no answer: a retry of it must not be given an earlier one's.
    IF 2 < ANY (codes) AND 1 = ANY (memories) THEN
        UPDATE idempotency d SET at = 'epoch'
          FROM (SELECT DISTINCT ON (u.k, u.i) keys[u.k] AS key_id, u.i AS key, codes[u.o] AS code
                  FROM unnest(key_, idem, memories) WITH ORDINALITY u (k, i, m, o)
                 WHERE u.i IS NOT NULL AND (codes[u.o] = 0 AND u.m > 0 OR codes[u.o] > 2 AND u.m = 1)
                 ORDER BY u.k, u.i, u.o DESC) s
         WHERE s.code > 2 AND d.key_id = s.key_id AND d.key = s.key;
    END IF;
    UPDATE account SET avail_micros = avail_micros - spent[array_position(accounts, id)],
                       held_micros = held_micros + spent[array_position(accounts, id)],
                       open_holds = open_holds + acc_new[array_position(accounts, id)],
                       tat_us = acc_tat[array_position(accounts, id)]
     WHERE id = ANY (accounts) AND acc_new[array_position(accounts, id)] > 0;
    UPDATE key_state SET open_holds = open_holds + key_new[array_position(keys, key_id)],
                         spent_micros = spent_micros + key_spent[array_position(keys, key_id)],
                         tat_us = tat[array_position(keys, key_id)]
     WHERE key_id = ANY (keys) AND key_new[array_position(keys, key_id)] > 0;
    IF wake AND 0 = ANY (codes) THEN
        PERFORM pg_notify('seedgate_slots', '');
    END IF;
END $$;

CREATE FUNCTION public.cancel_task(task_ uuid, account_ uuid, listing_ text, actor text, OUT known boolean, OUT running integer, OUT in_doubt integer) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.claim_slots(lane_ text, worker_ uuid, host_ text, process_ text, want integer, cursor_ uuid, lease_s double precision) RETURNS TABLE(task_id uuid, ordinal smallint, epoch integer, account_id uuid, first_picture smallint, pictures smallint, handle text, crashes smallint, request text, listing_id text, listing_version integer, left_s double precision, prepared boolean)
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.finish_slots(tasks uuid[], ordinals smallint[], epochs integer[], reasons text[], messages text[]) RETURNS SETOF integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.keep_images(tasks uuid[], ordinals smallint[], slots smallint[], epochs integer[], names text[], formats text[], widths integer[], heights integer[], sizes_bytes bigint[], digests bytea[]) RETURNS SETOF integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.open_attempts(tasks uuid[], slots smallint[], epochs integer[], lanes text[], free boolean[]) RETURNS SETOF integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.record_handles(tasks uuid[], slots smallint[], epochs integer[], handles text[]) RETURNS SETOF integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.record_references(task_ uuid, epoch_ integer, originals text[], contents text[], formats text[], widths integer[], heights integer[], sizes_bytes bigint[]) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is a history; rows are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION public.renew_lease(worker_ uuid, host_ text, process_ text, lease_s double precision) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO worker (id, host, process, lease_until)
    VALUES (worker_, host_, process_, seedgate_now() + make_interval(secs => lease_s))
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
$$;

CREATE FUNCTION public.retire_tasks(age interval, most integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.return_slot(task_ uuid, ordinal_ smallint, epoch_ integer, crashed boolean, delay_s double precision) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
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

CREATE TABLE public.clock (
    singleton boolean DEFAULT true NOT NULL,
    shift interval DEFAULT '00:00:00'::interval NOT NULL,
    CONSTRAINT clock_singleton_check CHECK (singleton)
);

CREATE FUNCTION public.seedgate_now() RETURNS timestamp with time zone
    LANGUAGE sql PARALLEL SAFE
    RETURN (clock_timestamp() + (SELECT clock.shift FROM public.clock));

CREATE FUNCTION public.seedgate_room(position_ integer, now_us bigint, acc_rate integer, acc_tat bigint, key_rate integer, key_tat bigint, acc_limit integer, acc_open integer, key_limit integer, key_open integer) RETURNS integer[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT ARRAY[position_, r.most, r.remaining, t.most, t.remaining]
      FROM (SELECT 1) one
      LEFT JOIN LATERAL (
          SELECT u.most, greatest(0, (now_us + u.pause * u.most - greatest(least(u.tat, now_us + 60000000), now_us)) / u.pause)::integer AS remaining
            FROM (VALUES (acc_rate, acc_tat, 60000000 / acc_rate), (key_rate, key_tat, 60000000 / key_rate)) u (most, tat, pause)
           WHERE u.most IS NOT NULL ORDER BY remaining, u.most LIMIT 1) r ON true
      LEFT JOIN LATERAL (
          SELECT u.most, greatest(0, u.most - u.taken) AS remaining
            FROM (VALUES (acc_limit, acc_open), (key_limit, key_open)) u (most, taken)
           WHERE u.most IS NOT NULL ORDER BY remaining, u.most LIMIT 1) t ON true
$$;

CREATE FUNCTION public.settle_cancelled(tasks uuid[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.sweep_workers(dead uuid[], most integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.wake_delayed(most integer) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.wipe_tasks(tasks uuid[]) RETURNS integer
    LANGUAGE plpgsql
    AS $$
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

CREATE TABLE public.account (
    id uuid NOT NULL,
    name text NOT NULL,
    mode text NOT NULL,
    avail_micros bigint DEFAULT 0 NOT NULL,
    held_micros bigint DEFAULT 0 NOT NULL,
    open_holds integer DEFAULT 0 NOT NULL,
    tat_us bigint DEFAULT 0 NOT NULL,
    submits_per_minute integer,
    concurrent_tasks integer,
    polls_per_minute integer,
    max_waiting integer,
    frozen boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    CONSTRAINT account_avail_micros_check CHECK ((avail_micros >= 0)),
    CONSTRAINT account_check CHECK (((held_micros = 0) OR (open_holds > 0))),
    CONSTRAINT account_concurrent_tasks_check CHECK ((concurrent_tasks >= 0)),
    CONSTRAINT account_held_micros_check CHECK ((held_micros >= 0)),
    CONSTRAINT account_max_waiting_check CHECK ((max_waiting >= 0)),
    CONSTRAINT account_mode_check CHECK ((mode = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT account_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT account_open_holds_check CHECK ((open_holds >= 0)),
    CONSTRAINT account_polls_per_minute_check CHECK ((polls_per_minute >= 0)),
    CONSTRAINT account_submits_per_minute_check CHECK (((submits_per_minute >= 0) AND (submits_per_minute <= 60000000)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.adjustment (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    entry smallint NOT NULL,
    amount_micros bigint NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    idempotency_key text,
    at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    CONSTRAINT adjustment_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT adjustment_amount_micros_check CHECK (((amount_micros >= 1) AND (amount_micros <= '1000000000000000'::bigint))),
    CONSTRAINT adjustment_entry_check CHECK ((entry = ANY (ARRAY[4, 5]))),
    CONSTRAINT adjustment_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 1000)))
);

CREATE TABLE public.api_key (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    models text[],
    route text DEFAULT 'auto'::text NOT NULL,
    manages_keys boolean DEFAULT false NOT NULL,
    polls_per_minute integer,
    created_at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT api_key_kind_check CHECK ((kind = ANY (ARRAY['live'::text, 'test'::text, 'dev'::text]))),
    CONSTRAINT api_key_models_check CHECK (((cardinality(models) >= 1) AND (cardinality(models) <= 100))),
    CONSTRAINT api_key_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT api_key_polls_per_minute_check CHECK ((polls_per_minute >= 0)),
    CONSTRAINT api_key_route_check CHECK ((route = ANY (ARRAY['auto'::text, 'value'::text, 'official'::text])))
);

CREATE TABLE public.attempt (
    task_id uuid NOT NULL,
    slot smallint NOT NULL,
    epoch integer NOT NULL,
    lane text NOT NULL,
    state text DEFAULT 'intent'::text NOT NULL,
    rerun_is_free boolean NOT NULL,
    handle text,
    reason text,
    cost_micros bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone NOT NULL,
    accepted_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT attempt_check CHECK (((state = ANY (ARRAY['intent'::text, 'accepted'::text, 'in_doubt'::text])) = (ended_at IS NULL))),
    CONSTRAINT attempt_check1 CHECK (((state <> 'accepted'::text) OR (handle IS NOT NULL))),
    CONSTRAINT attempt_cost_micros_check CHECK ((cost_micros >= 0)),
    CONSTRAINT attempt_state_check CHECK ((state = ANY (ARRAY['intent'::text, 'accepted'::text, 'done'::text, 'refused'::text, 'lost'::text, 'in_doubt'::text, 'abandoned'::text])))
);

CREATE TABLE public.configuration (
    version bigint NOT NULL,
    name text NOT NULL,
    value text,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    CONSTRAINT configuration_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT configuration_name_check CHECK (((length(name) >= 1) AND (length(name) <= 400))),
    CONSTRAINT configuration_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 1000))),
    CONSTRAINT configuration_value_check CHECK ((length(value) <= 10000)),
    CONSTRAINT configuration_version_check CHECK ((version > 0))
);

CREATE TABLE public.delivery (
    task_id uuid NOT NULL,
    account_id uuid NOT NULL,
    url text NOT NULL,
    state text DEFAULT 'due'::text NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    due_at timestamp with time zone NOT NULL,
    CONSTRAINT delivery_state_check CHECK ((state = ANY (ARRAY['due'::text, 'delivered'::text, 'exhausted'::text, 'held'::text])))
);

CREATE TABLE public.event (
    task_id uuid NOT NULL,
    kind smallint NOT NULL,
    ordinal integer NOT NULL,
    at timestamp with time zone NOT NULL,
    detail text DEFAULT ''::text NOT NULL
);

CREATE TABLE public.file (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    format text NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    size_bytes bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT file_check CHECK ((expires_at > created_at)),
    CONSTRAINT file_format_check CHECK ((format = ANY (ARRAY['jpeg'::text, 'png'::text]))),
    CONSTRAINT file_height_check CHECK ((height > 0)),
    CONSTRAINT file_name_check CHECK ((name ~ '^[0-9A-Za-z]{22}\.(jpg|png)$'::text)),
    CONSTRAINT file_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT file_size_bytes_check CHECK ((size_bytes > 0)),
    CONSTRAINT file_width_check CHECK ((width > 0))
);

CREATE TABLE public.idempotency (
    key_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    task_id uuid NOT NULL,
    answer bytea NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE public.image (
    task_id uuid NOT NULL,
    ordinal smallint NOT NULL,
    slot smallint NOT NULL,
    epoch integer NOT NULL,
    name text NOT NULL,
    format text NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT image_format_check CHECK ((format = ANY (ARRAY['jpeg'::text, 'png'::text, 'webp'::text]))),
    CONSTRAINT image_height_check CHECK ((height > 0)),
    CONSTRAINT image_name_check CHECK ((name ~ '^[0-9A-Za-z]{22}\.(jpg|png|webp)$'::text)),
    CONSTRAINT image_ordinal_check CHECK ((ordinal >= 0)),
    CONSTRAINT image_sha256_check CHECK ((length(sha256) = 32)),
    CONSTRAINT image_size_bytes_check CHECK ((size_bytes > 0)),
    CONSTRAINT image_width_check CHECK ((width > 0))
);

CREATE TABLE public.installation (
    singleton boolean DEFAULT true NOT NULL,
    id uuid NOT NULL,
    secret_check bytea NOT NULL,
    created_at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    CONSTRAINT installation_epoch_check CHECK ((epoch >= 0)),
    CONSTRAINT installation_singleton_check CHECK (singleton)
);

CREATE TABLE public.key_secret (
    digest bytea NOT NULL,
    key_id uuid NOT NULL,
    prefix text NOT NULL,
    created_at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    expires_at timestamp with time zone,
    CONSTRAINT key_secret_digest_check CHECK ((length(digest) = 32))
);

CREATE TABLE public.key_state (
    key_id uuid NOT NULL,
    account_id uuid NOT NULL,
    open_holds integer DEFAULT 0 NOT NULL,
    tat_us bigint DEFAULT 0 NOT NULL,
    spent_micros bigint DEFAULT 0 NOT NULL,
    submits_per_minute integer,
    concurrent_tasks integer,
    budget_micros bigint,
    CONSTRAINT key_state_budget_micros_check CHECK ((budget_micros >= 0)),
    CONSTRAINT key_state_concurrent_tasks_check CHECK ((concurrent_tasks >= 0)),
    CONSTRAINT key_state_open_holds_check CHECK ((open_holds >= 0)),
    CONSTRAINT key_state_spent_micros_check CHECK ((spent_micros >= 0)),
    CONSTRAINT key_state_submits_per_minute_check CHECK (((submits_per_minute >= 0) AND (submits_per_minute <= 60000000)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.lane (
    name text NOT NULL,
    capacity integer,
    max_waiting integer,
    CONSTRAINT lane_capacity_check CHECK ((capacity >= 0)),
    CONSTRAINT lane_max_waiting_check CHECK ((max_waiting >= 0))
);

CREATE TABLE public.posting (
    subject_id uuid NOT NULL,
    entry smallint NOT NULL,
    side smallint NOT NULL,
    account_id uuid NOT NULL,
    book smallint NOT NULL,
    mode text NOT NULL,
    amount_micros bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT posting_check CHECK ((((side = 1) AND (amount_micros <= 0)) OR ((side = 2) AND (amount_micros >= 0)))),
    CONSTRAINT posting_check1 CHECK ((((((((((((entry = 1) AND (side = 1) AND (book = 1)) OR ((entry = 1) AND (side = 2) AND (book = 2))) OR ((entry = 2) AND (side = 1) AND (book = 2))) OR ((entry = 2) AND (side = 2) AND (book = 3))) OR ((entry = 3) AND (side = 1) AND (book = 2))) OR ((entry = 3) AND (side = 2) AND (book = 1))) OR ((entry = 4) AND (side = 1) AND (book = 4))) OR ((entry = 4) AND (side = 2) AND (book = 1))) OR ((entry = 5) AND (side = 1) AND (book = 1))) OR ((entry = 5) AND (side = 2) AND (book = 4)))),
    CONSTRAINT posting_mode_check CHECK ((mode = ANY (ARRAY['live'::text, 'test'::text])))
);

CREATE TABLE public.reference (
    task_id uuid NOT NULL,
    ordinal smallint NOT NULL,
    original_sha256 text NOT NULL,
    sha256 text NOT NULL,
    format text NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    size_bytes bigint NOT NULL,
    at timestamp with time zone NOT NULL
);

CREATE TABLE public.retired_task (
    account_id uuid NOT NULL,
    task_id uuid NOT NULL
);

CREATE TABLE public.retirement (
    batch uuid NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    mode text NOT NULL,
    tasks integer NOT NULL,
    held_micros bigint NOT NULL,
    charged_micros bigint NOT NULL,
    released_micros bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT retirement_charged_micros_check CHECK ((charged_micros >= 0)),
    CONSTRAINT retirement_check CHECK (((charged_micros + released_micros) = held_micros)),
    CONSTRAINT retirement_mode_check CHECK ((mode = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT retirement_released_micros_check CHECK ((released_micros >= 0)),
    CONSTRAINT retirement_tasks_check CHECK ((tasks > 0))
);

CREATE TABLE public.slot (
    task_id uuid NOT NULL,
    ordinal smallint NOT NULL,
    account_id uuid NOT NULL,
    lane text NOT NULL,
    state smallint NOT NULL,
    first_picture smallint NOT NULL,
    pictures smallint NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    worker_id uuid,
    not_before timestamp with time zone,
    handle text,
    crashes smallint DEFAULT 0 NOT NULL,
    losses smallint DEFAULT 0 NOT NULL,
    reason text,
    message text,
    CONSTRAINT slot_check CHECK (((state = ANY (ARRAY[2, 3])) = (worker_id IS NOT NULL))),
    CONSTRAINT slot_pictures_check CHECK ((pictures > 0)),
    CONSTRAINT slot_state_check CHECK ((state = ANY (ARRAY[0, 1, 2, 3, 4, 10])))
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.task (
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid NOT NULL,
    mode text NOT NULL,
    state smallint DEFAULT 0 NOT NULL,
    listing_id text NOT NULL,
    listing_version integer NOT NULL,
    price_version bigint DEFAULT 0 NOT NULL,
    pictures smallint NOT NULL,
    unit_price_micros bigint NOT NULL,
    held_micros bigint NOT NULL,
    request text NOT NULL,
    changes text NOT NULL,
    callback_url text,
    created_at timestamp with time zone NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    delivered smallint,
    charged_micros bigint,
    released_micros bigint,
    files text[],
    reason text,
    message text,
    cancel_requested_at timestamp with time zone,
    wiped_at timestamp with time zone,
    CONSTRAINT task_check CHECK ((held_micros = (unit_price_micros * pictures))),
    CONSTRAINT task_check1 CHECK (((state >= 10) = (completed_at IS NOT NULL))),
    CONSTRAINT task_check2 CHECK (((state < 10) OR ((charged_micros IS NOT NULL) AND (released_micros IS NOT NULL) AND (delivered IS NOT NULL) AND ((charged_micros + released_micros) = held_micros) AND (charged_micros >= 0) AND (released_micros >= 0) AND (charged_micros = (unit_price_micros * delivered)) AND (cardinality(files) = delivered)))),
    CONSTRAINT task_check3 CHECK (((state >= 10) OR ((charged_micros IS NULL) AND (released_micros IS NULL) AND (delivered IS NULL) AND (files IS NULL)))),
    CONSTRAINT task_check4 CHECK (((state = 10) = ((delivered IS NOT NULL) AND (delivered > 0)))),
    CONSTRAINT task_check5 CHECK (((state < 11) OR (reason IS NOT NULL))),
    CONSTRAINT task_check6 CHECK ((completed_at >= created_at)),
    CONSTRAINT task_check7 CHECK (((wiped_at IS NULL) OR (state >= 10))),
    CONSTRAINT task_mode_check CHECK ((mode = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT task_pictures_check CHECK (((pictures >= 1) AND (pictures <= 100))),
    CONSTRAINT task_state_check CHECK ((state = ANY (ARRAY[0, 1, 10, 11, 12]))),
    CONSTRAINT task_unit_price_micros_check CHECK ((unit_price_micros >= 0))
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.worker (
    id uuid NOT NULL,
    host text NOT NULL,
    process text NOT NULL,
    started_at timestamp with time zone DEFAULT public.seedgate_now() NOT NULL,
    lease_until timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_name_key UNIQUE (name);

ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.adjustment
    ADD CONSTRAINT adjustment_idempotency_key_key UNIQUE (idempotency_key);

ALTER TABLE ONLY public.adjustment
    ADD CONSTRAINT adjustment_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (task_id, slot, epoch);

ALTER TABLE ONLY public.clock
    ADD CONSTRAINT clock_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.configuration
    ADD CONSTRAINT configuration_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (task_id);

ALTER TABLE ONLY public.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (task_id, kind, ordinal);

ALTER TABLE ONLY public.file
    ADD CONSTRAINT file_name_key UNIQUE (name);

ALTER TABLE ONLY public.file
    ADD CONSTRAINT file_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (key_id, key);

ALTER TABLE ONLY public.image
    ADD CONSTRAINT image_name_key UNIQUE (name);

ALTER TABLE ONLY public.image
    ADD CONSTRAINT image_pkey PRIMARY KEY (task_id, ordinal);

ALTER TABLE ONLY public.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.key_secret
    ADD CONSTRAINT key_secret_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.key_state
    ADD CONSTRAINT key_state_pkey PRIMARY KEY (key_id);

ALTER TABLE ONLY public.lane
    ADD CONSTRAINT lane_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.posting
    ADD CONSTRAINT posting_pkey PRIMARY KEY (subject_id, entry, side);

ALTER TABLE ONLY public.reference
    ADD CONSTRAINT reference_pkey PRIMARY KEY (task_id, ordinal);

ALTER TABLE ONLY public.retired_task
    ADD CONSTRAINT retired_task_pkey PRIMARY KEY (account_id, task_id);

ALTER TABLE ONLY public.retirement
    ADD CONSTRAINT retirement_pkey PRIMARY KEY (batch, account_id, key_id, mode);

ALTER TABLE ONLY public.slot
    ADD CONSTRAINT slot_pkey PRIMARY KEY (task_id, ordinal);

ALTER TABLE ONLY public.task
    ADD CONSTRAINT task_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

CREATE UNIQUE INDEX api_key_name ON public.api_key USING btree (account_id, name) WHERE (revoked_at IS NULL);

CREATE INDEX configuration_by_name ON public.configuration USING btree (name, version DESC);

CREATE INDEX delivery_due ON public.delivery USING btree (due_at) WHERE (state = 'due'::text);

CREATE INDEX file_by_account ON public.file USING btree (account_id, id);

CREATE INDEX file_by_content ON public.file USING btree (sha256);

CREATE INDEX file_by_expiry ON public.file USING btree (expires_at);

CREATE INDEX idempotency_by_age ON public.idempotency USING brin (at);

CREATE INDEX image_live ON public.image USING btree (at) WHERE (deleted_at IS NULL);

CREATE INDEX key_secret_by_key ON public.key_secret USING btree (key_id);

CREATE INDEX reference_by_content ON public.reference USING btree (sha256);

CREATE INDEX slot_delayed ON public.slot USING btree (not_before) WHERE ((state = 0) AND (not_before IS NOT NULL));

CREATE INDEX slot_leased ON public.slot USING btree (worker_id) WHERE (worker_id IS NOT NULL);

CREATE INDEX slot_lost ON public.slot USING btree (losses) WHERE ((state = 1) AND (losses >= 20));

CREATE INDEX slot_waiting ON public.slot USING btree (lane, account_id, task_id, ordinal) WHERE (state = 1);

CREATE INDEX task_by_account ON public.task USING btree (account_id, id);

CREATE INDEX task_open_deadline ON public.task USING btree (deadline_at) WHERE (state < 10);

CREATE INDEX task_to_retire ON public.task USING btree (completed_at) WHERE (wiped_at IS NOT NULL);

CREATE INDEX task_to_wipe ON public.task USING btree (completed_at) WHERE ((completed_at IS NOT NULL) AND (wiped_at IS NULL));

CREATE TRIGGER configuration_is_history BEFORE DELETE OR UPDATE ON public.configuration FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

ALTER TABLE ONLY public.adjustment
    ADD CONSTRAINT adjustment_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);

ALTER TABLE ONLY public.api_key
    ADD CONSTRAINT api_key_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);

ALTER TABLE ONLY public.file
    ADD CONSTRAINT file_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);

ALTER TABLE ONLY public.key_secret
    ADD CONSTRAINT key_secret_key_id_fkey FOREIGN KEY (key_id) REFERENCES public.api_key(id);

ALTER TABLE ONLY public.key_state
    ADD CONSTRAINT key_state_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);

ALTER TABLE ONLY public.key_state
    ADD CONSTRAINT key_state_key_id_fkey FOREIGN KEY (key_id) REFERENCES public.api_key(id);
