-- The money invariants, each as the query that lists its violations (subject, detail); none is the proof.
-- `seedgate ledger check` runs them on one snapshot, beside a running gateway. No semicolon inside a query.

-- I1: balances equal the sum of their postings
SELECT a.id::text AS subject,
       format('avail %s posted %s, held %s posted %s', a.avail_micros, coalesce(p.avail, 0), a.held_micros, coalesce(p.held, 0)) AS detail
  FROM account a
  LEFT JOIN (SELECT account_id,
                    sum(amount_micros) FILTER (WHERE book = 1) AS avail,
                    sum(amount_micros) FILTER (WHERE book = 2) AS held
               FROM posting GROUP BY account_id) p ON p.account_id = a.id
 WHERE a.avail_micros <> coalesce(p.avail, 0) OR a.held_micros <> coalesce(p.held, 0);

-- I1 sum: every entry has two postings that sum to zero, in one mode and one account
SELECT subject_id::text AS subject, format('entry %s: %s postings, sum %s', entry, count(*), sum(amount_micros)) AS detail
  FROM posting
 GROUP BY subject_id, entry
HAVING count(*) <> 2 OR sum(amount_micros) <> 0 OR count(DISTINCT mode) <> 1 OR count(DISTINCT account_id) <> 1;

-- I1 mode: postings have the mode of their account
SELECT p.subject_id::text AS subject, p.mode AS detail
  FROM posting p
  LEFT JOIN account a ON a.id = p.account_id
 WHERE a.mode IS DISTINCT FROM p.mode;

-- I1 adjustment: every grant and debit was written down with its reason, and every one that was written was posted
SELECT coalesce(a.id, p.subject_id)::text AS subject,
       format('adjustment %s, posted %s', a.amount_micros, p.amount_micros) AS detail
  FROM adjustment a
  FULL JOIN (SELECT * FROM posting WHERE entry IN (4, 5) AND side = 2) p ON p.subject_id = a.id
 WHERE a.id IS NULL OR p.subject_id IS NULL
    OR a.amount_micros <> p.amount_micros OR a.account_id <> p.account_id OR a.entry <> p.entry;

-- I2: no balance is negative
SELECT id::text AS subject, format('avail %s held %s', avail_micros, held_micros) AS detail
  FROM account
 WHERE avail_micros < 0 OR held_micros < 0;

-- I3: every task has one hold of its amount
SELECT t.id::text AS subject, format('task holds %s, posted %s', t.held_micros, p.amount_micros) AS detail
  FROM task t
  LEFT JOIN (SELECT * FROM posting WHERE entry = 1 AND side = 2) p ON p.subject_id = t.id
 WHERE p.subject_id IS NULL
    OR t.held_micros <> p.amount_micros OR t.account_id <> p.account_id OR t.mode <> p.mode;

-- I3 retired: postings without a task are those of retired ones: their number and sums, of every account and mode
SELECT account_id::text AS subject,
       format('%s postings: %s tasks, held %s charged %s released %s, retired %s, %s, %s, %s', mode,
              coalesce(p.tasks, 0), coalesce(p.held, 0), coalesce(p.charged, 0), coalesce(p.released, 0),
              coalesce(r.tasks, 0), coalesce(r.held, 0), coalesce(r.charged, 0), coalesce(r.released, 0)) AS detail
  FROM (SELECT account_id, mode, count(*) FILTER (WHERE entry = 1) AS tasks,
               sum(amount_micros) FILTER (WHERE entry = 1) AS held,
               sum(amount_micros) FILTER (WHERE entry = 2) AS charged,
               sum(amount_micros) FILTER (WHERE entry = 3) AS released
          FROM posting
         WHERE entry IN (1, 2, 3) AND side = 2 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.id = subject_id)
         GROUP BY account_id, mode) p
  FULL JOIN (SELECT account_id, mode, sum(tasks) AS tasks, sum(held_micros) AS held, sum(charged_micros) AS charged,
                    sum(released_micros) AS released
               FROM retirement GROUP BY account_id, mode) r USING (account_id, mode)
 WHERE (coalesce(p.tasks, 0), coalesce(p.held, 0), coalesce(p.charged, 0), coalesce(p.released, 0))
    <> (coalesce(r.tasks, 0), coalesce(r.held, 0), coalesce(r.charged, 0), coalesce(r.released, 0));

-- I4: a hold resolves exactly once: charge and release make it up, and none before the task has ended
SELECT t.id::text AS subject,
       format('state %s held %s charged %s released %s', t.state, t.held_micros, coalesce(p.charged, 0), coalesce(p.released, 0)) AS detail
  FROM task t
  LEFT JOIN (SELECT subject_id,
                    sum(amount_micros) FILTER (WHERE entry = 2 AND side = 2) AS charged,
                    sum(amount_micros) FILTER (WHERE entry = 3 AND side = 2) AS released
               FROM posting WHERE entry IN (2, 3) GROUP BY subject_id) p ON p.subject_id = t.id
 WHERE CASE WHEN t.state >= 10
            THEN coalesce(p.charged, 0) <> t.charged_micros OR coalesce(p.released, 0) <> t.released_micros
                 OR t.charged_micros + t.released_micros <> t.held_micros
            ELSE p.subject_id IS NOT NULL END;

-- I4 retired: without a task, too, charge and release make up the hold, and there is none without a hold
SELECT subject_id::text AS subject, format('held %s, charged and released %s', held, resolved) AS detail
  FROM (SELECT p.subject_id, coalesce(sum(p.amount_micros) FILTER (WHERE p.entry = 1), 0) AS held,
               coalesce(sum(p.amount_micros) FILTER (WHERE p.entry IN (2, 3)), 0) AS resolved
          FROM posting p
         WHERE p.entry IN (1, 2, 3) AND p.side = 2 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.id = p.subject_id)
         GROUP BY p.subject_id) r
 WHERE held <> resolved;

-- I5: the charge is the delivered pictures at the frozen price
SELECT t.id::text AS subject,
       format('%s pictures, charged %s at %s', i.n, t.charged_micros, t.unit_price_micros) AS detail
  FROM task t, LATERAL (SELECT count(*) AS n FROM image i WHERE i.task_id = t.id) i
 WHERE t.state >= 10 AND (t.charged_micros <> i.n * t.unit_price_micros OR t.delivered <> i.n);

-- I6: a task that failed or was cancelled costs nothing
SELECT id::text AS subject, format('state %s charged %s', state, charged_micros) AS detail
  FROM task
 WHERE state IN (11, 12) AND charged_micros <> 0;

-- I8: concurrency in use is the number of open tasks, of every account and key
SELECT a.id::text AS subject, format('account: open_holds %s, open tasks %s', a.open_holds, coalesce(t.n, 0)) AS detail
  FROM account a
  LEFT JOIN (SELECT account_id, count(*) AS n FROM task WHERE state < 10 GROUP BY account_id) t ON t.account_id = a.id
 WHERE a.open_holds <> coalesce(t.n, 0)
 UNION ALL
SELECT k.key_id::text, format('key: open_holds %s, open tasks %s', k.open_holds, coalesce(t.n, 0))
  FROM key_state k
  LEFT JOIN (SELECT key_id, count(*) AS n FROM task WHERE state < 10 GROUP BY key_id) t ON t.key_id = k.key_id
 WHERE k.open_holds <> coalesce(t.n, 0);

-- I8 budget: what a key has spent is what its open tasks hold and its ended ones were charged, retired ones too
SELECT k.key_id::text AS subject, format('spent %s, tasks %s', k.spent_micros, coalesce(t.sum, 0)) AS detail
  FROM key_state k
  LEFT JOIN (SELECT key_id, sum(spent) AS sum
               FROM (SELECT key_id, CASE WHEN state < 10 THEN held_micros ELSE charged_micros END AS spent FROM task
                      UNION ALL SELECT key_id, charged_micros FROM retirement) s GROUP BY key_id) t ON t.key_id = k.key_id
 WHERE k.spent_micros <> coalesce(t.sum, 0);

-- I8 slots: an ended task has no unsettled slot, an open one has one, and no slot is held by a worker that is not there
SELECT t.id::text AS subject, format('state %s, %s unsettled slots', t.state, s.n) AS detail
  FROM task t, LATERAL (SELECT count(*) FILTER (WHERE state < 10) AS n FROM slot WHERE task_id = t.id) s
 WHERE (t.state >= 10) <> (s.n = 0)
 UNION ALL
SELECT s.task_id::text, format('slot %s held by %s', s.ordinal, s.worker_id)
  FROM slot s
 WHERE s.worker_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = s.worker_id);

-- I8 cancel: a task whose cancellation was asked for has no slot that could still be begun
SELECT s.task_id::text AS subject, format('slot %s in state %s', s.ordinal, s.state) AS detail
  FROM slot s JOIN task t ON t.id = s.task_id
 WHERE t.cancel_requested_at IS NOT NULL AND s.state IN (0, 1) AND s.handle IS NULL;

-- I9: every idempotency key names a task of its own API key, unless the task was deleted after its days
SELECT i.task_id::text AS subject, format('key %s', i.key_id) AS detail
  FROM idempotency i
  JOIN key_state k ON k.key_id = i.key_id
  LEFT JOIN task t ON t.id = i.task_id
 WHERE t.key_id IS DISTINCT FROM i.key_id
   AND NOT EXISTS (SELECT 1 FROM retired_task r WHERE r.account_id = k.account_id AND r.task_id = i.task_id);

-- I14: every ended task has exactly one end, and no open one has any
SELECT t.id::text AS subject, format('state %s, %s ends', t.state, e.n) AS detail
  FROM task t, LATERAL (SELECT count(*) AS n FROM event WHERE task_id = t.id AND kind = 1) e
 WHERE (t.state >= 10)::int <> e.n;

-- I14 parts: nothing is left of a task that is not there
SELECT DISTINCT p.task_id::text AS subject, p.part AS detail
  FROM (SELECT task_id, 'slot' AS part FROM slot
         UNION ALL SELECT task_id, 'attempt' FROM attempt
         UNION ALL SELECT task_id, 'image' FROM image
         UNION ALL SELECT task_id, 'reference' FROM reference
         UNION ALL SELECT task_id, 'event' FROM event
         UNION ALL SELECT task_id, 'delivery' FROM delivery) p
 WHERE NOT EXISTS (SELECT 1 FROM task t WHERE t.id = p.task_id);
