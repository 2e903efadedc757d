"""A group, and short ways to import files into it."""

import io
from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest

from core.models import ExchangeRate
from invoicing.models import UsageImport
from invoicing.services.usage_imports import ImportResult, usage_file_import
from tests.entities.factories import Group
from tests.entities.factories import group as build_group

TakeIn = Callable[..., ImportResult]


@pytest.fixture
def group(db: None) -> Group:
    """The Northwind group, with a rate between EUR and USD."""
    built = build_group()
    ExchangeRate.objects.create(
        date=date(2024, 9, 2), base="EUR", quote="USD", rate=Decimal("1.1"), source="Treasury"
    )
    return built


@pytest.fixture
def take_in(group: Group) -> TakeIn:
    """Import bytes: for the root and as its finance manager unless told otherwise."""

    def run(content: bytes, *, entity=None, actor=None, file_name="usage.csv", **options) -> ImportResult:
        return usage_file_import(
            actor=actor or group.finance,
            entity=entity or group.root,
            file=io.BytesIO(content),
            file_name=file_name,
            **options,
        )

    return run


def fresh(usage_import: UsageImport) -> UsageImport:
    """The import as the database has it now."""
    return UsageImport.objects.get(pk=usage_import.pk)
