"""Pure calculation: no test here needs the database."""

from hypothesis import settings

LEAN = settings(max_examples=40, deadline=None)
