"""Reading FOCUS files: the FinOps Open Cost and Usage Specification, versions 1.0 to 1.2 (USE-01).

Nothing here knows the database. `source` opens a file (plain, gzip, UTF-8, UTF-16) as text without reading it
whole; `reader` goes through its rows; `rows` turns one row into what a usage record keeps, or says what is
wrong with it; `columns` names the columns. Identity of a row: docs/adr/0003-row-identity.md.
"""
