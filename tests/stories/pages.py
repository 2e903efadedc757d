"""Filling in forms as a browser without JavaScript would: what the page offers is sent back, with some changes."""

from html.parser import HTMLParser
from typing import Any

from django.http import HttpResponse
from django.test import Client


class _Form(HTMLParser):
    """The fields of the forms of a page, with the values that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self.select = ""
        self.area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input":
            self._input(given)
        elif tag == "select":
            self.select = given.get("name", "")
        elif tag == "option" and self.select and "selected" in given:
            self.values.setdefault(self.select, []).append(given.get("value", ""))
        elif tag == "textarea":
            self.area = given.get("name", "")
            self.values[self.area] = [""]

    def _input(self, given: dict[str, str]) -> None:
        kind, name = given.get("type", "text"), given.get("name")
        if (
            not name
            or kind in ("submit", "file")
            or (kind in ("checkbox", "radio") and "checked" not in given)
        ):
            return
        self.values.setdefault(name, []).append(given.get("value", "on" if kind == "checkbox" else ""))

    def handle_data(self, data: str) -> None:
        if self.area:
            self.values[self.area] = [data.strip()]

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self.select = ""
        elif tag == "textarea":
            self.area = ""


def submit(client: Client, path: str, /, leave_out: tuple[str, ...] = (), **changes: Any) -> HttpResponse:
    """Open a page, change some fields of its forms, send them, and return the page that this leads to."""
    page = client.get(path)
    assert page.status_code == 200, page.content[:2000]
    form = _Form()
    form.feed(page.content.decode())
    content = {name: values for name, values in form.values.items() if name not in leave_out}
    answer = client.post(path, {**content, **changes}, follow=True)
    assert answer.status_code == 200, answer.content[:2000]
    return answer
