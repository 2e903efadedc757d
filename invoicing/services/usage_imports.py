"""Usage files in, once, whole or not at all (USE-01, USE-02).

    result = usage_file_import(actor=actor, entity=entity, file=opened, file_name="september.csv")

registers the file and takes it in. Doors that answer before the work is done register it and leave the rest to a
job: `usage_import_register`, then `usage_import_run` with the import's id.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

from django.core.files import File
from django.db import DatabaseError, IntegrityError, connection, transaction

from core import clock
from core.access import Actor, get_visible, has, require
from core.errors import BillingError, Conflict, Invalid
from core.history import record_as
from core.locks import advisory_lock, try_advisory_lock
from core.outbox import publish
from core.progress import Progress
from entities.models import Entity
from invoicing.focus.errors import FileRefused
from invoicing.focus.reader import FocusReader
from invoicing.focus.source import FocusSource
from invoicing.models import BilledItem, ImportStatus, RejectedRow, RejectedRowStatus, UsageImport
from invoicing.selectors.usage import convertible_currencies, group_root, overlapping_imports
from invoicing.services.usage_history import write_history
from invoicing.services.usage_storage import Staging, Stored, sums_as_text

READING_SHARE = 600
WHOLE = 1000


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is: `done` of `total` (a thousand parts), and in words."""

    done: int
    total: int
    rows: int
    message: str


ProgressHook = Callable[[ImportProgress], None]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The import of a file; `message` says so where the file had been imported before."""

    usage_import: UsageImport
    already_imported: bool = False
    message: str = ""


def progress_key(usage_import_id: int) -> str:
    """The key under which `core.progress` shows how far an import is."""
    return f"usage-import:{usage_import_id}"


def _own_lock(usage_import_id: int) -> str:
    return f"usage-import:{usage_import_id}"


def usage_file_import(
    *, actor: Actor, entity: Entity, file: IO[bytes], file_name: str, on_progress: ProgressHook | None = None
) -> ImportResult:
    """Take a FOCUS file in for an entity and those below it (USE-01, USE-02, USE-03).

    The same file again in the same group adds nothing, and the result says so. A file that is refused leaves an
    import that is failed and says why (`error_code`, `error_message`, `error_line`).
    Raises Forbidden; Conflict `already_imported` when the earlier import is out of the actor's sight.
    """
    registered = usage_import_register(actor=actor, entity=entity, file=file, file_name=file_name)
    if registered.already_imported:
        return registered
    return usage_import_run(actor=actor, usage_import=registered.usage_import, on_progress=on_progress)


def usage_import_register(*, actor: Actor, entity: Entity, file: IO[bytes], file_name: str) -> ImportResult:
    """Keep the file and write down that it waits to be imported.

    A file that is in already in the group is not kept again. One whose import has not succeeded yet keeps its
    import, so that starting anew leaves one line in the list.
    """
    require(actor, "invoicing.add_usageimport", entity)
    name = PurePath(file_name.replace("\\", "/").replace("\0", "")).name[:255] or "usage.csv"
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary file
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    with transaction.atomic(), record_as(actor):
        root = group_root(entity)
        advisory_lock(f"usage-file:{root.pk}:{digest}")
        earlier = _completed_import(root.pk, digest)
        if earlier is not None:
            return _already_imported(actor, earlier)
        usage_import = (
            UsageImport.objects.select_for_update()
            .filter(
                entity=entity,
                root=root,
                file_sha256=digest,
                status__in=[ImportStatus.WAITING, ImportStatus.RUNNING, ImportStatus.FAILED],
            )
            .first()
        )
        if usage_import is None:
            usage_import = UsageImport(
                entity=entity, root=root, file_name=name, file_sha256=digest, file_size=size, created_by=actor
            )
        elif not usage_import_is_running(usage_import):
            _let_wait(usage_import)
        if not usage_import.file.name or not usage_import.file.storage.exists(usage_import.file.name):
            usage_import.file.save(f"{digest[:12]}-{name[-100:]}", File(file), save=False)
            usage_import.save()
        return ImportResult(usage_import)


def _completed_import(root_id: int, digest: str) -> UsageImport | None:
    return UsageImport.objects.filter(
        root_id=root_id, file_sha256=digest, status=ImportStatus.COMPLETED
    ).first()


def _already_imported(actor: Actor, earlier: UsageImport) -> ImportResult:
    when = f"{earlier.finished_at:%Y-%m-%d}"
    if not has(actor, "invoicing.view_usageimport", earlier):
        raise Conflict(
            "already_imported",
            f"This file was imported on {when} for another entity of the group: nothing was added.",
        )
    message = f"This file was already imported as #{earlier.pk} on {when}: nothing was added."
    return ImportResult(earlier, already_imported=True, message=message)


def usage_import_run(
    *, actor: Actor, usage_import: UsageImport, on_progress: ProgressHook | None = None
) -> ImportResult:
    """Take in a registered file: at first, after a failure, or after a process that died.

    Whoever runs the same import at the same time waits and then finds it done. Imports of one group follow one
    another, so that two files with the same rows cannot wait for each other. May run any number of times.
    """
    require(actor, "invoicing.add_usageimport", usage_import.entity)
    with record_as(actor):
        started = _start(usage_import.pk)
        if started is None:
            return _finished_by_others(actor, usage_import.pk)
        report = _Report(started, on_progress)
        try:
            done = _take_in(started.pk, report)
        except BillingError as refusal:
            failed = _fail(started.pk, refusal)
            report.progress.fail(refusal.message)
            return ImportResult(failed, message=refusal.message)
        except DatabaseError:
            _fail(started.pk, Conflict("database_error", "The database stopped the import. Start it again."))
            report.progress.fail("The database stopped the import. Start it again.")
            raise
        if done is None:
            return _finished_by_others(actor, usage_import.pk)
        report.progress.finish(f"{done.rows_imported:,} rows imported")
        return ImportResult(done)


def _start(pk: int) -> UsageImport | None:
    """Step to RUNNING, in a transaction of its own so that others see it; None if it is in already."""
    with transaction.atomic():
        usage_import = UsageImport.objects.select_for_update(of=("self",)).get(pk=pk)
        if usage_import.status == ImportStatus.COMPLETED:
            return None
        if usage_import.status == ImportStatus.UNDONE:
            raise Conflict("import_undone", f"Import #{pk} was undone. Import its file again as a new one.")
        usage_import.start()
        usage_import.started_at, usage_import.finished_at = clock.now(), None
        usage_import.error_code = usage_import.error_message = ""
        usage_import.error_line = None
        usage_import.root = group_root(usage_import.entity)
        usage_import.save()
    return usage_import


def _finished_by_others(actor: Actor, pk: int) -> ImportResult:
    return _already_imported(actor, UsageImport.objects.get(pk=pk))


def _take_in(pk: int, report: "_Report") -> UsageImport | None:
    """Everything of the file in one transaction; None if another process has done it meanwhile."""
    with transaction.atomic():
        report.say(0, 0, "Waiting for another import of the group")
        advisory_lock(_own_lock(pk))
        usage_import = UsageImport.objects.select_related("entity").get(pk=pk)
        advisory_lock(f"usage-group:{usage_import.root_id}")
        if UsageImport.objects.get(pk=pk).status != ImportStatus.RUNNING:
            return None
        earlier = _completed_import(usage_import.root_id, usage_import.file_sha256)
        if earlier is not None:
            raise Conflict(
                "already_imported",
                f"This file was already imported as #{earlier.pk} on {earlier.finished_at:%Y-%m-%d}: "
                "nothing was added.",
            )
        RejectedRow.objects.filter(usage_import=usage_import)._raw_delete("default")
        stored = _read_and_store(usage_import, report)
        usage_import.complete()
        usage_import.finished_at = clock.now()
        _note(usage_import, stored)
        usage_import.save()
        publish(
            "usage.imported",
            {
                "usage_import_id": pk,
                "entity_id": usage_import.entity_id,
                "billed_cost": usage_import.billed_cost,
            },
            key=f"usage_import:{pk}",
        )
    return usage_import


def _read_and_store(usage_import: UsageImport, report: "_Report") -> Stored:
    currency = usage_import.entity.currency
    try:
        opened = usage_import.file.open("rb")
    except (OSError, ValueError) as error:
        raise FileRefused(
            "file_missing", "The file is no longer in the store. Import it again from where you have it."
        ) from error
    with opened as file:
        source = FocusSource(file)
        reader = FocusReader(source, convertible=convertible_currencies(currency), into=currency)
        usage_import.columns, usage_import.format_version = reader.header, reader.version
        staging = Staging(usage_import)
        staging.fill(reader, lambda rows, _: report.reading(source.bytes_read, rows))
    if not staging.staged and not staging.rejected:
        raise FileRefused("no_rows", "The file has a header but no rows. Export it again.")
    return staging.store(report.storing)


def _note(usage_import: UsageImport, stored: Stored) -> None:
    usage_import.rows_read = stored.read
    usage_import.rows_imported = stored.imported
    usage_import.rows_duplicate = stored.duplicate
    usage_import.rows_repeated = stored.repeated
    usage_import.rows_rejected = stored.rejected
    usage_import.billed_cost = sums_as_text(stored.imported_cost)
    usage_import.duplicate_cost = sums_as_text(stored.duplicate_cost)
    usage_import.overlaps = stored.overlaps


def _fail(pk: int, refusal: BillingError) -> UsageImport:
    with transaction.atomic():
        usage_import = UsageImport.objects.select_for_update(of=("self",)).get(pk=pk)
        usage_import.fail()
        usage_import.finished_at = clock.now()
        usage_import.error_code, usage_import.error_message = refusal.code, refusal.message
        usage_import.error_line = refusal.extra.get("line")
        usage_import.save()
    return usage_import


class _Report:
    """Tells the watchers: the page through Redis, the terminal through its hook."""

    def __init__(self, usage_import: UsageImport, hook: ProgressHook | None) -> None:
        self.progress = Progress(progress_key(usage_import.pk))
        self.hook = hook
        self.size = usage_import.file_size

    def say(self, done: int, rows: int, message: str) -> None:
        self.progress.update(done, WHOLE, message)
        if self.hook is not None:
            self.hook(ImportProgress(done, WHOLE, rows, message))

    def reading(self, bytes_read: int, rows: int) -> None:
        share = min(bytes_read, self.size) * READING_SHARE // self.size if self.size else 0
        self.say(share, rows, f"Reading: {rows:,} rows")

    def storing(self, rows: int, total: int) -> None:
        share = rows * (WHOLE - READING_SHARE) // total if total else 0
        self.say(READING_SHARE + share, rows, f"Storing: {rows:,} of {total:,} rows")


# --- again, and back --------------------------------------------------------------------------------------


def usage_import_is_running(usage_import: UsageImport) -> bool:
    """Say whether a process works on it now: a running import whose lock is free was interrupted."""
    if usage_import.status != ImportStatus.RUNNING:
        return False
    with transaction.atomic():
        return not try_advisory_lock(_own_lock(usage_import.pk))


def usage_import_retry(*, actor: Actor, usage_import: UsageImport) -> UsageImport:
    """Let a failed, waiting or interrupted import begin anew; the caller then runs it or has it run.

    Raises Conflict `import_running`, `import_not_retryable`.
    """
    require(actor, "invoicing.add_usageimport", usage_import.entity)
    with transaction.atomic(), record_as(actor, "Started again"):
        locked = UsageImport.objects.select_for_update(of=("self",)).get(pk=usage_import.pk)
        if locked.status in {ImportStatus.COMPLETED, ImportStatus.UNDONE}:
            raise Conflict(
                "import_not_retryable",
                f"Import #{locked.pk} is {locked.get_status_display().lower()}: there is nothing to start again.",
            )
        if usage_import_is_running(locked):
            raise Conflict("import_running", f"Import #{locked.pk} is running. Wait until it has ended.")
        _let_wait(locked)
    return locked


def _let_wait(usage_import: UsageImport) -> None:
    usage_import.wait()
    usage_import.save()
    Progress(progress_key(usage_import.pk)).update(0, WHOLE, "Waiting for a worker to begin")


def usage_import_undo(*, actor: Actor, usage_import: UsageImport, reason: str) -> UsageImport:
    """Take out again what an import brought; its file can then be imported anew.

    Refused with Conflict while a row stands on an invoice (`import_billed`; a void one counts, as it stays as it
    was) and while a later import relies on rows of this one (`import_overlapped`).
    """
    require(actor, "invoicing.change_usageimport", usage_import.entity)
    reason = reason.strip()
    if not reason:
        raise Invalid("reason_missing", "Say why the import is undone.")
    with transaction.atomic(), record_as(actor, reason):
        advisory_lock(f"usage-group:{usage_import.root_id}")
        locked = UsageImport.objects.select_for_update(of=("self",)).get(pk=usage_import.pk)
        _refuse_undo(locked)
        rejected = RejectedRow.objects.filter(usage_import=locked).exclude(status=RejectedRowStatus.DISCARDED)
        keys = list(rejected.values_list("pk", flat=True))
        rejected.update(
            status=RejectedRowStatus.DISCARDED,
            record=None,
            resolution_reason=f"Import undone: {reason}"[:500],
            updated_at=clock.now(),
        )
        write_history(RejectedRow, keys)
        _delete_records(locked)
        locked.undo()
        locked.undone_at, locked.undone_by, locked.undo_reason = clock.now(), actor, reason[:500]
        locked.save()
        publish("usage.undone", {"usage_import_id": locked.pk}, key=f"usage_import:{locked.pk}")
    return locked


def _refuse_undo(usage_import: UsageImport) -> None:
    if usage_import.status != ImportStatus.COMPLETED:
        raise Conflict(
            "import_not_completed",
            f"Import #{usage_import.pk} is {usage_import.get_status_display().lower()}: there is nothing to undo.",
        )
    later = sorted(other.pk for other in overlapping_imports(usage_import))
    if later:
        names = ", ".join(f"#{pk}" for pk in later)
        raise Conflict(
            "import_overlapped",
            f"Later imports ({names}) had rows that this one had brought, and rely on it. Undo them first.",
            extra={"usage_import_ids": later},
        )
    billed = BilledItem.objects.filter(usage_record__usage_import=usage_import)
    if billed.exists():
        raise _billed(usage_import, billed)


def _billed(usage_import: UsageImport, billed: Any) -> Conflict:
    invoices = list(
        billed.order_by("invoice_line__invoice_id")
        .values_list("invoice_line__invoice_id", flat=True)
        .distinct()[:20]
    )
    names = ", ".join(f"#{pk}" for pk in invoices)
    return Conflict(
        "import_billed",
        f"Rows of import #{usage_import.pk} stand on the invoices {names}. Delete those that are drafts; what was "
        "issued stays, and is corrected by a credit note.",
        extra={"invoice_ids": invoices},
    )


def _delete_records(usage_import: UsageImport) -> None:
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM usage_records WHERE usage_import_id = %s", [usage_import.pk])
            connection.check_constraints()
    except IntegrityError as error:
        # An invoice took rows up between the check and the deletion.
        raise _billed(
            usage_import, BilledItem.objects.filter(usage_record__usage_import=usage_import)
        ) from error


def usage_import_get(*, actor: Actor, pk: Any) -> UsageImport:
    """The import, if the actor may see it; NotFound otherwise (ENT-04)."""
    found: UsageImport = get_visible(
        UsageImport.objects.select_related("entity", "created_by"), actor, pk, name="usage import"
    )
    return found
