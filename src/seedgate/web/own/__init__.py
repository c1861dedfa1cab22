"""Our own interface, under `/seedgate/v1/`: what no vendor's format has a word for.

    path ──▶ operation ──▶ credential ──▶ query ──▶ one function (tasks, files, keys …) ──▶ wire.py

`operations.py` is the table: an endpoint is one function and one line there. `door.py` is what all of them share: the
credential, the request id, the one shape of errors, and that nothing else ever comes out. `wire.py` is what travels.
"""
