"""The first invoice, from nothing, through each door: the same figures, and a second run that issues nothing."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from core.access import system_actor
from entities.models import Department, Entity, EntityType
from entities.services import entity_create
from invoicing.documents.store import invoice_pdf
from invoicing.models import Invoice
from tests.stories.acme import FOCUS_FILE, check_invoice

pytestmark = pytest.mark.django_db


def run(name: str, *arguments: str) -> str:
    """Run a command as a terminal would; return what it wrote."""
    said = StringIO()
    call_command(name, *arguments, stdout=said, stderr=StringIO())
    return said.getvalue()


def acme() -> Entity:
    """The group: a holding that issues, and the company that pays."""
    holding = entity_create(
        actor=system_actor(),
        name="Acme Holding",
        code="ACME",
        entity_type=EntityType.ROOT,
        currency="USD",
        is_issuer=True,
    )
    return entity_create(
        actor=system_actor(),
        name="Acme Labs",
        code="ACME-LABS",
        entity_type=EntityType.SUBSIDIARY,
        currency="USD",
        parent=holding,
    )


def test_by_command() -> None:
    payer = acme()
    proposed = run("propose_usage_mappings", str(FOCUS_FILE), "--entity", "ACME-LABS", "--apply")
    assert "ENGINEERING" in proposed
    assert list(Department.objects.values_list("code", flat=True)) == ["ENGINEERING", "RESEARCH"]

    imported = run("import_focus", str(FOCUS_FILE), "--entity", "ACME-LABS")
    assert "26.3397799" in imported
    again = run("import_focus", str(FOCUS_FILE), "--entity", "ACME-LABS")
    assert "nothing was added" in again

    period = ("--entity", "ACME-LABS", "--from", "2024-09-01", "--to", "2024-10-01")
    preview = run("consolidate_invoice", *period, "--preview")
    assert not Invoice.objects.exists()
    issued = run("consolidate_invoice", *period, "--issue")
    for text in (preview, issued):
        assert "26.34" in text
    invoice = Invoice.objects.get()
    check_invoice(invoice, number=f"ACME-INV-{timezone.now():%Y}-000001")
    assert invoice.entity == payer
    assert invoice_pdf(invoice).startswith(b"%PDF")

    with pytest.raises(CommandError, match=str(invoice.number)):
        run("consolidate_invoice", *period, "--issue")
    assert Invoice.objects.count() == 1
    assert "no gap" in run("verify_numbering").lower()
