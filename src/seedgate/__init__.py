"""Seedgate."""
