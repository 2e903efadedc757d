"""The group of the invoice tests, and documents made from it."""

import pytest

from tests.invoicing.invoices.builders import Group, build_group


@pytest.fixture
def group(db: None) -> Group:
    return build_group()
