"""Parsed rows into usage records, set by set, inside the caller's transaction (USE-02, USE-03).

Rows stream by COPY into a temporary table; one statement per batch then maps them to departments and inserts
those that the group does not have. Memory here stays flat whatever the number of rows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from core.errors import Conflict
from core.money import plain_amount
from invoicing.focus.reader import RejectedLine
from invoicing.focus.rows import STAGED_FIELDS, StagedRow
from invoicing.models import MappingSource, RejectedRow, UsageImport

_ROWS_PER_COPY = 20_000
_REJECTED_PER_INSERT = 500
_LINES_PER_WRITE = 100
_ROWS_PER_INSERT = 10_000

_FIELDS = ", ".join(STAGED_FIELDS)
_STAGED = ", ".join(f"staged.{name}" for name in STAGED_FIELDS)
_COPY = f"COPY usage_staging ({_FIELDS}) FROM STDIN"

_FIRST_NUMBER = STAGED_FIELDS.index("effective_cost")
_FIRST_TEXT = STAGED_FIELDS.index("tags")
_TABS_BETWEEN_TEXTS = len(STAGED_FIELDS) - _FIRST_TEXT - 1
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

# Which values of a row each kind of rule is compared with.
_COMPARED = {
    MappingSource.TAG: ("staged.tags ->> %s::text",),
    MappingSource.SUB_ACCOUNT: ("staged.sub_account_id", "staged.sub_account_name"),
    MappingSource.BILLING_ACCOUNT: ("staged.billing_account_id", "staged.billing_account_name"),
    MappingSource.SERVICE: ("staged.service_name",),
}

Sums = dict[str, Decimal]
RowHook = Callable[[int, int], None]
"""Told how many rows are done, and of how many (0 while that is not known)."""


def _execute(statement: str, params: Iterable[Any] = ()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(params))
        return int(cursor.rowcount)


def _rows(statement: str, params: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(params))
        return list(cursor.fetchall())


@dataclass(slots=True)
class Stored:
    """What became of the rows that were read. Sums are exact, per currency."""

    imported: int = 0
    duplicate: int = 0
    repeated: int = 0
    rejected: int = 0
    imported_cost: Sums = field(default_factory=dict)
    duplicate_cost: Sums = field(default_factory=dict)
    overlaps: dict[str, int] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """All rows of the file."""
        return self.imported + self.duplicate + self.rejected


def copy_line(row: StagedRow) -> str:
    """Return the row as one line of COPY's text format. Only texts can hold what needs to be escaped."""
    numbers = [number or "\\N" for number in row[_FIRST_NUMBER:_FIRST_TEXT]]
    texts = row[_FIRST_TEXT:]
    rest = "\t".join(texts)
    if "\\" in rest or "\n" in rest or "\r" in rest or rest.count("\t") != _TABS_BETWEEN_TEXTS:
        rest = "\t".join([text.translate(_ESCAPES) for text in texts])
    number, digest, *first = row[:_FIRST_NUMBER]
    return f"{number}\t\\{digest}\t" + "\t".join([*first, *numbers, rest]) + "\n"


def sums_as_text(sums: Sums) -> dict[str, str]:
    """Return exact sums as UsageImport keeps them."""
    return {currency: plain_amount(amount, currency) for currency, amount in sorted(sums.items())}


class Staging:
    """The temporary table of one import. Use it inside a transaction; it goes with it."""

    def __init__(self, usage_import: UsageImport) -> None:
        if not connection.in_atomic_block:
            raise transaction.TransactionManagementError("Staging needs a transaction to end it.")
        self.usage_import = usage_import
        self.staged = 0
        self.rejected = 0
        _execute("DROP TABLE IF EXISTS pg_temp.usage_staging, pg_temp.usage_repeats, pg_temp.usage_rules")
        _execute(
            f"CREATE TEMPORARY TABLE usage_staging ON COMMIT DROP AS SELECT {_FIELDS} FROM usage_records WITH NO DATA"
        )

    # --- in ----------------------------------------------------------------------------------------------

    def fill(self, rows: Iterable[StagedRow | RejectedLine], on_rows: RowHook) -> None:
        """Take in everything that `rows` yields; what is rejected is kept for repair."""
        source = iter(rows)
        while self._copy_some(source):
            on_rows(self.staged + self.rejected, 0)

    def _copy_some(self, source: Iterator[StagedRow | RejectedLine]) -> bool:
        """Copy one portion; say whether there may be more. No other statement can run during a COPY."""
        rejected: list[RejectedLine] = []
        lines: list[str] = []
        copied = 0
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in source:
                if isinstance(row, RejectedLine):
                    rejected.append(row)
                else:
                    lines.append(copy_line(row))
                    copied += 1
                    if len(lines) == _LINES_PER_WRITE:
                        copy.write("".join(lines))
                        lines.clear()
                if copied == _ROWS_PER_COPY or len(rejected) == _REJECTED_PER_INSERT:
                    break
            copy.write("".join(lines))
        self.staged += copied
        self._keep_rejected(rejected)
        return bool(copied or rejected)

    def _keep_rejected(self, lines: list[RejectedLine]) -> None:
        # These rows are their own first history: they say what the file had.
        RejectedRow.objects.bulk_create(
            RejectedRow(
                usage_import=self.usage_import,
                line_number=line.line_number,
                values=line.values,
                raw_text=line.raw_text,
                problems=[problem.as_json() for problem in line.problems],
            )
            for line in lines
        )
        self.rejected += len(lines)

    # --- over --------------------------------------------------------------------------------------------

    def store(self, on_rows: RowHook) -> Stored:
        """Insert what the group does not have yet, and prove that nothing was lost on the way.

        Raises Conflict `import_sums_differ` if the sums of the rows read and of the records differ.
        """
        _execute("CREATE INDEX ON usage_staging (line_number)")
        _execute("ANALYZE usage_staging (line_number, row_hash)")
        repeated = self._number_repeats()
        imported = self._insert(on_rows)
        stored = Stored(imported=imported, repeated=repeated, rejected=self.rejected)
        self._find_duplicates(stored)
        self._prove_sums(stored)
        return stored

    def _number_repeats(self) -> int:
        """Number equal rows of the file 1, 2, 3 …; rows of the same import that are in already come before."""
        _execute(
            """
            CREATE TEMPORARY TABLE usage_repeats ON COMMIT DROP AS
            SELECT numbered.line_number, numbered.occurrence
            FROM (
                SELECT line_number,
                    row_number() OVER (PARTITION BY row_hash ORDER BY line_number)
                    + coalesce(earlier.number, 0) AS occurrence
                FROM usage_staging
                LEFT JOIN (
                    SELECT row_hash, count(*) AS number FROM usage_records
                    WHERE usage_import_id = %s AND row_hash IN (SELECT row_hash FROM usage_staging)
                    GROUP BY row_hash
                ) AS earlier USING (row_hash)
            ) AS numbered
            WHERE numbered.occurrence > 1
            """,
            [self.usage_import.pk],
        )
        _execute("ALTER TABLE usage_repeats ADD PRIMARY KEY (line_number)")
        _execute("ANALYZE usage_repeats")
        return int(_rows("SELECT count(*) FROM usage_repeats")[0][0])

    def _insert(self, on_rows: RowHook) -> int:
        mapping = MappingJoin.of_entity(self.usage_import.entity_id)
        imported = done = 0
        for first, last in self._batches():
            imported += _execute(
                f"""
                INSERT INTO usage_records (
                    usage_import_id, root_id, entity_id, department_id, mapping_rule_id, occurrence, {_FIELDS}
                )
                SELECT %s, %s, coalesce(rule.entity_id, %s), rule.department_id, rule.rule_id,
                    coalesce(usage_repeats.occurrence, 1), {_STAGED}
                FROM usage_staging AS staged
                LEFT JOIN usage_repeats USING (line_number)
                {mapping.joins}
                WHERE staged.line_number BETWEEN %s AND %s
                ORDER BY staged.line_number
                ON CONFLICT (root_id, row_hash, occurrence) DO NOTHING
                """,
                [
                    self.usage_import.pk, self.usage_import.root_id, self.usage_import.entity_id,
                    *mapping.params, first, last,
                ],
            )  # fmt: skip
            # Foreign keys are checked now, batch by batch, rather than all of them at the commit.
            connection.check_constraints()
            done = min(done + _ROWS_PER_INSERT, self.staged)
            on_rows(done, self.staged)
        return imported

    def _batches(self) -> list[tuple[int, int]]:
        """First and last line of each portion of rows."""
        return [
            (first, last)
            for first, last in _rows(
                """
                SELECT min(line_number), max(line_number)
                FROM (SELECT line_number, (row_number() OVER (ORDER BY line_number) - 1) / %s AS batch
                      FROM usage_staging) AS numbered
                GROUP BY batch ORDER BY batch
                """,
                [_ROWS_PER_INSERT],
            )
        ]

    def _find_duplicates(self, stored: Stored) -> None:
        """Find the earlier imports that had brought the rows which were not inserted."""
        if stored.imported == self.staged:
            return
        for import_id, currency, number, cost in _rows(
            """
            SELECT earlier.usage_import_id, staged.currency, count(*), sum(staged.billed_cost)
            FROM usage_staging AS staged
            LEFT JOIN usage_repeats USING (line_number)
            JOIN usage_records AS earlier ON earlier.root_id = %s AND earlier.row_hash = staged.row_hash
                AND earlier.occurrence = coalesce(usage_repeats.occurrence, 1)
            WHERE earlier.usage_import_id <> %s
            GROUP BY earlier.usage_import_id, staged.currency
            """,
            [self.usage_import.root_id, self.usage_import.pk],
        ):
            stored.duplicate += number
            stored.duplicate_cost[currency] = stored.duplicate_cost.get(currency, Decimal(0)) + cost
            stored.overlaps[str(import_id)] = stored.overlaps.get(str(import_id), 0) + number

    def _prove_sums(self, stored: Stored) -> None:
        """USE-03: what was read = what is in + what was in already, in rows and in money, to the last digit."""
        lines_in = (
            "FROM usage_records AS record JOIN usage_staging AS staged USING (line_number) "
            "WHERE record.usage_import_id = %s AND record.row_hash = staged.row_hash"
        )
        stored.imported_cost = dict(
            _rows(
                f"SELECT record.currency, sum(record.billed_cost) {lines_in} GROUP BY record.currency",
                [self.usage_import.pk],
            )
        )
        read = dict(_rows("SELECT currency, sum(billed_cost) FROM usage_staging GROUP BY currency"))
        kept = {
            currency: stored.imported_cost.get(currency, Decimal(0))
            + stored.duplicate_cost.get(currency, Decimal(0))
            for currency in {*stored.imported_cost, *stored.duplicate_cost}
        }
        if read != kept or stored.imported + stored.duplicate != self.staged:
            raise Conflict(
                "import_sums_differ",
                f"{self.staged:,} rows were read and {stored.imported + stored.duplicate:,} would be in; the sums "
                f"are {sums_as_text(read)} and {sums_as_text(kept)}. Nothing was taken in; start the import again.",
            )


@dataclass(frozen=True, slots=True)
class MappingJoin:
    """Joins that give each row (named `staged`) the first rule in order that matches it, as `rule` (USE-03)."""

    joins: str
    params: list[Any]

    @classmethod
    def of_entity(cls, entity_id: int) -> "MappingJoin":
        """Prepare the rules of an entity: in order of priority, then age.

        A rule counts while its department is active, lies in the entity or below it, and takes cost on the
        day of the charge; otherwise the next rule is asked.
        """
        _execute("DROP TABLE IF EXISTS pg_temp.usage_rules")
        _execute(
            """
            CREATE TEMPORARY TABLE usage_rules ON COMMIT DROP AS
            SELECT row_number() OVER (ORDER BY rule.priority, rule.id) AS place, rule.id AS rule_id, rule.source,
                rule.tag_key, rule.value, department.id AS department_id, department.entity_id,
                department.closed_on
            FROM usage_mapping_rules AS rule
            JOIN departments AS department ON department.id = rule.department_id AND department.is_active
            JOIN entity_closure ON entity_closure.ancestor_id = rule.entity_id
                AND entity_closure.descendant_id = department.entity_id
            WHERE rule.entity_id = %s AND rule.is_active
            """,
            [entity_id],
        )
        _execute("ANALYZE usage_rules")
        kinds = _rows("SELECT DISTINCT source, tag_key FROM usage_rules ORDER BY source, tag_key")
        return cls._over([(MappingSource(source), tag_key) for source, tag_key in kinds])

    @classmethod
    def _over(cls, kinds: list[tuple[MappingSource, str]]) -> "MappingJoin":
        """One equality join per kind of rule (a rule's value is unique in its kind), then the least place wins."""
        joins: list[str] = []
        params: list[Any] = []
        places: list[str] = []
        for source, tag_key in kinds:
            for compared in _COMPARED[source]:
                name = f"match_{len(places)}"
                joins.append(
                    f"LEFT JOIN usage_rules AS {name} ON {name}.source = %s AND {name}.tag_key = %s "
                    f"AND {name}.value = {compared} "
                    f"AND ({name}.closed_on IS NULL OR staged.charge_date < {name}.closed_on)"
                )
                params += [source.value, tag_key]
                if source == MappingSource.TAG:
                    params.append(tag_key)
                places.append(f"{name}.place")
        least = f"least({', '.join(places)})" if places else "NULL"
        joins.append(f"LEFT JOIN usage_rules AS rule ON rule.place = {least}")
        return cls("\n".join(joins), params)
