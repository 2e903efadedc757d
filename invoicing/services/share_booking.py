"""What shares of invoice lines do to budgets: charge, consume, give back (BUD-07, BUD-09, BUD-16, BUD-19).

The functions here take shares whose document is locked and note on them what became of it; `shares_save` writes that.
"""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from budgets.allocation_check import UNBUDGETED
from budgets.models import Budget, BudgetEntry, BudgetStatus, EntryKind
from budgets.services.charges import ChargeLine, budget_charge_lines, budget_refund, refund_take_back
from budgets.services.commitments import commitment_consume
from budgets.services.ledger import Source, lock_budgets
from budgets.services.periods import budget_for
from core import clock
from core.errors import BillingError
from core.models import User
from core.money import EXACT
from entities.models import Department
from invoicing.models import DocumentType, InvoiceLineShare, LineKind, ShareStatus

ZERO = Decimal(0)
_TOGETHER = 200
_SHARE, _BACK, _BACK_MORE = "invoice_line_share", "invoice_line_share_back", "invoice_line_share_back_more"


def charge_together(actor: User, shares: Sequence[InvoiceLineShare]) -> None:
    """Charge new shares together, all or none (BUD-07); only what has no open budget may be listed."""
    asking = [share for share in shares if share.amount]
    budgets = {share.pk: budget for share in asking if (budget := _bearing(share)) is not None}
    if budgets:
        lock_budgets({budget.pk for budget in budgets.values()})
    together = []
    for share in asking:
        if share.pk not in budgets:
            continue
        if share.commitment_id is not None or share.amount < 0:
            share_book(actor, share)
        else:
            together.append((share, _charge_line(share, budgets[share.pk])))
    if together:
        posting = budget_charge_lines(actor=actor, lines=[line for _, line in together])
        for (share, _), entry in zip(together, posting.entries, strict=True):
            _booked(share, entry)


def _bearing(share: InvoiceLineShare) -> Budget | None:
    """The budget whose money a new share takes; None if it is listed for having none."""
    if share.commitment is not None:
        return share.commitment.budget
    try:
        return _budget_of(share)
    except BillingError as refusal:
        if refusal.code not in UNBUDGETED or settings.BUDGET_UNBUDGETED == "refuse":
            raise
        _refuse(share, refusal, ShareStatus.REFUSED)
        return None


def charge_as_far_as_possible(actor: User, shares: Sequence[InvoiceLineShare]) -> None:
    """Charge new shares as far as budgets bear them, each budget's together, and list the rest."""
    by_budget: dict[int, list[tuple[InvoiceLineShare, ChargeLine]]] = defaultdict(list)
    credits: list[InvoiceLineShare] = []
    found: dict[tuple[int, str, datetime.date], Budget | BillingError] = {}
    for share in shares:
        if share.amount < 0:
            credits.append(share)
            continue
        key = (share.department_id, _category(share), share.posting_date)
        if key not in found:
            try:
                found[key] = _budget_of(share)
            except BillingError as refusal:
                found[key] = refusal
        budget = found[key]
        if isinstance(budget, BillingError):
            _refuse(share, budget, ShareStatus.REFUSED)
        else:
            by_budget[budget.pk].append((share, _charge_line(share, budget)))
    for_each(actor, credits, share_book, refused_as=ShareStatus.REFUSED)
    for budget_id in sorted(by_budget):
        members = by_budget[budget_id]
        for first in range(0, len(members), _TOGETHER):
            _charge_some(actor, members[first : first + _TOGETHER])


def _charge_some(actor: User, members: Sequence[tuple[InvoiceLineShare, ChargeLine]]) -> None:
    """Shares of one budget: all together, or, where it does not have the money for all, those that it has it for."""
    try:
        with transaction.atomic():
            posting = budget_charge_lines(actor=actor, lines=[line for _, line in members])
    except BillingError as refusal:
        if refusal.code == "insufficient_budget" and len(members) > 1:
            for member in members:
                _charge_some(actor, [member])
            return
        for share, _ in members:
            _refuse(share, refusal, ShareStatus.REFUSED)
        return
    for (share, _), entry in zip(members, posting.entries, strict=True):
        _booked(share, entry)


def for_each(
    actor: User,
    shares: Iterable[InvoiceLineShare],
    act: Callable[[User, InvoiceLineShare], None],
    *,
    refused_as: ShareStatus,
) -> None:
    """Do it to each that it is possible for; what a budget refuses is noted, and holds up nothing."""
    done = list(shares)
    for share in done:
        try:
            with transaction.atomic():
                act(actor, share)
        except BillingError as refusal:
            _refuse(share, refusal, refused_as)
    shares_save(done)


def share_book(actor: User, share: InvoiceLineShare) -> None:
    """Have the budget bear a share, or on a credit note give it back."""
    effect = share.remaining
    is_credit = share.invoice_line.invoice.is_credit_note
    if not effect or (share.credits is not None and share.credits.entry is None):
        _note(share, ShareStatus.NOT_BOOKED)
    elif share.credits is not None and share.credits.entry is not None:
        _booked(share, _reversal(actor, share, share.credits.entry, abs(effect), _SHARE))
    elif share.commitment_id is not None:
        posting = commitment_consume(
            actor=actor,
            commitment_id=share.commitment_id,
            amount=effect,
            currency=_currency(share),
            description=_description(share),
            reference=_reference(share),
            posting_date=share.posting_date,
            final=share.is_final,
            source=Source(_SHARE, str(share.pk)),
        )
        _booked(share, posting.entries[0])
    elif (effect < 0) is is_credit:
        line = _charge_line(share, _budget_of(share))
        _booked(share, budget_charge_lines(actor=actor, lines=[line]).entries[0])
    else:
        posting = budget_refund(
            actor=actor,
            budget_id=_budget_of(share).pk,
            amount=abs(effect),
            currency=_currency(share),
            description=_description(share),
            reference=_reference(share),
            posting_date=share.posting_date,
            source=Source(_SHARE, str(share.pk)),
        )
        _booked(share, posting.entries[0])


def share_give_up(actor: User, share: InvoiceLineShare) -> None:
    """Take back what a budget booked for a share; an open commitment is promised again (BUD-16)."""
    if share.entry is not None and share.remaining:
        _reversal(actor, share, share.entry, abs(share.remaining), _BACK, reinstate=True)
    share.taken_back_at = share.taken_back_at or clock.now()
    share.taken_back_by = share.taken_back_by or actor
    _note(share, ShareStatus.TAKEN_BACK)


def _reversal(
    actor: User,
    share: InvoiceLineShare,
    entry: BudgetEntry,
    amount: Decimal,
    source: str,
    *,
    reinstate: bool = False,
) -> BudgetEntry:
    """Book the opposite of (a part of) an entry, on its day; returns the entry that did it."""
    common: dict[str, Any] = {
        "amount": amount,
        "currency": _currency(share),
        "description": _description(share, back=source == _BACK),
        "reference": _reference(share),
        "posting_date": entry.posting_date,
    }
    if entry.kind == EntryKind.REFUND:
        taken = refund_take_back(
            actor=actor,
            refund=entry,
            amount=amount,
            description=common["description"],
            reference=common["reference"],
            source=Source(source, str(share.pk)),
        )
        return taken.entries[0]
    commitment = entry.commitment
    returned = entry.reversed_by.aggregate(total=Sum("document_amount", default=ZERO))["total"]
    of_entry = min(amount, max(EXACT.add(entry.document_amount, returned), ZERO))
    posted: list[BudgetEntry] = []
    if of_entry:
        posted += budget_refund(
            actor=actor,
            budget_id=entry.budget_id,
            reverses=entry,
            reinstate_commitment=reinstate
            and commitment is not None
            and commitment.is_open
            and commitment.budget_id == entry.budget_id
            and entry.budget.status != BudgetStatus.CLOSED,
            source=Source(source, str(share.pk)),
            **{**common, "amount": of_entry},
        ).entries
    if of_entry != amount:
        # The refund of a credit note that became void stood for itself, and it was charged anew.
        posted += budget_refund(
            actor=actor,
            budget_id=entry.budget_id,
            source=Source(_BACK_MORE, str(share.pk)),
            **{**common, "amount": EXACT.subtract(amount, of_entry)},
        ).entries
    return posted[0]


def _budget_of(share: InvoiceLineShare) -> Budget:
    department: Department = share.department
    return budget_for(
        entity_id=department.entity_id,
        department_id=department.pk,
        category=_category(share),
        on=share.posting_date,
    )


def _category(share: InvoiceLineShare) -> str:
    line = share.invoice_line
    kind = line.corrects_line.kind if line.corrects_line is not None else line.kind
    return str(settings.BUDGET_USAGE_CATEGORY) if kind == LineKind.USAGE else ""


def _charge_line(share: InvoiceLineShare, budget: Budget) -> ChargeLine:
    return ChargeLine(
        budget_id=budget.pk,
        amount=abs(share.remaining),
        currency=_currency(share),
        description=_description(share),
        reference=_reference(share),
        posting_date=share.posting_date,
        source=Source(_SHARE, str(share.pk)),
    )


def _currency(share: InvoiceLineShare) -> str:
    return str(share.invoice_line.invoice.currency)


def _reference(share: InvoiceLineShare) -> str:
    return share.invoice_line.invoice.number or ""


def _description(share: InvoiceLineShare, *, back: bool = False) -> str:
    line = share.invoice_line
    kind = DocumentType(line.invoice.document_type).label
    return f"{'Taken back: ' if back else ''}{kind} {line.invoice.number}, line {line}"[:500]


def shares_save(shares: Sequence[InvoiceLineShare]) -> None:
    for share in shares:
        share.updated_at = clock.now()
    InvoiceLineShare.objects.bulk_update(
        shares,
        [
            "status", "entry", "refusal_code", "refusal_message", "undo_reason", "taken_back_at", "taken_back_by",
            "updated_at",
        ],
        batch_size=500,
    )  # fmt: skip


def _booked(share: InvoiceLineShare, entry: BudgetEntry) -> None:
    share.entry = entry
    _note(share, ShareStatus.CHARGED)


def _note(share: InvoiceLineShare, status: ShareStatus) -> None:
    share.status, share.refusal_code, share.refusal_message = status, "", ""


def _refuse(share: InvoiceLineShare, refusal: BillingError, status: ShareStatus) -> None:
    share.status, share.refusal_code, share.refusal_message = status, refusal.code, refusal.message
    if status == ShareStatus.STILL_BORNE:
        share.taken_back_at = share.taken_back_at or clock.now()
