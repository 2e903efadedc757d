"""Clients of the back-office for the people of the desk."""

import re
from typing import Any

import pytest
from django.test import Client

from core.models import User
from tests.disputes.builders import Desk


def pages(user: User) -> Client:
    """A signed-in browser without scripts."""
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


def text_of(response: Any) -> str:
    """The page's words without markup."""
    text = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)).replace(" .", ".")


@pytest.fixture
def site(desk: Desk) -> Client:
    """Finance staff of the issuer."""
    return pages(desk.staff)
