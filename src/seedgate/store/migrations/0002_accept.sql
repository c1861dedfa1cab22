-- What a refused caller is told: of each kind of limit the one with least left (`seedgate.domain.limits.nearest`).
CREATE FUNCTION seedgate_room(
    position_ integer, now_us bigint, acc_rate integer, acc_tat bigint, key_rate integer, key_tat bigint,
    acc_limit integer, acc_open integer, key_limit integer, key_open integer
) RETURNS integer[] LANGUAGE sql IMMUTABLE AS $$
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

-- T1: accept a batch of submits. The decision is `seedgate.domain.admission`, statement for statement; a property test
-- holds the two together. `accounts`, `keys` and the `offer_…` arrays hold what is distinct in the batch, the first two in
-- ascending order; `acc`, `key_` and `offer` index them from 1. `memories` says what an idempotency key is (0 named by the
-- caller, 1 content, 2 content of a retry); `dup` is the position of the batch's previous submit with the same one.
--
-- codes: 0 accepted, 1 replay, 2 key reused, 3 frozen, 4 rate, 5 concurrency, 6 balance, 7 budget. `owners` names the
-- submit of this batch whose answer a replay gets; replays of older tasks come back in `hit_at`, `hit_answers`. `rooms`
-- has five numbers for each refusal with code 4 or 5: position, rate, rate left, tasks at once, tasks left.
CREATE FUNCTION accept_tasks(
    accounts uuid[], keys uuid[],
    offer_listings text[], offer_versions integer[], offer_prices bigint[], offer_price_versions bigint[], offer_lanes text[],
    deadline_s integer, default_rate integer, default_tasks integer,
    acc integer[], key_ integer[], offer integer[], idem text[], memories smallint[], fingerprints bytea[], dup integer[],
    ids uuid[], pictures smallint[], slots smallint[], blocked boolean[],
    requests text[], changes text[], callbacks text[], answers bytea[], wake boolean,
    OUT codes integer[], OUT owners integer[], OUT waits_us bigint[], OUT hit_at integer[], OUT hit_answers bytea[],
    OUT rooms integer[]
) LANGUAGE plpgsql AS $$
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
