"""Reads over several models of invoicing."""
