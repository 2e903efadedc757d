"""How much of an invoice's lines credit notes give back: exact in every currency (INV-08, ALC-02, ALC-07).

The tax of a credit is the tax of all that is credited then, rounded once, less the tax that was credited before: so the
taxes never exceed the line's, and the credit that completes the line gives exactly the rest. An amount that includes
tax is kept to the minor unit (DSP-11): the tax in it is worked out the same way, and what remains is the net amount.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from django.db import connection

from contracts.models import BillableFee
from contracts.services.commitments import FeeCredit
from core.errors import Conflict, FieldProblem, Invalid
from core.money import EXACT, allocate, exact_sum, plain_amount, round_money
from invoicing.models import BilledItem, Invoice, InvoiceLine, LineKind
from invoicing.services.settlement import ZERO, checked_amount, money_text

_UNCREDIT = """
UPDATE invoice_lines AS line
SET credited_amount = line.credited_amount - given.amount, credited_tax = line.credited_tax - given.tax_amount
FROM invoice_lines AS given WHERE given.corrects_line_id = line.id AND given.invoice_id = %(credit_note)s
"""


@dataclass(frozen=True, slots=True)
class CreditedLine:
    """What is given back of a line, before tax and in tax; both have the sign of the line."""

    line: InvoiceLine
    amount: Decimal
    tax: Decimal

    @property
    def credited_amount(self) -> Decimal:
        """What is credited of the line then."""
        return EXACT.add(self.line.credited_amount, self.amount)

    @property
    def credited_tax(self) -> Decimal:
        return EXACT.add(self.line.credited_tax, self.tax)


@dataclass(frozen=True, slots=True)
class LineAmount:
    """How much of a line is credited: an ``amount`` before tax, or one ``including_tax``; without both all of it."""

    line_id: int
    amount: Decimal | str | int | None = None
    including_tax: Decimal | str | int | None = None


def creditable(line: InvoiceLine) -> Decimal:
    """What is left of the line to be credited, before tax; negative on a line that is a credit itself."""
    return EXACT.subtract(line.amount, line.credited_amount)


def creditable_tax(line: InvoiceLine) -> Decimal:
    return EXACT.subtract(line.tax_amount, line.credited_tax)


def creditable_with_tax(line: InvoiceLine) -> Decimal:
    return EXACT.add(creditable(line), creditable_tax(line))


def creditable_total(lines: Sequence[InvoiceLine]) -> Decimal:
    """What is left of an invoice to be credited, with tax."""
    return exact_sum([creditable_with_tax(line) for line in lines])


def share_of(value: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """The exact share of ``value`` that ``part`` is of ``whole``, to 200 digits."""
    return EXACT.divide(EXACT.multiply(value, part), whole)


def line_credit(line: InvoiceLine, amount: Decimal, currency: str) -> CreditedLine:
    """Credit ``amount`` of a line that has at least as much left."""
    after, rest = EXACT.add(line.credited_amount, amount), creditable_tax(line)
    if after == line.amount:
        return CreditedLine(line, amount, rest)
    due = EXACT.subtract(
        round_money(share_of(line.tax_amount, after, line.amount), currency), line.credited_tax
    )
    # A credit note that became void may have taken more or less than its part of the rounding with it.
    within = min(max(due, ZERO), rest) if rest >= 0 else max(min(due, ZERO), rest)
    return CreditedLine(line, amount, within)


def line_credit_including_tax(line: InvoiceLine, total: Decimal, currency: str) -> CreditedLine:
    """Credit ``total``, tax included and kept exactly, of a positive line that has at least as much left.

    Net and tax each stay within what is left of them, also where other credits were given before tax or became void.
    """
    credited = EXACT.add(line.credited_amount, line.credited_tax)
    whole = EXACT.add(line.amount, line.tax_amount)
    share = share_of(line.tax_amount, EXACT.add(credited, total), whole)
    due = EXACT.subtract(round_money(share, currency), line.credited_tax)
    # As in line_credit. Nothing else is to be heeded: the tax due is never more than is left of it, nor the net amount.
    tax = min(max(due, ZERO), total)
    return CreditedLine(line, EXACT.subtract(total, tax), tax)


# --- What is asked for -----------------------------------------------------------------------------------


def credit_whole(lines: Sequence[InvoiceLine], currency: str) -> list[CreditedLine]:
    """All that is left, of every line."""
    credits = [line_credit(line, creditable(line), currency) for line in lines]
    return [credit for credit in credits if credit.amount or credit.tax]


def credit_amount(
    lines: Sequence[InvoiceLine], amount: Decimal | str | int, currency: str
) -> list[CreditedLine]:
    """An amount before tax, spread over what is left of the lines (ALC-07)."""
    asked = checked_amount(amount, currency)
    open_lines = [line for line in lines if creditable(line) > 0]
    rests = [creditable(line) for line in open_lines]
    most = exact_sum(rests)
    if asked > most:
        raise _exceeds("amount", f"Only {money_text(most, currency)} before tax is left", most, currency)
    parts = allocate(asked, rests, currency)
    return [
        line_credit(line, part, currency) for line, part in zip(open_lines, parts, strict=True) if part > 0
    ]


def credit_amount_including_tax(
    lines: Sequence[InvoiceLine], amount: Decimal | str | int, currency: str
) -> list[CreditedLine]:
    """An amount with tax, spread over what is left of the lines with theirs; credited exactly (DSP-11, ALC-02)."""
    asked = checked_amount(amount, currency, "amount_including_tax")
    open_lines = [line for line in lines if line.amount >= 0 and creditable_with_tax(line) > 0]
    rests = [creditable_with_tax(line) for line in open_lines]
    most = exact_sum(rests)
    if asked > most:
        text = f"Only {money_text(most, currency)} with tax is left"
        raise _exceeds("amount_including_tax", text, most, currency)
    parts = allocate(asked, rests, currency)
    return [
        line_credit_including_tax(line, part, currency)
        for line, part in zip(open_lines, parts, strict=True)
        if part > 0
    ]


def credit_lines(
    lines: Sequence[InvoiceLine], asked: Sequence[LineAmount], currency: str
) -> list[CreditedLine]:
    """Amounts of named lines."""
    by_id = {line.pk: line for line in lines}
    if len({item.line_id for item in asked}) != len(asked):
        raise _refused(Invalid, "lines", "duplicate_line", "Name each line once.")
    return [_credit_named(by_id.get(item.line_id), item, index, currency) for index, item in enumerate(asked)]


def _credit_named(line: InvoiceLine | None, item: LineAmount, index: int, currency: str) -> CreditedLine:
    field = f"lines/{index}"
    if line is None:
        raise _refused(Invalid, field, "not_found", "The invoice has no such line.")
    rest = creditable(line)
    if line.amount < 0:
        message = f"Line {line.line_number} is a credit itself: it is taken back only by crediting the whole invoice."
        raise _refused(Invalid, field, "negative_line", message)
    if item.including_tax is not None:
        return _credit_named_including_tax(line, item, field, currency)
    amount = rest if item.amount is None else checked_amount(item.amount, currency, f"{field}/amount")
    if not rest or amount > rest:
        text = f"Only {money_text(rest, currency)} of line {line.line_number} is left"
        raise _exceeds(f"{field}/amount", text, rest, currency)
    return line_credit(line, amount, currency)


def _credit_named_including_tax(
    line: InvoiceLine, item: LineAmount, field: str, currency: str
) -> CreditedLine:
    field = f"{field}/including_tax"
    if item.amount is not None:
        message = "Give the amount of a line before tax or including tax, not both."
        raise _refused(Invalid, field, "one_amount", message)
    assert item.including_tax is not None
    total, rest = checked_amount(item.including_tax, currency, field), creditable_with_tax(line)
    if total > rest:
        text = f"Only {money_text(rest, currency)} with tax of line {line.line_number} is left"
        raise _exceeds(field, text, rest, currency)
    return line_credit_including_tax(line, total, currency)


def _exceeds(field: str, text: str, rest: Decimal, currency: str) -> Conflict:
    message = f"{text} to be credited. Give at most that."
    return Conflict(
        "credit_exceeds_line",
        message,
        errors=[FieldProblem(f"/{field}", "credit_exceeds_line", message)],
        extra={"creditable": plain_amount(rest, currency), "currency": currency},
    )


def _refused(kind: type[Invalid], field: str, code: str, message: str) -> Invalid:
    return kind(code, message, errors=[FieldProblem(f"/{field}", code, message)])


# --- Writing: the invoice is locked -----------------------------------------------------------------------


def lines_credit(credits: Sequence[CreditedLine]) -> None:
    """Count on the lines what is credited of them."""
    for credit in credits:
        credit.line.credited_amount, credit.line.credited_tax = credit.credited_amount, credit.credited_tax
    InvoiceLine.objects.bulk_update(
        [credit.line for credit in credits], ["credited_amount", "credited_tax"], batch_size=500
    )


def lines_uncredit(credit_note: Invoice) -> None:
    """Take back from the lines what a credit note, which becomes void, credited of them."""
    with connection.cursor() as cursor:
        cursor.execute(_UNCREDIT, {"credit_note": credit_note.pk})


# --- Contract fees (BUD-16) -------------------------------------------------------------------------------


def fee_credits(lines: Sequence[InvoiceLine], credits: Sequence[CreditedLine]) -> list[FeeCredit]:
    """What credits give back of the contract fees that the lines of an invoice bill, each in its own currency.

    ``lines`` are those of the invoice before ``lines_credit``. The lines that share a fee of usage between departments
    count together, a fee and its adjustments too: what adds with what adds, and what lowers with what lowers.
    """
    of_fees = [line for line in lines if line.kind == LineKind.FEE]
    if not of_fees:
        return []
    held = BilledItem.objects.filter(invoice_line__in=of_fees, contract_fee__isnull=False)
    fees_of: dict[int, list[BillableFee]] = {}
    for item in held.select_related("contract_fee__contract__budget").order_by("contract_fee_id"):
        if item.contract_fee is not None:
            fees_of.setdefault(item.invoice_line_id, []).append(item.contract_fee)
    given = {credit.line.pk: credit.amount for credit in credits}
    found = []
    for members in _units(of_fees, fees_of):
        before, after = _credited_part(members, {}), _credited_part(members, given)
        for fee in (fee for line in members for fee in fees_of.get(line.pk, [])):
            earlier = round_money(share_of(fee.amount, *before), fee.currency)
            then = round_money(share_of(fee.amount, *after), fee.currency)
            found.append(FeeCredit(fee, EXACT.subtract(then, earlier), earlier))
    return sorted(found, key=lambda credit: (credit.fee.contract_id, credit.fee.pk))


def _units(lines: Sequence[InvoiceLine], fees_of: dict[int, list[BillableFee]]) -> list[list[InvoiceLine]]:
    """Lines that are credited together.

    Those of one contract line and period, if one of them has no fee of its own; lines of fees that add apart from those
    of adjustments that lower, as the latter are credited only with the whole.
    """

    def key(line: InvoiceLine) -> tuple[int, str, object]:
        return line.contract_id or 0, line.contract_line, line.period_start

    def lowers(line: InvoiceLine) -> bool:
        own = fees_of.get(line.pk)
        return (own[0].amount if own else line.amount) < 0

    units = []
    for _, group in groupby(sorted(lines, key=lambda line: (*map(str, key(line)), line.pk)), key=key):
        members = list(group)
        if all(line.pk in fees_of for line in members):
            units += [[line] for line in members]
        else:
            units += [
                part
                for part in (
                    [line for line in members if not lowers(line)],
                    [line for line in members if lowers(line)],
                )
                if part
            ]
    return units


def _credited_part(members: Sequence[InvoiceLine], given: dict[int, Decimal]) -> tuple[Decimal, Decimal]:
    """What is credited of the lines, and of how much."""
    whole = exact_sum([line.amount for line in members])
    credited = [EXACT.add(line.credited_amount, given.get(line.pk, ZERO)) for line in members]
    if all(part == line.amount for part, line in zip(credited, members, strict=True)):
        return Decimal(1), Decimal(1)
    if not whole:
        return ZERO, Decimal(1)
    return exact_sum(credited), whole
