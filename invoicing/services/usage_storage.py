"""Parsed rows into usage records, set by set, inside the caller's transaction (USE-02, USE-03).

Rows go portion by portion: parsed here, copied into a temporary table, and inserted by one statement that maps
them to departments. While the database inserts one portion the next is parsed. Memory stays flat.

A row's identity in its group is its content and which of the equal rows of its file it is (docs/adr/0003). At
first equal rows are numbered within their portion. A row whose number is taken, by an earlier import or by an
earlier portion, is left over; in the end the leftovers get the numbers that are still missing, and those for
which none is missing had been brought by earlier imports.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from core.errors import Conflict
from core.money import EXACT, plain_amount
from invoicing.focus.reader import RejectedLine
from invoicing.focus.rows import STAGED_FIELDS, StagedRow
from invoicing.models import MappingSource, RejectedRow, UsageImport

_ROWS_PER_PORTION = 10_000
_REJECTED_PER_PORTION = 1_000
_LINES_PER_WRITE = 100

_FIELDS = ", ".join(STAGED_FIELDS)
_STAGED = ", ".join(f"staged.{name}" for name in STAGED_FIELDS)
_COPY = f"COPY usage_portion (occurrence, {_FIELDS}) FROM STDIN"

_DIGEST = STAGED_FIELDS.index("row_hash")
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


def add_to(sums: Sums, currency: str, amount: Decimal) -> None:
    """Add an exact amount to the sum of its currency."""
    sums[currency] = EXACT.add(sums.get(currency, Decimal(0)), amount)


def sums_as_text(sums: Sums) -> dict[str, str]:
    """Return exact sums as UsageImport keeps them."""
    return {currency: plain_amount(amount, currency) for currency, amount in sorted(sums.items())}


def copy_line(row: StagedRow, occurrence: int) -> str:
    """Return the row as one line of COPY's text format. Only texts can hold what needs to be escaped."""
    numbers = [number or "\\N" for number in row[_FIRST_NUMBER:_FIRST_TEXT]]
    texts = row[_FIRST_TEXT:]
    rest = "\t".join(texts)
    if "\\" in rest or "\n" in rest or "\r" in rest or rest.count("\t") != _TABS_BETWEEN_TEXTS:
        rest = "\t".join([text.translate(_ESCAPES) for text in texts])
    line_number, digest, *first = row[:_FIRST_NUMBER]
    return f"{occurrence}\t{line_number}\t\\{digest}\t" + "\t".join([*first, *numbers, rest]) + "\n"


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


@dataclass(slots=True)
class _Portion:
    """Some rows, ready to be copied."""

    lines: list[str] = field(default_factory=list)
    rejected: list[RejectedLine] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lines or self.rejected)


def _portions(rows: Iterable[StagedRow | RejectedLine]) -> Iterator[_Portion]:
    """Parse rows and cut them into portions, equal rows of a portion numbered 1, 2, 3 …"""
    portion = _Portion()
    seen: dict[str, int] = {}
    for row in rows:
        if isinstance(row, RejectedLine):
            portion.rejected.append(row)
        else:
            digest = row[_DIGEST]
            occurrence = seen[digest] = seen.get(digest, 0) + 1
            portion.lines.append(copy_line(row, occurrence))
        if len(portion.lines) == _ROWS_PER_PORTION or len(portion.rejected) == _REJECTED_PER_PORTION:
            yield portion
            portion = _Portion()
            seen.clear()
    if portion:
        yield portion


class UsageStore:
    """Takes the rows of one import in. Use it inside a transaction; its temporary tables go with it."""

    def __init__(self, usage_import: UsageImport) -> None:
        if not connection.in_atomic_block:
            raise transaction.TransactionManagementError(
                "Storing rows needs a transaction around all of them."
            )
        self.usage_import = usage_import
        self.stored = Stored()
        self.taken = 0
        self.taken_cost: Sums = {}
        self._left = 0
        _execute(
            "DROP TABLE IF EXISTS pg_temp.usage_portion, pg_temp.usage_left, pg_temp.usage_rules, "
            "pg_temp.usage_wanted, pg_temp.usage_placed"
        )
        for table in ("usage_portion", "usage_left"):
            _execute(
                f"CREATE TEMPORARY TABLE {table} ON COMMIT DROP AS "
                f"SELECT occurrence, {_FIELDS} FROM usage_records WITH NO DATA"
            )
        self._mapping = MappingJoin.of_entity(usage_import.entity_id)

    # --- portion by portion ------------------------------------------------------------------------------

    def take(self, rows: Iterable[StagedRow | RejectedLine], on_rows: RowHook) -> None:
        """Take in everything that `rows` yields; what is rejected is kept for repair.

        The insertion of a portion runs in a thread that alone uses the connection then; parsing, which is all
        that `rows` may do, goes on meanwhile.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="usage-insert") as worker:
            inserting: Future[_Inserted] | None = None
            try:
                for portion in _portions(rows):
                    self._add(inserting)
                    inserting = None
                    self._copy(portion)
                    self._keep_rejected(portion.rejected)
                    on_rows(self.taken + self.stored.rejected, 0)
                    if portion.lines:
                        inserting = worker.submit(self._insertion(len(portion.lines)))
            finally:
                # Whatever happens, the connection must be free before it is used again, be it to roll back.
                if inserting is not None:
                    inserting.exception()
            self._add(inserting)
        on_rows(self.taken + self.stored.rejected, 0)

    def _copy(self, portion: _Portion) -> None:
        _execute("TRUNCATE usage_portion")
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for first in range(0, len(portion.lines), _LINES_PER_WRITE):
                copy.write("".join(portion.lines[first : first + _LINES_PER_WRITE]))
        self.taken += len(portion.lines)
        for currency, cost in _rows("SELECT currency, sum(billed_cost) FROM usage_portion GROUP BY currency"):
            add_to(self.taken_cost, currency, cost)

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
        self.stored.rejected += len(lines)

    def _insertion(self, rows: int) -> "Callable[[], _Inserted]":
        """Return the insertion of what lies in usage_portion, for the thread: it uses psycopg alone."""
        insert, insert_params = self._insert_from("usage_portion AS staged", "staged.occurrence")
        root_id, import_id = self.usage_import.root_id, self.usage_import.pk
        assert connection.connection is not None
        session = connection.connection

        def run() -> _Inserted:
            with session.cursor() as cursor:
                cursor.execute(insert, insert_params)
                added = list(cursor.fetchall())
                left = rows - sum(number for _, number, _, _ in added)
                if left:
                    cursor.execute(_KEEP_LEFT, [root_id, import_id])
                # Foreign keys are checked now, portion by portion, rather than all of them at the commit.
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            return _Inserted(added, left)

        return run

    def _insert_from(self, source: str, occurrence: str, where: str = "") -> tuple[str, list[Any]]:
        """Return the statement that maps and inserts rows; it answers what it inserted, per currency."""
        usage_import = self.usage_import
        return (
            f"""
            WITH added AS (
                INSERT INTO usage_records (
                    usage_import_id, root_id, entity_id, department_id, mapping_rule_id, occurrence, {_FIELDS}
                )
                SELECT %s, %s, coalesce(rule.entity_id, %s), rule.department_id, rule.rule_id,
                    {occurrence}, {_STAGED}
                FROM {source}
                {self._mapping.joins}
                {where}
                ON CONFLICT (root_id, row_hash, occurrence) DO NOTHING
                RETURNING currency, billed_cost, occurrence
            )
            SELECT currency, count(*), sum(billed_cost), count(*) FILTER (WHERE occurrence > 1)
            FROM added GROUP BY currency
            """,
            [usage_import.pk, usage_import.root_id, usage_import.entity_id, *self._mapping.params],
        )

    def _add(self, inserting: "Future[_Inserted] | None") -> None:
        if inserting is None:
            return
        with connection.wrap_database_errors:
            inserted = inserting.result()
        self._left += inserted.left
        self._count(inserted.added)

    def _count(self, added: Iterable[tuple[str, int, Decimal, int]]) -> None:
        for currency, number, cost, repeated in added:
            self.stored.imported += number
            self.stored.repeated += repeated
            add_to(self.stored.imported_cost, currency, cost)

    # --- what was left over ------------------------------------------------------------------------------

    def finish(self, on_rows: RowHook) -> Stored:
        """Place what was left over, and prove that nothing was lost on the way.

        Raises Conflict `import_sums_differ` if the sums of the rows read and of the records differ.
        """
        if self._left:
            self._place_left(on_rows)
            self._find_duplicates()
        self._prove_sums()
        return self.stored

    def _place_left(self, on_rows: RowHook) -> None:
        usage_import = self.usage_import
        _execute("ANALYZE usage_left (line_number, row_hash)")
        _execute(_WANTED, [usage_import.root_id, usage_import.pk])
        _execute("ANALYZE usage_wanted")
        _execute(_PLACED, [usage_import.root_id])
        _execute("CREATE INDEX ON usage_placed (place)")
        _execute("CREATE INDEX ON usage_left (line_number)")
        _execute("ANALYZE usage_placed")
        total = int(_rows("SELECT count(*) FROM usage_placed")[0][0])
        insert, params = self._insert_from(
            "usage_placed JOIN usage_left AS staged USING (line_number)",
            "usage_placed.occurrence",
            "WHERE usage_placed.place > %s AND usage_placed.place <= %s",
        )
        for first in range(0, total, _ROWS_PER_PORTION):
            self._count(_rows(insert, [*params, first, first + _ROWS_PER_PORTION]))
            connection.check_constraints()
            on_rows(min(first + _ROWS_PER_PORTION, total), total)

    def _find_duplicates(self) -> None:
        """Find the earlier imports that had brought the rows for which no number was missing."""
        stored = self.stored
        for import_id, currency, number, cost, repeated in _rows(
            """
            SELECT earlier.usage_import_id, earlier.currency, count(*), sum(earlier.billed_cost),
                count(*) FILTER (WHERE earlier.occurrence > 1)
            FROM usage_wanted
            JOIN usage_records AS earlier ON earlier.root_id = %s AND earlier.row_hash = usage_wanted.row_hash
                AND earlier.occurrence <= usage_wanted.total AND earlier.usage_import_id <> %s
            GROUP BY earlier.usage_import_id, earlier.currency
            """,
            [self.usage_import.root_id, self.usage_import.pk],
        ):
            stored.duplicate += number
            stored.repeated += repeated
            add_to(stored.duplicate_cost, currency, cost)
            stored.overlaps[str(import_id)] = stored.overlaps.get(str(import_id), 0) + number

    def _prove_sums(self) -> None:
        """USE-03: what was read = what is in + what was in already, in rows and in money, to the last digit."""
        stored = self.stored
        kept = dict(stored.imported_cost)
        for currency, cost in stored.duplicate_cost.items():
            add_to(kept, currency, cost)
        if self.taken_cost != kept or stored.imported + stored.duplicate != self.taken:
            raise Conflict(
                "import_sums_differ",
                f"{self.taken:,} rows were read and {stored.imported + stored.duplicate:,} would be in; the sums "
                f"are {sums_as_text(self.taken_cost)} and {sums_as_text(kept)}. Nothing was taken in; start the "
                "import again.",
            )


@dataclass(frozen=True, slots=True)
class _Inserted:
    """What one portion brought, per currency, and how many of its rows were left over."""

    added: list[tuple[str, int, Decimal, int]]
    left: int


# Rows are looked up by their content. The `+ 0` keeps PostgreSQL from the index on the import: its statistics know
# nothing of an import that is under way, so it would expect no row of it and read all of them, for each content.
_KEEP_LEFT = """
INSERT INTO usage_left SELECT portion.* FROM usage_portion AS portion
WHERE NOT EXISTS (
    SELECT 1 FROM usage_records AS record
    WHERE record.root_id = %s AND record.row_hash = portion.row_hash
        AND record.usage_import_id + 0 = %s AND record.line_number = portion.line_number
)
"""

# How many equal rows the file has of each content that is left over: those that are in and those left.
_WANTED = """
CREATE TEMPORARY TABLE usage_wanted ON COMMIT DROP AS
SELECT row_hash, number + (
    SELECT count(*) FROM usage_records AS record
    WHERE record.root_id = %s AND record.row_hash = counted.row_hash AND record.usage_import_id + 0 = %s
) AS total
FROM (SELECT row_hash, count(*) AS number FROM usage_left GROUP BY row_hash) AS counted
"""

# Which left row gets which of the numbers 1 … total that nobody has.
_PLACED = """
CREATE TEMPORARY TABLE usage_placed ON COMMIT DROP AS
SELECT line_number, occurrence, row_number() OVER (ORDER BY line_number) AS place
FROM (
    SELECT row_hash, line_number, row_number() OVER (PARTITION BY row_hash ORDER BY line_number) AS turn
    FROM usage_left
) AS waiting
JOIN (
    SELECT row_hash, number AS occurrence, row_number() OVER (PARTITION BY row_hash ORDER BY number) AS turn
    FROM usage_wanted, generate_series(1, usage_wanted.total) AS number
    WHERE NOT EXISTS (
        SELECT 1 FROM usage_records AS record
        WHERE record.root_id = %s AND record.row_hash = usage_wanted.row_hash AND record.occurrence = number
    )
) AS missing USING (row_hash, turn)
"""


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
