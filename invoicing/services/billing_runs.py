"""Billing runs: all payers of a scope for a period, previewed, checked, then issued (INV-03, INV-04).

    run = run_create(actor=actor, scope=entity, period_start=start, period_end=end)
    run_work(run=run)                    # drafts and planned credit notes, payer by payer, with what is unusual
    run_check(actor=manager, run=run)    # a person confirms, perhaps leaving payers out
    run_issue(actor=actor, run=run)
    run_work(run=run)                    # issues exactly what was previewed

The functions that say what shall happen write it down and return; `run_work` does it, in the name of who said so. It
may be called any number of times, by several processes at once and after one has died: a payer's row is locked while
it is worked on, and what became of the payer is committed together with its draft or its invoice.

Order of locks: the run (shared by those who work, alone for who changes its state), a payer's row, then those of
making or issuing its invoice.
"""

import datetime
import logging
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from core import clock
from core.access import Actor, has, require, system_actor
from core.errors import BillingError, Conflict, FieldProblem, Invalid, constraint_name
from core.history import bulk_create_with_history, record_as
from core.outbox import publish
from entities.models import Entity, EntityClosure
from entities.periods import check_period
from invoicing.models import (
    BillingRun,
    BillingRunItem,
    BillingSchedule,
    Invoice,
    InvoiceStatus,
    IssueMode,
    ItemStatus,
    RunStatus,
)
from invoicing.selectors.billing_anomalies import credit_anomaly, look_at
from invoicing.selectors.billing_runs import (
    RunProgress,
    invoice_fingerprint,
    issuers_of,
    payers_in,
    run_counts,
    run_progress,
)
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.contract_credits import contract_credits_issue, contract_credits_plan
from invoicing.services.invoice import invoice_discard, invoice_issue

logger = logging.getLogger(__name__)

MAX_PAYERS = 10_000
MAX_ATTEMPTS = 10
"""So often the work on a payer is begun anew after its process died, before the payer counts as failed."""

NOTHING_CODES = frozenset({"nothing_to_invoice", "billed_elsewhere"})
"""Why a payer gets no invoice; it may have credit notes all the same."""

ONLY_CREDITS = "credit notes only"
"""Stands for the fingerprint where there is no draft; the credit notes are compared by what was planned."""

ZERO = Decimal(0)

ProgressHook = Callable[[RunProgress], None]


# --- What shall happen -----------------------------------------------------------------------------------


def run_create(
    *,
    actor: Actor,
    scope: Entity,
    period_start: datetime.date,
    period_end: datetime.date,
    issuer: Entity | None = None,
    issue_date: datetime.date | None = None,
    schedule: BillingSchedule | None = None,
) -> BillingRun:
    """Begin the run of a scope and a period: one waiting row per payer, top down; `run_work` prepares them.

    With ``issuer`` only the payers whom it invoices. Raises Invalid ``period_not_ordered``, ``not_an_issuer``; Conflict
    ``run_open`` (one open run per scope and period), ``no_payers``, ``too_many_payers``.
    """
    require(actor, "invoicing.add_billingrun", scope)
    check_period(period_start, period_end)
    if issuer is not None and not issuer.is_issuer:
        raise _field_problem(
            "issuer_id", "not_an_issuer", f"{issuer} issues no invoices. Choose an issuer, or none."
        )
    payers = _payers(scope, period_start, period_end, issuer)
    with transaction.atomic(), record_as(actor):
        run = BillingRun(
            scope=scope,
            issuer=issuer,
            period_start=period_start,
            period_end=period_end,
            issue_date=issue_date,
            schedule=schedule,
            issue_mode=schedule.issue_mode if schedule else IssueMode.BY_HAND,
            acting=actor,
            started_by=actor,
            started_at=clock.now(),
        )
        try:
            with transaction.atomic():
                run.save()
        except IntegrityError as error:
            if constraint_name(error) != "billing_run_one_open":
                raise
            raise _run_open(actor, run) from error
        bulk_create_with_history(
            BillingRunItem,
            [
                BillingRunItem(run=run, entity_id=pk, position=place)
                for place, pk in enumerate(payers, start=1)
            ],
        )
    return run


def run_resume(
    *, actor: Actor, run: BillingRun, items: Collection[BillingRunItem] | None = None
) -> BillingRun:
    """Let a run go on: what was interrupted as it is, else prepare its failed payers anew, or the given ones.

    Payers that were left out or are prepared already are prepared again only if they are given. A run that was
    checked has to be checked again. Raises Conflict ``run_over``, ``nothing_to_resume``, ``already_issued``.
    """
    require(actor, "invoicing.change_billingrun", run)
    with transaction.atomic(), record_as(actor, "Resumed"):
        locked = _lock(run)
        _refuse_over(locked)
        if locked.status in (RunStatus.PREPARED, RunStatus.CHECKED):
            _wait_again(locked, items)
            locked.prepare_again()
            locked.checked_by = locked.checked_at = None
        locked.acting = actor
        locked.save()
    return locked


def run_check(
    *,
    actor: Actor,
    run: BillingRun,
    leave_out: Mapping[int, str] | None = None,
    expected_version: int | None = None,
) -> BillingRun:
    """Confirm what a run has prepared, so that it can be issued.

    ``leave_out`` says why payers, by the id of their row, are not invoiced: their drafts are given up. A run of which
    nothing is left then is finished. Raises Conflict ``run_not_prepared``, ``nothing_to_check``, ``already_issued``;
    Invalid ``reason_required``, ``unknown_item``; Stale.
    """
    require(actor, "invoicing.check_billingrun", run)
    with transaction.atomic(), record_as(actor):
        locked = _lock(run)
        locked.expect_version(expected_version)
        if locked.status != RunStatus.PREPARED:
            raise Conflict("run_not_prepared", _not_prepared(locked), extra={"status": locked.status})
        for item_id, reason in sorted((leave_out or {}).items()):
            _leave_out(actor, locked, item_id, reason)
        if not _finish_if_decided(locked, actor):
            if not run_counts(locked.pk).prepared:
                raise Conflict(
                    "nothing_to_check",
                    "No invoice is prepared. Put right why the payers failed and resume the run, or leave them out.",
                )
            _confirm(locked, actor)
    return locked


def item_leave_out(*, actor: Actor, item: BillingRunItem, reason: str) -> BillingRunItem:
    """Leave one payer out of a run that is prepared or checked; its draft is given up.

    Raises Conflict ``run_not_prepared``, ``already_issued``; Invalid ``reason_required``.
    """
    require(actor, "invoicing.check_billingrun", item)
    with transaction.atomic(), record_as(actor):
        locked = _lock(item.run)
        if locked.status not in (RunStatus.PREPARED, RunStatus.CHECKED):
            raise Conflict("run_not_prepared", _not_prepared(locked), extra={"status": locked.status})
        left_out = _leave_out(actor, locked, item.pk, reason)
        _finish_if_decided(locked, actor)
    return left_out


def run_issue(*, actor: Actor, run: BillingRun, issue_date: datetime.date | None = None) -> BillingRun:
    """Have the checked invoices issued; `run_work` does it, one by one.

    ``issue_date`` is the date of all of them; without it each gets that of the day in its issuer's zone. Needs the
    right to issue at every issuer concerned. Raises Conflict ``run_not_checked``; Invalid ``issue_date_in_future``.
    """
    require(actor, "invoicing.change_billingrun", run)
    with transaction.atomic(), record_as(actor):
        locked = _lock(run)
        issue_date = issue_date or locked.issue_date
        for issuer in _issuers_concerned(locked):
            require(actor, "invoicing.issue_invoice", issuer)
            if issue_date is not None and issue_date > clock.today(issuer.time_zone):
                message = f"The issue date {issue_date} is in the future for {issuer}. Give today or an earlier day."
                raise _field_problem("issue_date", "issue_date_in_future", message)
        if locked.status != RunStatus.CHECKED:
            message = "Only a run that somebody has checked is issued."
            if locked.status == RunStatus.PREPARED:
                message += " Look at its anomalies and failures, then check it."
            else:
                message += f" This one is {locked.get_status_display().lower()}."
            raise Conflict("run_not_checked", message, extra={"status": locked.status})
        _begin_issuing(locked, actor, issue_date)
    return locked


def run_cancel(*, actor: Actor, run: BillingRun, reason: str) -> BillingRun:
    """Give a run up; what it issued stays. `run_work` then discards the drafts that it made.

    Raises Invalid ``reason_required``; Conflict ``run_over``.
    """
    require(actor, "invoicing.change_billingrun", run)
    reason = _reason(reason, "why the run is cancelled")
    with transaction.atomic(), record_as(actor, reason):
        locked = _lock(run)
        _refuse_over(locked)
        locked.cancel()
        locked.acting, locked.cancel_reason = actor, reason
        locked.finished_by, locked.finished_at = actor, clock.now()
        locked.save()
        _publish("cancelled", locked)
    return locked


# --- Doing it --------------------------------------------------------------------------------------------


def run_work(*, run: BillingRun, on_progress: ProgressHook | None = None) -> BillingRun:
    """Do what the state of a run calls for, payer by payer, until nothing is left to do; return the run as it is then.

    Prepares the drafts, issues what was checked, or discards the drafts of a cancelled run. A payer that fails is kept
    with the reason and stops no other. Payers that another process has in hand are left to it.
    """
    while True:
        step = _STEPS.get(RunStatus(_status_of(run.pk)))
        if step is None:
            break
        with record_as(BillingRun.objects.select_related("acting").get(pk=run.pk).acting):
            while step(run.pk):
                _tell(run.pk, on_progress)
            if not _settle(run.pk):
                break
    return BillingRun.objects.select_related("scope", "issuer").get(pk=run.pk)


def _prepare_next(run_id: int) -> bool:
    """Prepare one waiting payer; False if none is free to be taken."""
    item_id = _begin_attempt(run_id)
    if item_id is None:
        return False
    with transaction.atomic():
        run = _held(run_id, RunStatus.PREPARING)
        item = _item_in_hand(item_id, ItemStatus.WAITING)
        if run is None or item is None:
            return run is not None
        if item.attempts > MAX_ATTEMPTS:
            _fail(
                item,
                "gave_up",
                f"The work on this payer has ended its process {MAX_ATTEMPTS} times. Tell your administrator.",
            )
        else:
            _attempt(item, lambda: _prepare(run, item))
        item.save()
    return True


def _prepare(run: BillingRun, item: BillingRunItem) -> None:
    """Make the payer's draft, or bring it up to date, plan its credit notes, and look at them."""
    nothing: BillingError | None = None
    try:
        _prepare_draft(run, item)
    except BillingError as refusal:
        if refusal.code not in NOTHING_CODES or item.invoice_id is not None:
            raise
        nothing = refusal
    planned = contract_credits_plan(payer=item.entity, period_end=run.period_end, issuer=run.issuer)
    if nothing is not None:
        if not planned:
            raise nothing
        _without_invoice(item)
    item.credit_notes = [*_issued_notes(item), *(note.stored() for note in planned)]
    if planned:
        item.anomalies = [*item.anomalies, *(credit_anomaly(note.stored()).stored() for note in planned)]
    item.prepared_at = clock.now()
    item.status = ItemStatus.PREPARED
    item.error_code = item.error_text = ""


def _prepare_draft(run: BillingRun, item: BillingRunItem) -> None:
    result = consolidated_invoice_draft(
        actor=run.acting,
        payer=item.entity,
        period_start=run.period_start,
        period_end=run.period_end,
    )
    draft = result.invoice
    _refuse_other_run(draft, item)
    if run.issuer_id is not None and draft.issuer_id != run.issuer_id:
        raise Conflict(
            "other_issuer",
            f"{draft.issuer} invoices this payer now, not the issuer of the run. Leave the payer out.",
        )
    look = look_at(draft)
    item.made_draft = item.made_draft or result.created
    item.invoice = draft
    item.currency, item.subtotal, item.tax_total, item.total = (
        draft.currency, draft.subtotal, draft.tax_total, draft.total,
    )  # fmt: skip
    item.line_count = draft.lines.count()
    item.fingerprint = invoice_fingerprint(draft.pk)
    item.anomalies = [anomaly.stored() for anomaly in look.anomalies]
    item.previous_invoice = look.last.latest if look.last else None
    item.previous_total = look.last_total


def _without_invoice(item: BillingRunItem) -> None:
    """A payer that is only given something back; its preview is that of its credit notes."""
    item.currency, item.subtotal, item.tax_total, item.total = item.entity.currency, ZERO, ZERO, ZERO
    item.line_count, item.fingerprint, item.anomalies = 0, ONLY_CREDITS, []
    item.previous_invoice = item.previous_total = None


def _issued_notes(item: BillingRunItem) -> list[dict[str, Any]]:
    """The credit notes that the run has issued already; they stay, whatever is prepared again."""
    return [note for note in item.credit_notes if note["credit_note_id"]]


def _planned_notes(item: BillingRunItem) -> list[dict[str, Any]]:
    return [note for note in item.credit_notes if not note["credit_note_id"]]


def _refuse_other_run(draft: Invoice, item: BillingRunItem) -> None:
    holder = (
        BillingRunItem.objects.filter(invoice=draft)
        .exclude(pk=item.pk)
        .values_list("run_id", flat=True)
        .first()
    )
    if holder is not None:
        raise Conflict(
            "in_another_run",
            f"The draft of this payer belongs to billing run {holder}. Finish or cancel that one, then try again.",
            extra={"billing_run_id": holder},
        )


def _issue_next(run_id: int) -> bool:
    """Issue the draft of one prepared payer; False if none is free to be taken."""
    with transaction.atomic():
        run = _held(run_id, RunStatus.ISSUING)
        if run is None:
            return False
        item = _free(run_id, ItemStatus.PREPARED).first()
        if item is None:
            return False
        if _planned_notes(item):
            # In a transaction of their own, as they lock older documents than the draft.
            _attempt(item, lambda: _issue_credit_notes(run, item))
        else:
            item.attempts += 1
            _attempt(item, lambda: _issue(run, item))
        item.save()
    return True


def _issue_credit_notes(run: BillingRun, item: BillingRunItem) -> None:
    """Issue the credit notes if they are still what was previewed; the invoice is next."""
    planned = _planned_notes(item)
    notes = contract_credits_issue(
        actor=run.acting,
        payer=item.entity,
        period_end=run.period_end,
        planned=planned,
        issuer=run.issuer,
        issue_date=run.issue_date,
    )
    issued = [
        {**plan, "credit_note_id": note.pk, "number": note.number}
        for plan, note in zip(planned, notes, strict=True)
    ]
    item.credit_notes = [*_issued_notes(item), *issued]


def _issue(run: BillingRun, item: BillingRunItem) -> None:
    """Issue the draft if it is still what was previewed."""
    if item.fingerprint == ONLY_CREDITS:
        item.issued_at = clock.now()
        item.status = ItemStatus.ISSUED
        item.error_code = item.error_text = ""
        return
    invoice = Invoice.objects.select_for_update(of=("self",)).filter(billing_run_item=item).first()
    if invoice is None:
        raise Conflict(
            "draft_gone", "The draft was discarded since it was previewed. Prepare the payer again."
        )
    if invoice_fingerprint(invoice.pk) != item.fingerprint:
        raise Conflict(
            "draft_changed",
            "The draft is not what was previewed: it was changed since. Prepare the payer again, and check it.",
        )
    if invoice.status == InvoiceStatus.DRAFT:
        invoice = invoice_issue(actor=run.acting, invoice=invoice, issue_date=run.issue_date)
    elif invoice.status == InvoiceStatus.VOID:
        raise Conflict("invoice_void", f"{invoice} was issued and voided since. Prepare the payer again.")
    item.issued_at = invoice.issued_at
    item.status = ItemStatus.ISSUED
    item.error_code = item.error_text = ""


def _discard_next(run_id: int) -> bool:
    """Give up the draft of one payer of a cancelled run; False if none is left."""
    left = (ItemStatus.WAITING, ItemStatus.PREPARED, ItemStatus.FAILED)
    with transaction.atomic():
        run = _held(run_id, RunStatus.CANCELLED)
        if run is None:
            return False
        item = _free(run_id, *left).first()
        if item is None:
            return False
        reason = f"The run was cancelled: {run.cancel_reason}"[:500]
        try:
            with transaction.atomic():
                _give_up(run.acting, item, reason)
        except BillingError as refusal:
            # The draft stays, as any that a person made; the row says so.
            item.invoice = None
            item.status, item.left_out_reason = ItemStatus.LEFT_OUT, reason
            item.error_code, item.error_text = refusal.code, refusal.message[:1000]
        item.save()
    return True


_STEPS: Mapping[RunStatus, Callable[[int], bool]] = {
    RunStatus.PREPARING: _prepare_next,
    RunStatus.ISSUING: _issue_next,
    RunStatus.CANCELLED: _discard_next,
}


def _settle(run_id: int) -> bool:
    """Bring the state forward once every payer is done, and say whether there is more to do now.

    Waits for those who have a payer of the run in hand, so that the last of them does it.
    """
    with transaction.atomic():
        run = (
            BillingRun.objects.select_for_update(of=("self",))
            .select_related("scope", "acting")
            .get(pk=run_id)
        )
        counts = run_counts(run_id)
        if run.status == RunStatus.PREPARING:
            if counts.waiting:
                return False
            run.prepare_done()
            run.prepared_at = clock.now()
            clean = counts.prepared > 0 and not counts.failed and not counts.unusual
            issues_itself = clean and run.issue_mode == IssueMode.AUTOMATIC
            # Decided once: after that it is for people, who may have left out what was unusual.
            run.issue_mode = IssueMode.BY_HAND
            if issues_itself:
                _confirm(run, system_actor())
                _begin_issuing(run, system_actor(), run.issue_date)
                return True
            if not counts.prepared and not counts.failed:
                _finish(run)
                return False
            run.save()
            _publish("prepared", run)
        elif run.status == RunStatus.ISSUING:
            if counts.prepared:
                return False
            if counts.failed:
                run.issue_left_some()
                run.checked_by = run.checked_at = None
                run.save()
                _publish("prepared", run)
            else:
                _finish(run)
    return False


# --- Pieces ----------------------------------------------------------------------------------------------


def _attempt(item: BillingRunItem, act: Callable[[], None]) -> None:
    """Do something for one payer; what goes wrong is undone and becomes the payer's error, and stops nobody else."""
    try:
        with transaction.atomic():
            act()
    except BillingError as refusal:
        _undo(item)
        if refusal.code in NOTHING_CODES and item.invoice_id is None:
            item.status = ItemStatus.NOTHING
            item.error_code, item.error_text = "", refusal.message[:1000]
            return
        _fail(item, refusal.code, refusal.message)
    except OperationalError:
        if connection.closed_in_transaction:
            raise
        logger.exception("billing run %s: payer %s", item.run_id, item.entity_id)
        _undo(item)
        _fail(
            item,
            "database_busy",
            "The database was busy with others who work on the same records. Try again.",
        )
    except Exception:
        logger.exception("billing run %s: payer %s", item.run_id, item.entity_id)
        _undo(item)
        _fail(
            item,
            "unexpected",
            "Something unforeseen went wrong; the log has the details. Tell your administrator.",
        )


def _undo(item: BillingRunItem) -> None:
    """Read the row as the savepoint left it: what the attempt set on the object is not stored."""
    attempts = item.attempts
    item.refresh_from_db()
    item.attempts = attempts


def _fail(item: BillingRunItem, code: str, text: str) -> None:
    item.status = ItemStatus.FAILED
    item.error_code, item.error_text = code[:60], text[:1000]


def _begin_attempt(run_id: int) -> int | None:
    """Count an attempt at the next free payer, committed before the work, so that one which kills its process ends."""
    waiting_above = BillingRunItem.objects.filter(
        run_id=run_id,
        status=ItemStatus.WAITING,
        entity_id__in=EntityClosure.objects.filter(
            descendant_id=OuterRef(OuterRef("entity_id")), depth__gt=0
        ).values("ancestor_id"),
    )
    with transaction.atomic():
        # Who is above comes first: what both could bill goes to the payer above, however many work at once.
        item = _free(run_id, ItemStatus.WAITING).filter(~Exists(waiting_above)).first()
        if item is None:
            return None
        BillingRunItem.objects.filter(pk=item.pk).update(attempts=item.attempts + 1, updated_at=clock.now())
        return item.pk


def _free(run_id: int, *statuses: str) -> QuerySet[BillingRunItem]:
    """The payers in these states that nobody has in hand, in order, locked."""
    return (
        BillingRunItem.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(run_id=run_id, status__in=statuses)
        .select_related("entity", "run")
        .order_by("position")
    )


def _item_in_hand(item_id: int, status: str) -> BillingRunItem | None:
    """The payer's row, locked; None if another process has it or has done it."""
    return (
        BillingRunItem.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("entity", "run")
        .filter(pk=item_id, status=status)
        .first()
    )


def _held(run_id: int, status: str) -> BillingRun | None:
    """The run, kept in its state until the transaction ends; None if it has another one by now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT status FROM billing_runs WHERE id = %s FOR SHARE", [run_id])
        if cursor.fetchone()[0] != status:
            return None
    return BillingRun.objects.select_related("acting").get(pk=run_id)


def _lock(run: BillingRun) -> BillingRun:
    return BillingRun.objects.select_for_update(of=("self",)).select_related("scope", "issuer").get(pk=run.pk)


def _status_of(run_id: int) -> str:
    return BillingRun.objects.values_list("status", flat=True).get(pk=run_id)


def _tell(run_id: int, on_progress: ProgressHook | None) -> None:
    if on_progress is not None:
        on_progress(run_progress(_status_of(run_id), run_counts(run_id)))


def _payers(scope: Entity, start: datetime.date, end: datetime.date, issuer: Entity | None) -> list[int]:
    payers = payers_in(scope, start, end)
    if issuer is not None:
        issuers = issuers_of(payers)
        payers = [pk for pk in payers if issuers[pk] == issuer.pk]
    if not payers:
        of_issuer = f" whom {issuer} invoices" if issuer else ""
        raise Conflict(
            "no_payers",
            f"Nobody in {scope} and below it{of_issuer} pays for this period: they are billed with an entity above. "
            "Start the run for that entity.",
        )
    if len(payers) > MAX_PAYERS:
        raise Conflict(
            "too_many_payers",
            f"{len(payers):,} payers are more than a run takes ({MAX_PAYERS:,}). Start one for each part of the group.",
        )
    return payers


def _run_open(actor: Actor, run: BillingRun) -> Conflict:
    there = BillingRun.objects.open().filter(
        scope=run.scope, period_start=run.period_start, period_end=run.period_end
    )
    open_id = there.values_list("pk", flat=True).first()
    named = f"Billing run {open_id}" if open_id else "A billing run"
    return Conflict(
        "run_open",
        f"{named} of {run.scope} for this period is not finished yet. Go on with that one, or cancel it first.",
        extra={"billing_run_id": open_id},
    )


def _wait_again(run: BillingRun, items: Collection[BillingRunItem] | None) -> None:
    again = BillingRunItem.objects.select_for_update(of=("self",)).filter(run=run).order_by("pk")
    if items is None:
        again = again.filter(status=ItemStatus.FAILED)
    else:
        again = again.filter(pk__in=[item.pk for item in items])
    rows = list(again)
    if items is not None and len(rows) != len({item.pk for item in items}):
        raise _unknown_item()
    if not rows:
        raise Conflict(
            "nothing_to_resume",
            f"{run} was not interrupted and no payer of it has failed: there is nothing to do again.",
        )
    for row in rows:
        if row.status == ItemStatus.ISSUED:
            raise _already_issued(row)
        row.status = ItemStatus.WAITING
        row.attempts = 0
        row.error_code = row.error_text = row.left_out_reason = ""
        row.save()


def _leave_out(actor: Actor, run: BillingRun, item_id: int, reason: str) -> BillingRunItem:
    reason = _reason(reason, "why the payer is left out")
    item = (
        BillingRunItem.objects.select_for_update(of=("self",))
        .select_related("entity", "run")
        .filter(pk=item_id, run=run)
        .first()
    )
    if item is None:
        raise _unknown_item()
    if item.status == ItemStatus.ISSUED:
        raise _already_issued(item)
    _give_up(actor, item, reason)
    item.save()
    return item


def _give_up(actor: Actor, item: BillingRunItem, reason: str) -> None:
    """Discard the payer's draft if the run made it; one that was there before stays as it is."""
    draft = item.invoice
    item.invoice = None
    item.credit_notes = _issued_notes(item)
    item.status, item.left_out_reason = ItemStatus.LEFT_OUT, reason
    if draft is not None and item.made_draft and draft.status == InvoiceStatus.DRAFT:
        invoice_discard(actor=actor, invoice=draft)
    item.made_draft = False


def _confirm(run: BillingRun, actor: Actor) -> None:
    run.check_done()
    run.checked_by, run.checked_at = actor, clock.now()
    run.save()
    _publish("checked", run)


def _begin_issuing(run: BillingRun, actor: Actor, issue_date: datetime.date | None) -> None:
    run.issue()
    run.acting = run.issuing_by = actor
    run.issuing_at, run.issue_date = clock.now(), issue_date
    run.save()


def _finish(run: BillingRun) -> None:
    run.finish()
    run.finished_by, run.finished_at = run.acting, clock.now()
    run.save()
    _publish("finished", run)


def _finish_if_decided(run: BillingRun, actor: Actor) -> bool:
    """Finish a run, after somebody has left payers out, if nothing of it is left to be decided."""
    counts = run_counts(run.pk)
    if run.status != RunStatus.PREPARED or counts.waiting or counts.prepared or counts.failed:
        return False
    run.acting = actor
    _finish(run)
    return True


def _issuers_concerned(run: BillingRun) -> list[Entity]:
    prepared = BillingRunItem.objects.filter(run=run, status=ItemStatus.PREPARED)
    crediting = prepared.exclude(credit_notes=[]).values_list("credit_notes", flat=True)
    of_notes = {note["issuer_id"] for notes in crediting for note in notes}
    drafts = prepared.values("invoice__issuer_id")
    return list(Entity.objects.filter(Q(pk__in=drafts) | Q(pk__in=of_notes)).order_by("pk"))


def may_issue(actor: Actor, run: BillingRun) -> bool:
    """Whether the actor has the right to issue at every issuer of the run's prepared invoices."""
    return all(has(actor, "invoicing.issue_invoice", issuer) for issuer in _issuers_concerned(run))


def _publish(verb: str, run: BillingRun) -> None:
    counts = run_counts(run.pk)
    publish(
        f"billing_run.{verb}",
        {
            "billing_run_id": run.pk,
            "entity_id": run.scope_id,
            "period_start": str(run.period_start),
            "period_end": str(run.period_end),
            "prepared": counts.prepared,
            "issued": counts.issued,
            "failed": counts.failed,
            "unusual": counts.unusual,
        },
        key=f"billing_run:{run.pk}",
    )


def _refuse_over(run: BillingRun) -> None:
    if not run.is_open:
        raise Conflict(
            "run_over",
            f"{run} is {run.get_status_display().lower()}. Start a new run: it bills what is not invoiced yet.",
            extra={"status": run.status},
        )


def _not_prepared(run: BillingRun) -> str:
    if run.status == RunStatus.PREPARING:
        return f"{run} is still being prepared. Wait until every payer has been looked at."
    return f"{run} is {run.get_status_display().lower()}: there is nothing to check."


def _already_issued(item: BillingRunItem) -> Conflict:
    return Conflict(
        "already_issued",
        f"The invoice of {item.entity} is issued. What is wrong with it is corrected by a credit note.",
    )


def _unknown_item() -> Invalid:
    return _field_problem(
        "items", "unknown_item", "The run has no such payer. Give the ids of its own items."
    )


def _reason(reason: str, what: str) -> str:
    reason = reason.strip()
    if not reason or len(reason) > 500:
        raise _field_problem(
            "reason", "reason_required", f"Say in at most 500 characters {what}: it is kept."
        )
    return reason


def _field_problem(name: str, code: str, detail: str) -> Invalid:
    return Invalid(code, detail, errors=[FieldProblem(f"/{name}", code, detail)])
