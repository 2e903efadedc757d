"""What invoicing tells on the first page, to whom (REP-01, ENT-04)."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from core import clock
from entities.models import Role
from invoicing.models import RejectedRow
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from tests.invoicing.invoices.builders import SEPTEMBER, Group, usage

pytestmark = pytest.mark.django_db
START, END = SEPTEMBER


def page(group: Group, role: str, **where: object) -> str:
    person = group.person(role, **where)  # type: ignore[arg-type]
    person.is_staff = True
    person.save()
    client = Client()
    client.force_login(person, backend="entities.access.PasswordBackend")
    answer = client.get("/admin/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_what_is_owed_late_and_drafted(group: Group) -> None:
    group.use("20.52", entity=group.japan)
    draft = consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=START, period_end=END
    ).invoice
    shown = page(group, Role.FINANCE_STAFF)
    assert "Drafts to issue" in shown
    assert 'data-amount="20.5200"' in shown
    invoice_issue(actor=group.manager, invoice=draft)
    shown = page(group, Role.FINANCE_STAFF)
    assert "?open=yes" in shown
    assert shown.count('data-amount="20.5200"') == 1  # receivable, and not overdue on the day of issue


def test_cost_without_a_department_and_rows_to_repair(group: Group) -> None:
    today = clock.today()
    group.use("3.25", entity=group.japan, day=today)
    group.use("4", department=group.sales, day=today)
    RejectedRow.objects.create(
        usage_import=group.usage_import, line_number=7, values={"BilledCost": "NaN"}, problems=[]
    )
    shown = page(group, Role.FINANCE_STAFF)
    assert (
        f"/admin/invoicing/usagerecord/?allocation=unallocated&amp;charge_date_from={first_month()}" in shown
    )
    assert "1 charges since" in shown
    assert 'data-amount="3.250000000000000"' in shown
    assert "1 row of cost files to repair" in shown
    assert f"{today:%B %Y}" in shown  # cost per month
    assert 'data-amount="7.250000000000000"' in shown


def first_month() -> date:
    today = clock.today()
    return clock.month_after(today.replace(day=1), -5)


def test_others_money_is_not_told(group: Group) -> None:
    group.use("20.52", entity=group.japan)
    consolidated_invoice_draft(actor=group.manager, payer=group.root, period_start=START, period_end=END)
    assert "20.52" not in page(group, Role.FINANCE_STAFF, entity=group.germany)
    shown = page(group, Role.APPROVER)
    assert "Receivable" not in shown
    assert "20.52" not in shown


def test_the_number_of_queries_does_not_grow(group: Group) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            page(group, Role.FINANCE_STAFF)
        return len(captured)

    before = queries()
    rows = [{"billed_cost": Decimal(1), "entity_id": group.japan.pk, "department": None} for _ in range(50)]
    usage(group.usage_import, rows)
    consolidated_invoice_draft(actor=group.manager, payer=group.root, period_start=START, period_end=END)
    assert queries() <= before + 1
