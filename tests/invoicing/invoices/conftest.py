"""The group that the invoice tests share."""

import pytest

from tests.invoicing.invoices.builders import Group, build_group


@pytest.fixture
def group(db: None) -> Group:
    return build_group()
