"""The sample group's levels of reminders, and a bank statement whose transactions wait for somebody."""

from decimal import Decimal

from core.history import acting
from core.money import plain_amount
from core.sample_data.run import SampleRun, person
from entities.models import Entity
from entities.sample_data.organisation import ISSUER
from entities.sample_data.people import FINANCE_MANAGER
from invoicing.models import BankStatement, DunningLevel, Invoice
from invoicing.selectors.invoice import receivable
from invoicing.services.bank import bank_statement_import
from invoicing.services.dunning import dunning_level_save

LEVELS = ((1, 7), (2, 21), (3, 35))
FILE_NAME = "bank-statement-sample.csv"


def load_receivables(run: SampleRun) -> None:
    """Levels for the group's shared services, and what their bank says arrived of late."""
    issuer = Entity.objects.get(code=ISSUER)
    actor = person(FINANCE_MANAGER)
    made = 0
    for level, days in LEVELS:
        if not DunningLevel.objects.filter(issuer=issuer, level=level).exists():
            dunning_level_save(actor=actor, issuer=issuer, level=level, days_overdue=days)
            made += 1
    run.count("levels of reminders", made, there=len(LEVELS) - made)
    there = BankStatement.objects.filter(issuer=issuer, file_name=FILE_NAME).count()
    content = "" if there else _statement(issuer)
    if content:
        with acting(reason="The bank's statement"):
            bank_statement_import(actor=actor, issuer=issuer, file_name=FILE_NAME, content=content.encode())
    run.count("bank statements", int(bool(content)), there=there)


def _statement(issuer: Entity) -> str:
    """One payment that names its invoice, one that does not, one of a part, and the bank's fee."""
    rows = list(
        Invoice.objects.filter(receivable(), issuer=issuer)
        .select_related("entity")
        .order_by("due_date", "pk")[:3]
    )
    if not rows:
        return ""
    texts = (f"Invoice {rows[0].number}", "Thank you", "On account")
    lines = ["Date;Amount;Currency;Counterparty;Text"]
    for row, text in zip(rows, texts, strict=False):
        amount = row.open_amount if text != texts[2] else Decimal(1000)
        paid = plain_amount(amount, row.currency)
        lines.append(f"{row.due_date};{paid};{row.currency};{row.entity.printed_name};{text}")
    lines.append(f"{rows[0].due_date};-12.50;{issuer.currency};Bank;Account fee")
    return "\n".join(lines) + "\n"
