"""On which invoice a fee stands, as the contract's page and the list of fees say it (CON-08)."""

import datetime
import html
import re

import pytest
import time_machine
from django.test import Client

from contracts.models import BillableFee
from core.models import User
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue, invoice_void
from tests.contracts.builders import Place, day, place

FEES = "/admin/contracts/billablefee/"


@pytest.fixture
def in_january(db: None) -> Place:
    with time_machine.travel("2026-01-10T12:00:00Z", tick=False):
        return place()


def text_of(user: User, path: str) -> str:
    site = Client()
    site.force_login(user, backend="entities.access.PasswordBackend")
    plain = re.sub(r"<[^>]+>", " ", site.get(path).content.decode())
    return re.sub(r"\s+", " ", html.unescape(plain))


@time_machine.travel(datetime.datetime(2026, 1, 10, 12, tzinfo=datetime.UTC), tick=False)
def test_con_08_the_page_says_draft_then_number_then_not_yet(in_january: Place) -> None:
    here = in_january
    contract = here.active()
    page = f"/admin/contracts/contract/{contract.pk}/change/"
    draft = consolidated_invoice_draft(
        actor=here.finance, payer=here.root, period_start=day("2026-01-01"), period_end=day("2026-02-01")
    ).invoice
    fee = BillableFee.objects.get()
    assert f"{fee.description} Recurring fee 2026-01-01 – before 2026-02-01 edit_note Draft" in text_of(
        here.finance, page
    )
    issued = invoice_issue(actor=here.finance, invoice=draft)
    assert issued.number in text_of(here.finance, page)
    assert issued.number in text_of(here.finance, FEES)
    invoice_void(actor=here.finance, invoice=issued, reason="Wrong address")
    after = text_of(here.finance, page)
    assert "Not yet" in after
    assert issued.number not in after
