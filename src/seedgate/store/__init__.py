"""Every SQL statement, and the server that runs them.

Four transactions carry a task; each is one set-based function of the database, called for a batch:

    T1 accept_tasks    idempotency, limits, hold, task, slots       store/accept.py
    T2 claim_slots     lease and epoch, fair between accounts       store/slots.py
    T3 record_handles  the upstream's handle, as soon as known      store/slots.py
    T4 finish_slots    end, charge, release, outbox                 store/finish.py

Locks are taken in one order everywhere: task, slot, attempt, account. Accept makes new tasks and only locks accounts;
claims skip what is locked and never wait.
"""
