"""The terms of a contract as values: lines, changes, and the fold that answers for any day (CON-05).

Nothing here asks the database or the clock.
"""
