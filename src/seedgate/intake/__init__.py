"""Untrusted images in.

    URL ──── net ────┐
                     ├── original ── gate (limited child) ── clean file ── shelf
    data URL ─ shelf ┘

An image is fetched once. The gate decodes it in a child process and writes it anew; from there on everybody, moderation
and upstream alike, sees only those bytes, by their SHA-256. What a host would answer the next time does not matter.
"""
