"""ENT-04 in the back-office: outside scope is not there, inside without the right is refused."""

from typing import Any

import pytest
from django.test import Client

from core.models import User
from entities.models import Entity
from tests.core.admin.conftest import Group

LIST = "/admin/entities/entity/"


def test_list_shows_what_the_user_may_see(admin_client: Client, group: Group) -> None:
    page = admin_client.get(LIST)
    assert [row.code for row in page.context["cl"].result_list] == ["ACME", "ACME-DE", "ACME-JP"]


def test_record_outside_scope_is_not_there(admin_client: Client, group: Group) -> None:
    # Django's own answer to a missing record: a message and the way back.
    for page in ("change/", "history/", "do/close/", "progress/", "delete/"):
        answer = admin_client.get(f"{LIST}{group.other.pk}/{page}")
        assert answer.status_code in {302, 404}, page
        assert b"Stranger" not in answer.content, page


def test_choices_filters_and_autocomplete_offer_only_what_is_visible(
    admin_client: Client, group: Group
) -> None:
    form = admin_client.get(f"{LIST}add/").context["adminform"].form
    assert [row.code for row in form.fields["parent"].queryset] == ["ACME", "ACME-DE", "ACME-JP"]
    filters = admin_client.get(LIST).context["cl"].filter_specs
    offered = next(
        spec for spec in filters if getattr(spec, "lookup_choices", None) and spec.title == "parent"
    )
    assert [label for _, label in offered.lookup_choices] == ["Acme", "Acme DE", "Acme JP"]


def test_foreign_key_to_a_hidden_record_does_not_exist(admin_client: Client, group: Group) -> None:
    data = {
        "name": "New",
        "code": "NEW",
        "entity_type": "subsidiary",
        "currency": "EUR",
        "parent": group.other.pk,
    }
    answer = admin_client.post(f"{LIST}add/", data)
    assert "not one of the available choices" in str(answer.context["adminform"].form.errors["parent"])
    assert not Entity.objects.filter(code="NEW").exists()


def test_auditor_reads_and_writes_nothing(auditor_client: Client, group: Group) -> None:
    url = f"{LIST}{group.german.pk}/change/"
    assert auditor_client.get(url).status_code == 200
    assert auditor_client.post(url, {"name": "Hacked"}).status_code == 403
    assert auditor_client.get(f"{LIST}add/").status_code == 403
    assert auditor_client.post(f"{LIST}{group.german.pk}/do/close/", {"reason": "x"}).status_code == 403
    assert auditor_client.post(f"{LIST}do-all/close/", {"keys": [group.german.pk]}).status_code == 403
    assert auditor_client.post(f"{LIST}{group.german.pk}/delete/", {"post": "yes"}).status_code == 403
    group.german.refresh_from_db()
    assert (group.german.name, group.german.is_active) == ("Acme DE", True)


def test_right_below_does_not_reach_above(person: Any, as_user: Any, group: Group) -> None:
    client = as_user(person("dora", "administrator", at=group.german))
    assert [row.code for row in client.get(LIST).context["cl"].result_list] == ["ACME-DE"]
    assert client.get(f"{LIST}{group.root.pk}/change/").status_code == 302


def test_person_without_a_role_sees_no_list(person: Any, as_user: Any, group: Group) -> None:
    client = as_user(person("nobody"))
    assert client.get(LIST).status_code == 403
    assert client.get("/admin/").status_code == 200


def test_sidebar_and_palette_keep_to_rights(
    person: Any, as_user: Any, group: Group, administrator: User
) -> None:
    nobody = as_user(person("nobody"))
    titles = [
        item["title"]
        for part in nobody.get("/admin/").context["sidebar_navigation"]
        for item in part["items"]
    ]
    assert titles == ["Overview", "Messages"]
    found = as_user(administrator).get("/admin/search/?extended=1&s=Acme").content.decode()
    assert "Stranger" not in found
    assert "Acme" not in nobody.get("/admin/search/?extended=1&s=Acme").content.decode().replace("“Acme”", "")


@pytest.mark.parametrize("page", ["", "add/", "export.csv", "export.xlsx", "saved-filters/", "upload/"])
def test_pages_ask_for_a_sign_in(page: str, group: Group) -> None:
    answer = Client().get(f"{LIST}{page}")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")
