"""The life of a task.

    submit ──T1──▶ waiting ──T2──▶ claimed: references, intent ──T3──▶ submitted: pictures, one row each
                      ▲                            │                            │
                      └────── sweep, crash ────────┴────────────────────────────┴──T4──▶ ended

`submit`, `lookup` and `cancel` serve callers; `worker` claims slots and gives each to `attempt`; `outputs` makes a
finished file count; `finish` is the only place where a task ends; `sweep` moves on what dead workers left and what is
overdue.
This floor knows no vendor.
"""
