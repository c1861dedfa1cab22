"""Decisions as pure functions on frozen values. Nothing here knows a clock, a database or a network."""
