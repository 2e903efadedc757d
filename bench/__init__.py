"""The benchmark: what the product does per second, beside what the same database does without it.

`make bench` runs it; docs/performance.md says what is measured, how, and what was found.
"""
