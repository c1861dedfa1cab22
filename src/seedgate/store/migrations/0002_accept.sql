-- T1: accept a batch of submits. The decision is `seedgate.domain.admission`, statement for statement; a property test
-- holds the two together. `accounts` and `keys` are the distinct ids in ascending order; `acc` and `key_` index them
-- from 1; `dup` is the position of the previous submit of the batch with the same idempotency key, or NULL.
--
-- codes: 0 accepted, 1 replay, 2 key reused, 3 key blocked, 4 rate, 5 concurrency, 6 balance. `owners` names the submit
-- of this batch whose answer a replay gets; replays of older tasks come back in `hit_at`, `hit_answers`.
CREATE FUNCTION accept_tasks(
    accounts uuid[], keys uuid[],
    acc integer[], key_ integer[], idem text[], fingerprints bytea[], dup integer[],
    ids uuid[], listing_ids text[], listing_versions integer[], lanes text[],
    pictures smallint[], slots smallint[], blocked boolean[], prices bigint[],
    requests text[], changes text[], callbacks text[], answers bytea[], deadlines_s integer[], wake boolean,
    OUT codes integer[], OUT owners integer[], OUT waits_us bigint[], OUT hit_at integer[], OUT hit_answers bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
    now_us bigint;
    avail bigint[]; acc_open integer[]; acc_limit integer[]; modes text[];
    key_open integer[]; key_limit integer[]; rate integer[]; tat bigint[]; stopped boolean[];
    spent bigint[]; acc_new integer[]; key_new integer[];
    hit_fingerprints bytea[]; hit_index integer[];
    a integer; k integer; o integer; h integer; amount bigint; emission bigint; earned bigint;
BEGIN
    -- The account's lock serialises everything of the account: money, limits, idempotency. Ascending order, so no deadlock.
    SELECT array_agg(s.avail_micros ORDER BY s.id), array_agg(s.open_holds ORDER BY s.id),
           array_agg(s.concurrent_tasks ORDER BY s.id), array_agg(s.mode ORDER BY s.id)
      INTO avail, acc_open, acc_limit, modes
      FROM (SELECT id, avail_micros, open_holds, concurrent_tasks, mode FROM account
             WHERE id = ANY (accounts) ORDER BY id FOR UPDATE) s;
    -- Statements of their own, so that each sees what was committed while the lock was awaited.
    SELECT array_agg(s.open_holds ORDER BY s.key_id), array_agg(s.concurrent_tasks ORDER BY s.key_id),
           array_agg(s.submits_per_minute ORDER BY s.key_id), array_agg(s.tat_us ORDER BY s.key_id),
           array_agg(s.blocked ORDER BY s.key_id)
      INTO key_open, key_limit, rate, tat, stopped
      FROM key_state s WHERE s.key_id = ANY (keys);
    IF cardinality(avail) IS DISTINCT FROM cardinality(accounts) OR cardinality(tat) IS DISTINCT FROM cardinality(keys) THEN
        RAISE EXCEPTION 'an account or key of the batch does not exist' USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT array_agg(u.o::integer), array_agg(m.fingerprint), array_agg(m.answer)
      INTO hit_at, hit_fingerprints, hit_answers
      FROM unnest(key_, idem) WITH ORDINALITY u (k, i, o),
           LATERAL (SELECT d.fingerprint, d.answer FROM idempotency d
                     WHERE d.key_id = keys[u.k] AND d.key = u.i LIMIT 1) m
     WHERE u.i IS NOT NULL;
    hit_index := array_fill(NULL::integer, ARRAY[cardinality(ids)]);
    FOR h IN 1 .. coalesce(cardinality(hit_at), 0) LOOP
        hit_index[hit_at[h]] := h;
    END LOOP;

    at := seedgate_now();
    now_us := (extract(epoch FROM at) * 1000000)::bigint;
    codes := array_fill(0, ARRAY[cardinality(ids)]);
    owners := array_fill(NULL::integer, ARRAY[cardinality(ids)]);
    waits_us := array_fill(0::bigint, ARRAY[cardinality(ids)]);
    spent := array_fill(0::bigint, ARRAY[cardinality(accounts)]);
    acc_new := array_fill(0, ARRAY[cardinality(accounts)]);
    key_new := array_fill(0, ARRAY[cardinality(keys)]);

    FOR i IN 1 .. cardinality(ids) LOOP
        a := acc[i]; k := key_[i];
        h := hit_index[i];
        IF h IS NOT NULL THEN
            codes[i] := CASE WHEN hit_fingerprints[h] = fingerprints[i] THEN 1 ELSE 2 END;
            CONTINUE;
        END IF;
        o := owners[dup[i]];
        IF o IS NOT NULL THEN
            owners[i] := o;
            codes[i] := CASE WHEN fingerprints[o] = fingerprints[i] THEN 1 ELSE 2 END;
            CONTINUE;
        END IF;
        IF stopped[k] THEN
            codes[i] := 3;
            CONTINUE;
        END IF;
        IF acc_open[a] + acc_new[a] >= acc_limit[a] OR key_open[k] + key_new[k] >= key_limit[k] THEN
            codes[i] := 5;
            CONTINUE;
        END IF;
        amount := prices[i] * pictures[i];
        IF avail[a] - spent[a] < amount THEN
            codes[i] := 6;
            CONTINUE;
        END IF;
        IF rate[k] IS NOT NULL THEN
            emission := 60000000 / rate[k];
            earned := greatest(tat[k], now_us) + emission;
            IF earned - now_us - emission * rate[k] > 0 THEN
                codes[i] := 4;
                waits_us[i] := earned - now_us - emission * rate[k];
                CONTINUE;
            END IF;
            tat[k] := earned;
        END IF;
        spent[a] := spent[a] + amount;
        acc_new[a] := acc_new[a] + 1;
        key_new[k] := key_new[k] + 1;
        owners[i] := i;
    END LOOP;

    INSERT INTO task (id, account_id, key_id, mode, listing_id, listing_version, pictures, unit_price_micros, held_micros,
                      request, changes, callback_url, created_at, deadline_at)
    SELECT u.id, accounts[u.a], keys[u.k], modes[u.a], u.listing, u.version, u.n, u.price, u.price * u.n,
           u.request, u.change, u.callback, at, at + make_interval(secs => u.deadline)
      FROM unnest(ids, acc, key_, listing_ids, listing_versions, pictures, prices, requests, changes, callbacks, deadlines_s)
           WITH ORDINALITY u (id, a, k, listing, version, n, price, request, change, callback, deadline, o)
     WHERE codes[u.o] = 0;
    -- Only the first slot of a task with references may start: it fetches them and unblocks the others.
    INSERT INTO slot (task_id, ordinal, account_id, lane, state, first_picture, pictures)
    SELECT u.id, s.i, accounts[u.a], u.lane, CASE WHEN u.blocked AND s.i > 0 THEN 0 ELSE 1 END, s.i, u.n / u.slots
      FROM unnest(ids, acc, lanes, pictures, slots, blocked) WITH ORDINALITY u (id, a, lane, n, slots, blocked, o),
           LATERAL generate_series(0, u.slots - 1) s (i)
     WHERE codes[u.o] = 0;
    INSERT INTO posting (subject_id, entry, side, account_id, book, mode, amount_micros, at)
    SELECT u.id, 1, s.side, accounts[u.a], s.side, modes[u.a], CASE s.side WHEN 1 THEN -u.price * u.n ELSE u.price * u.n END, at
      FROM unnest(ids, acc, pictures, prices) WITH ORDINALITY u (id, a, n, price, o), (VALUES (1), (2)) s (side)
     WHERE codes[u.o] = 0;
    INSERT INTO idempotency (key_id, key, fingerprint, task_id, answer, at)
    SELECT keys[u.k], u.i, u.fingerprint, u.id, u.answer, at
      FROM unnest(ids, key_, idem, fingerprints, answers) WITH ORDINALITY u (id, k, i, fingerprint, answer, o)
     WHERE codes[u.o] = 0 AND u.i IS NOT NULL;
    UPDATE account SET avail_micros = avail_micros - spent[array_position(accounts, id)],
                       held_micros = held_micros + spent[array_position(accounts, id)],
                       open_holds = open_holds + acc_new[array_position(accounts, id)]
     WHERE id = ANY (accounts) AND acc_new[array_position(accounts, id)] > 0;
    UPDATE key_state SET open_holds = open_holds + key_new[array_position(keys, key_id)],
                         tat_us = tat[array_position(keys, key_id)]
     WHERE key_id = ANY (keys) AND key_new[array_position(keys, key_id)] > 0;
    IF wake AND 0 = ANY (codes) THEN
        PERFORM pg_notify('seedgate_slots', '');
    END IF;
END $$;
