"""How bytes come in and go out: one fast path for every dialect, and a small application for the rest."""
