"""Departments bear the lines of documents, and their budgets are charged for them (ALC-01 to ALC-08, BUD-07, BUD-09).

A line that names a department is borne by it: issuing the document charges the department's budget. A line that names
none is allocated by people, by percent, amount or ratio. Left out is what a budget bears in another way: usage by the
charges of its import (USE-05, `usage_charging`), fees of contracts that have a budget by that budget (CON-19).

At issue nobody is there to answer a refusal: it is kept on the share with its reason, to be tried again. Whoever
allocates by hand is refused as a whole, with every budget that falls short (ALC-06, BUD-07).

Locks: documents by ascending id, then departments, then budgets.
"""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q

from budgets.models import Budget, Commitment
from budgets.services.ledger import lock_budgets
from core.access import get_visible, has, require, system_actor
from core.errors import Conflict, FieldProblem, Invalid
from core.models import User
from core.money import EXACT, allocate, exact_sum, plain_amount
from core.outbox import publish
from entities.periods import accounting_date
from entities.services.allocation import Split, check_minor_unit, check_targets, parts_of
from entities.services.department import lock_departments
from entities.services.records import field_error
from invoicing.models import (
    BilledItem,
    Invoice,
    InvoiceLine,
    InvoiceLineShare,
    InvoiceStatus,
    LineKind,
    ShareStatus,
)
from invoicing.querysets import InvoiceLineShareQuerySet
from invoicing.services.share_booking import (
    charge_as_far_as_possible,
    charge_together,
    for_each,
    share_book,
    share_give_up,
    shares_save,
)
from invoicing.services.usage_charging import invoice_usage_charge, line_usage_is_charged

ZERO = Decimal(0)
ADD, CHANGE = "invoicing.add_invoicelineshare", "invoicing.change_invoicelineshare"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSplit(Split):
    """One department's share of a line; its budget is charged, or the commitment that it names is consumed.

    ``final`` frees what the commitment has left afterwards (BUD-10).
    """

    commitment_id: int | None = None
    final: bool = False


# --- By hand ---------------------------------------------------------------------------------------------


def line_allocate(
    *, actor: User, line_id: int, splits: Sequence[LineSplit], amount: Decimal | None = None
) -> list[InvoiceLineShare]:
    """Allocate a posted line that names no department to departments of its group (ALC-01 to ALC-06, BUD-07).

    ``amount`` is what to allocate, before tax and with the line's sign: all that is left of the line unless given. All
    budgets are charged, or all commitments consumed, or none. A department without an open budget is listed as
    refused, or refused at once, as ``settings.BUDGET_UNBUDGETED`` says.

    Raises NotFound, Forbidden; Invalid ``splits_required`` and what ``parts_of`` and ``check_targets`` raise; Conflict
    ``not_posted``, ``line_has_department``, ``borne_by_contract``, ``exceeds_line``, ``department_has_share``, and what
    budgets and commitments raise.
    """
    seen: InvoiceLine = get_visible(
        InvoiceLine.objects.select_related("invoice", "entity"), actor, line_id, name="invoice line"
    )
    _require(actor, ADD, seen)
    if not splits:
        raise field_error("splits", "splits_required", "Give at least one department.")
    with transaction.atomic():
        invoice = _lock_document(seen.invoice_id)
        line = InvoiceLine.objects.select_related("entity", "contract").get(pk=seen.pk)
        _check_allocatable(line, invoice)
        whole = _amount_to_allocate(line, invoice, amount)
        rows = lock_departments([split.department.pk for split in splits])
        splits = [replace(split, department=rows[split.department.pk]) for split in splits]
        day = share_day(line, invoice)
        check_targets(actor, line.entity, [split.department for split in splits], day)
        _check_one_share_each(line, splits)
        _, parts = parts_of(splits, whole, invoice.currency)
        shares = [
            InvoiceLineShare(
                invoice_line=line,
                department=part.department,
                amount=part.amount,
                weight=part.weight,
                posting_date=day,
                commitment=_commitment_of(split, part.amount, number),
                is_final=split.final,
                created_by=actor,
            )
            for number, (split, part) in enumerate(zip(splits, parts, strict=True))
        ]
        _insert(shares, invoice)
        charge_together(actor, shares)
        shares_save(shares)
    return shares


def share_retry(*, actor: User, share_id: int) -> InvoiceLineShare:
    """Try again what a budget had refused, after an increase or a new budget.

    Raises NotFound, Forbidden, Conflict ``share_not_refused``, and the budget's refusal, which leaves it listed.
    """
    with transaction.atomic():
        share = _locked_share(actor, share_id)
        if share.status == ShareStatus.STILL_BORNE:
            share_give_up(actor, share)
        elif share.status != ShareStatus.REFUSED:
            raise Conflict(
                "share_not_refused",
                "No budget refuses this share: there is nothing to try again.",
                extra={"status": share.status},
            )
        else:
            share_book(actor, share)
        shares_save([share])
    return share


def share_undo(*, actor: User, share_id: int, reason: str) -> InvoiceLineShare:
    """Take back a share that was allocated by hand: its budget gets the money back, the line can be allocated again.

    Raises NotFound, Forbidden, Invalid ``reason_required``, Conflict ``share_taken_back``, ``share_of_its_line``, and
    the budget's refusal.
    """
    if not reason.strip() or len(reason) > 500:
        raise field_error(
            "reason", "reason_required", "Say in at most 500 characters why: the reason is kept."
        )
    with transaction.atomic():
        share = _locked_share(actor, share_id)
        if not share.is_live:
            raise Conflict("share_taken_back", "This share was taken back already.")
        if share.invoice_line.department_id is not None or share.invoice_line.invoice.is_credit_note:
            raise Conflict(
                "share_of_its_line",
                "The document itself names this department. Void the document, or make a credit note.",
            )
        share.undo_reason = reason.strip()
        share_give_up(actor, share)
        shares_save([share])
    return share


def line_left(line: InvoiceLine) -> Decimal:
    """What of a line can still be allocated: neither credited nor borne by a department."""
    borne = exact_sum([share.remaining for share in line.shares.live()])
    left = EXACT.subtract(EXACT.subtract(line.amount, line.credited_amount), borne)
    return left if left * line.amount > 0 else ZERO


def share_day(line: InvoiceLine, invoice: Invoice) -> datetime.date:
    """The day whose budget bears a line: the last of its period, or of the document's if that is earlier (BUD-19)."""
    return accounting_date(min(line.period_end, invoice.period_end))


def _require(actor: User, permission: str, line: InvoiceLine) -> None:
    """The right at the payer, or at the entity whose cost the line is."""
    if not has(actor, permission, line.entity):
        require(actor, permission, line)


def _check_allocatable(line: InvoiceLine, invoice: Invoice) -> None:
    if not invoice.is_posted or invoice.is_credit_note:
        raise Conflict(
            "not_posted",
            f"Lines of an issued invoice or debit note can be allocated; {invoice} is "
            f"{'a credit note' if invoice.is_credit_note else invoice.get_status_display().lower()}.",
            extra={"status": invoice.status},
        )
    if line.department_id is not None:
        raise Conflict(
            "line_has_department",
            f"Line {line.line_number} names the department {line.department_code}, which bears it. To move the cost "
            "on, allocate it between departments.",
        )
    if line.contract is not None and line.contract.budget_id is not None:
        raise Conflict(
            "borne_by_contract",
            f"The budget of the contract {line.contract.number} bears this line. To move the cost on, allocate it "
            "between departments.",
        )


def _amount_to_allocate(line: InvoiceLine, invoice: Invoice, asked: Decimal | None) -> Decimal:
    left = line_left(line)
    amount = left if asked is None else asked
    check_minor_unit(amount, invoice.currency)
    if amount == 0 and asked is not None:
        raise field_error("amount", "amount_zero", "Give an amount other than zero.")
    if amount == 0 or amount * left < 0 or abs(amount) > abs(left):
        shown = plain_amount(left, invoice.currency)
        raise Conflict(
            "exceeds_line",
            f"{shown} {invoice.currency} of line {line.line_number} are neither credited nor allocated yet. Give at "
            "most that, or take a share back first.",
            extra={"left": shown, "currency": invoice.currency},
        )
    return amount


def _check_one_share_each(line: InvoiceLine, splits: Sequence[LineSplit]) -> None:
    holding = set(line.shares.live().values_list("department_id", flat=True))
    twice = [
        (number, split.department) for number, split in enumerate(splits) if split.department.pk in holding
    ]
    if twice:
        problems = [
            FieldProblem(
                f"/splits/{number}/department_id",
                "department_has_share",
                f"{department} bears a share of this line already. Take that back first to give it another.",
            )
            for number, department in twice
        ]
        raise Conflict(
            "department_has_share", " ".join(problem.detail for problem in problems), errors=problems
        )


def _commitment_of(split: LineSplit, amount: Decimal, number: int) -> Commitment | None:
    """The commitment that a split names; it promised money of the department, or of its entity."""
    if split.commitment_id is None:
        return None
    pointer, department = f"/splits/{number}/commitment_id", split.department
    found = Commitment.objects.select_related("budget").filter(pk=split.commitment_id).first()
    fits = found is not None and (
        found.budget.department_id == department.pk
        or (found.budget.department_id is None and found.budget.entity_id == department.entity_id)
    )
    if not fits:
        code = "not_found"
        detail = f"There is no commitment {split.commitment_id} of {department}. Name one, or none."
    elif amount <= 0:
        code, detail = "nothing_to_consume", "A credit consumes no commitment. Leave it out."
    else:
        return found
    raise Invalid(code, detail, errors=[FieldProblem(pointer, code, detail)])


# --- With the document -----------------------------------------------------------------------------------


def document_shares_apply(*, invoice_id: int) -> None:
    """Bring budgets in line with a document that was issued or became void; a second time changes nothing.

    Departments without any budget are left out; those that have budgets, none of which takes the cost, are listed.
    """
    with transaction.atomic():
        document = _lock_document(invoice_id)
        _lock_budgets(document)
        if document.status == InvoiceStatus.VOID:
            _withdraw(document)
        elif document.is_posted and document.is_credit_note:
            _credit(document)
        elif document.is_posted:
            _charge_departments(document)


def _charge_departments(invoice: Invoice) -> None:
    lines = (
        InvoiceLine.objects.filter(invoice=invoice, department__isnull=False, shares__isnull=True)
        .filter(Q(contract__isnull=True) | Q(contract__budget__isnull=True))
        .exclude(kind=LineKind.USAGE)
        .exclude(amount=F("credited_amount"))
        .select_related("department")
        .order_by("line_number")
    )
    budgeted = _with_budgets({line.department_id for line in lines if line.department_id})
    system = system_actor()
    shares = [
        InvoiceLineShare(
            invoice_line=line,
            department=line.department,
            # A credit note that was told of first left the rest to be borne.
            amount=EXACT.subtract(line.amount, line.credited_amount),
            posting_date=share_day(line, invoice),
            created_by=system,
        )
        for line in lines
        if line.department_id in budgeted
    ]
    _insert(shares, invoice)
    charge_as_far_as_possible(system, shares)
    shares_save(shares)
    _tell(invoice, shares)
    invoice_usage_charge(invoice=invoice, may_charge=_with_budgets)


def _lock_budgets(document: Invoice) -> None:
    """Lock in one pass whatever budgets may move, so that two documents never wait for each other in a circle."""
    lines = InvoiceLine.objects.filter(invoice=document)
    own = lines.filter(department__isnull=False).values("department_id")
    sharing = InvoiceLineShare.objects.filter(
        Q(invoice_line__invoice=document) | Q(invoice_line__corrections__in=lines)
    )
    budgets = Budget.objects.postable().filter(
        Q(department_id__in=own) | Q(department_id__in=sharing.values("department_id"))
    )
    found = set(budgets.values_list("pk", flat=True))
    if found:
        lock_budgets(found)


def _with_budgets(department_ids: Iterable[int]) -> set[int]:
    """Those of the departments that have a budget at all."""
    own = Budget.objects.filter(department_id__in=set(department_ids)).order_by()
    return {pk for pk in own.values_list("department_id", flat=True).distinct() if pk is not None}


def _withdraw(document: Invoice) -> None:
    """Take back all shares of a void document; what a void credit note gave back is borne again."""
    shares = list(
        _shares().live().filter(invoice_line__invoice=document).order_by("invoice_line__line_number", "pk")
    )
    for share in shares:
        if share.credits is not None:
            share.credits.credited_amount = EXACT.subtract(share.credits.credited_amount, share.amount)
            share.credits.save(update_fields=["credited_amount", "updated_at"])
    for_each(system_actor(), shares, share_give_up, refused_as=ShareStatus.STILL_BORNE)
    _tell(document, shares)
    if not document.is_credit_note:
        invoice_usage_charge(invoice=document, may_charge=lambda ids: set())


def _credit(note: Invoice) -> None:
    """Give departments back what a credit note credits of their lines, by what is left of each share (ALC-07)."""
    lines = list(
        InvoiceLine.objects.filter(invoice=note, corrects_line__isnull=False, shares__isnull=True)
        .exclude(amount=0)
        .select_related("corrects_line__department")
        .order_by("line_number")
    )
    live: dict[int, list[InvoiceLineShare]] = defaultdict(list)
    # What was allocated after the credit note is of what it left.
    borne = _shares().live().filter(invoice_line__corrections__in=lines, created_at__lte=note.issued_at)
    for share in borne.order_by("pk"):
        live[share.invoice_line_id].append(share)
    held = set(
        BilledItem.objects.filter(invoice_line__corrections__in=lines, released_at__isnull=True).values_list(
            "invoice_line_id", flat=True
        )
    )
    system = system_actor()
    made: list[InvoiceLineShare] = []
    again: list[InvoiceLineShare] = []
    for line in lines:
        credited = line.corrects_line
        assert credited is not None
        if credited.kind == LineKind.USAGE and credited.department is not None:
            if credited.pk in held:
                made += _usage_given_back(line, credited, note)
            else:
                # Credited as a whole, it is billed anew: its department bears it all the while.
                again += _shares().live().filter(invoice_line__corrects_line=credited)
        else:
            made += _given_back(line, credited, live[credited.pk], note)
    for share in made:
        share.created_by = system
    _insert(made, note)
    InvoiceLineShare.objects.bulk_update(
        [share.credits for share in made if share.credits is not None], ["credited_amount"]
    )
    for_each(system, made, share_book, refused_as=ShareStatus.REFUSED)
    for_each(system, again, share_give_up, refused_as=ShareStatus.STILL_BORNE)
    _tell(note, [*made, *again])
    if note.corrects is not None:
        invoice_usage_charge(invoice=note.corrects, may_charge=lambda ids: set())


def _usage_given_back(line: InvoiceLine, credited: InvoiceLine, note: Invoice) -> list[InvoiceLineShare]:
    """What the department of usage gets back, if its budget bears that usage (USE-05)."""
    if not line_usage_is_charged(credited):
        return []
    day = share_day(credited, note)
    return [
        InvoiceLineShare(
            invoice_line=line, department=credited.department, amount=line.amount, posting_date=day
        )
    ]


def _given_back(
    line: InvoiceLine, credited: InvoiceLine, shares: Sequence[InvoiceLineShare], note: Invoice
) -> list[InvoiceLineShare]:
    """A share for each that bears the credited line, by what is left of it; what nobody bears takes its part too."""
    remaining = [abs(share.remaining) for share in shares]
    before = max(EXACT.subtract(abs(credited.credited_amount), abs(line.amount)), ZERO)
    unborne = EXACT.subtract(EXACT.subtract(abs(credited.amount), before), exact_sum(remaining))
    weights = [*remaining, max(unborne, ZERO)]
    if not any(remaining):
        return []
    given = min(abs(line.amount), exact_sum(weights))
    parts = allocate(given, weights, note.currency)
    made = []
    for share, part in zip(shares, parts, strict=False):
        if not part:
            continue
        amount = part.copy_sign(line.amount)
        share.credited_amount = EXACT.add(share.credited_amount, amount)
        made.append(
            InvoiceLineShare(
                invoice_line=line,
                department=share.department,
                amount=amount,
                credits=share,
                posting_date=share.posting_date,
            )
        )
    return made


# --- Rows ------------------------------------------------------------------------------------------------


def _lock_document(invoice_id: int) -> Invoice:
    """Lock the document, and before it the one that it corrects."""
    corrects_id = Invoice.objects.values_list("corrects_id", flat=True).get(pk=invoice_id)
    rows = Invoice.objects.select_for_update(of=("self",), no_key=True).order_by("pk")
    locked = {row.pk: row for row in rows.filter(pk__in=[invoice_id, corrects_id or invoice_id])}
    return locked[invoice_id]


def _shares() -> InvoiceLineShareQuerySet:
    return InvoiceLineShare.objects.select_related(
        "invoice_line__invoice",
        "invoice_line__corrects_line",
        "department",
        "commitment",
        "entry__budget",
        "entry__commitment",
        "credits__entry__budget",
        "credits__entry__commitment",
    )


def _locked_share(actor: User, share_id: int) -> InvoiceLineShare:
    """The share under the lock of its document, if the actor may change it."""
    seen: InvoiceLineShare = get_visible(
        InvoiceLineShare.objects.select_related("invoice_line__invoice", "invoice_line__entity"),
        actor,
        share_id,
        name="share of an invoice line",
    )
    _require(actor, CHANGE, seen.invoice_line)
    _lock_document(seen.invoice_line.invoice_id)
    return _shares().get(pk=seen.pk)


def _insert(shares: Sequence[InvoiceLineShare], document: Invoice) -> None:
    for share in shares:
        share.invoice_line.invoice = document
    InvoiceLineShare.objects.bulk_create(shares, batch_size=1000)


def _tell(document: Invoice, shares: Sequence[InvoiceLineShare]) -> None:
    """One event tells of all that budgets refused."""
    refused = [share for share in shares if share.status in (ShareStatus.REFUSED, ShareStatus.STILL_BORNE)]
    if refused:
        publish(
            "invoice_line_share.refused",
            {"invoice_id": document.pk, "count": len(refused), "code": refused[0].refusal_code},
            key=f"invoice:{document.pk}",
        )
