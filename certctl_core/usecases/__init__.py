"""Use cases: one verb, one function `(ports, caller, asked) -> fact`. Transactions live here and nowhere else.

What must follow from a change (audit event, follow-up job) is written in the transaction of the change. No port but
the store is called while a transaction is open. Locks are always taken in the order certificate, job, attempt.
"""
