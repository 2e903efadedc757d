"""Forms: refusals in words, conflicts of versions, locks, actions, history, uploads, progress."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from core.models import User
from core.progress import Progress
from entities.models import Entity
from tests.core.admin.conftest import Group

LIST = "/admin/entities/entity/"


def form_data(entity: Entity, **changes: Any) -> dict[str, Any]:
    return {
        "name": entity.name,
        "code": entity.code,
        "entity_type": entity.entity_type,
        "parent": entity.parent_id or "",
        "currency": entity.currency,
        "credit_limit": entity.credit_limit,
        "loaded_version": entity.version,
        **changes,
    }


def test_saving_writes_history_with_the_person(
    admin_client: Client, administrator: User, group: Group
) -> None:
    url = f"{LIST}{group.german.pk}/change/"
    assert admin_client.post(url, form_data(group.german, name="Acme Deutschland")).status_code == 302
    stored = Entity.objects.get(pk=group.german.pk)
    assert (stored.name, stored.version) == ("Acme Deutschland", group.german.version + 1)
    assert stored.history.latest().history_user == administrator


def test_second_editor_sees_both_values_and_decides(admin_client: Client, group: Group) -> None:
    url = f"{LIST}{group.german.pk}/change/"
    loaded = form_data(group.german, name="Mine")
    theirs = Entity.objects.get(pk=group.german.pk)
    theirs.name = "Theirs"
    theirs.save()
    answer = admin_client.post(url, loaded)
    assert answer.status_code == 200
    row = answer.context["differences"][0]
    assert (row.label, row.stored, row.typed) == ("Name", "Theirs", "Mine")
    assert Entity.objects.get(pk=theirs.pk).name == "Theirs"
    assert 'name="loaded_version" value="2"' in answer.content.decode()
    # Saving again, with both values seen, is a decision.
    again = {**loaded, "loaded_version": answer.context["loaded_version"]}
    assert admin_client.post(url, again).status_code == 302
    assert Entity.objects.get(pk=theirs.pk).name == "Mine"


def test_form_without_a_version_is_refused(admin_client: Client, group: Group) -> None:
    data = form_data(group.german, name="Blind")
    del data["loaded_version"]
    assert admin_client.post(f"{LIST}{group.german.pk}/change/", data).status_code == 200
    assert Entity.objects.get(pk=group.german.pk).name == "Acme DE"


def test_refusal_of_a_service_is_shown_beside_the_field(admin_client: Client, group: Group) -> None:
    answer = admin_client.post(f"{LIST}{group.german.pk}/change/", form_data(group.german, name="Forbidden"))
    assert answer.status_code == 200
    form = answer.context["adminform"].form
    assert form.errors == {"name": ["That name is reserved. Choose another."]}
    assert form["name"].value() == "Forbidden"
    assert Entity.objects.get(pk=group.german.pk).name == "Acme DE"


def test_rule_of_the_database_is_no_error_page(admin_client: Client, group: Group) -> None:
    """The trigger that refuses a cycle, and whatever else the database holds, comes back as words."""
    data = form_data(group.root, parent=group.german.pk, entity_type="subsidiary")
    answer = admin_client.post(f"{LIST}{group.root.pk}/change/", data)
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors
    assert Entity.objects.get(pk=group.root.pk).parent_id is None


def test_locked_record_says_why(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.german.pk).update(is_active=False)
    url = f"{LIST}{group.german.pk}/change/"
    page = admin_client.get(url).content.decode()
    assert "Closed: open it again to change it." in page
    assert 'name="_save"' not in page
    assert admin_client.post(url, form_data(group.german, name="X")).status_code == 403


def test_action_page_says_what_will_happen_and_get_changes_nothing(
    admin_client: Client, group: Group
) -> None:
    page = admin_client.get(f"{LIST}{group.german.pk}/do/close/").content.decode()
    assert "Acme DE is billed no more." in page
    assert "Reason" in page
    assert Entity.objects.get(pk=group.german.pk).is_active


def test_action_runs_by_post_with_a_reason(admin_client: Client, administrator: User, group: Group) -> None:
    url = f"{LIST}{group.german.pk}/do/close/"
    assert admin_client.post(url, {"reason": " "}).status_code == 200
    assert Entity.objects.get(pk=group.german.pk).is_active
    answer = admin_client.post(url, {"reason": "Merged into Acme"}, follow=True)
    assert "Acme DE is closed." in answer.content.decode()
    entry = Entity.objects.get(pk=group.german.pk).history.latest()
    assert (entry.history_change_reason, entry.history_user) == ("Merged into Acme", administrator)


def test_impossible_action_explains_itself(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.german.pk).update(is_active=False)
    bar = admin_client.get(f"{LIST}{group.german.pk}/change/").content.decode()
    assert "It is closed already." in bar
    assert f"{group.german.pk}/do/close/" not in bar
    for method in (admin_client.get, admin_client.post):
        answer = method(f"{LIST}{group.german.pk}/do/close/", {"reason": "x"})
        assert answer.status_code == 409
        assert "It is closed already." in answer.content.decode()


def test_refused_action_keeps_the_reason_typed(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.german.pk).update(name="Refused")
    answer = admin_client.post(f"{LIST}{group.german.pk}/do/close/", {"reason": "Because"})
    page = answer.content.decode()
    assert "Refused has open invoices. Pay or void them first." in page
    assert "Because" in page


def test_unknown_action_is_not_there(admin_client: Client, group: Group) -> None:
    assert admin_client.get(f"{LIST}{group.german.pk}/do/explode/").status_code == 404
    assert admin_client.post(f"{LIST}do-all/explode/", {"keys": [1]}).status_code == 404


def test_bulk_action_shows_count_sum_and_what_is_skipped_first(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.root.pk).update(is_active=False)
    keys = [group.root.pk, group.german.pk, group.japanese.pk]
    page = admin_client.post(LIST, {"action": "do_close", "_selected_action": keys})
    assert [obj.code for obj in page.context_data["ready"]] == ["ACME-DE", "ACME-JP"]
    assert [(obj.code, why) for obj, why in page.context_data["skipped"]] == [
        ("ACME", "It is closed already.")
    ]
    assert [(label, "250.50" in text or "90,000" in text) for label, text in page.context_data["sums"]] == [
        ("Credit limit", True),
        ("Credit limit", True),
    ]
    assert Entity.objects.filter(is_active=True, pk__in=keys).count() == 2


def test_bulk_action_runs_each_alone_and_lists_the_refused(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.japanese.pk).update(name="Refused")
    data = {"keys": [group.german.pk, group.japanese.pk, group.other.pk], "reason": "Clean up"}
    text = admin_client.post(f"{LIST}do-all/close/", data, follow=True).content.decode()
    assert "Close: done for 1 of 3." in text
    assert "Refused has open invoices." in text
    active = Entity.objects.filter(is_active=True).values_list("code", flat=True)
    assert set(active) == {"ACME", "ACME-JP", "STRANGER"}


def test_bulk_action_by_get_does_nothing(admin_client: Client, group: Group) -> None:
    assert admin_client.get(f"{LIST}do-all/close/?keys={group.german.pk}").status_code == 302
    assert Entity.objects.get(pk=group.german.pk).is_active
    assert admin_client.post(f"{LIST}do-all/close/", {"keys": ["x"], "reason": "y"}).status_code == 404


def test_bulk_delete_of_django_is_gone(admin_client: Client, group: Group) -> None:
    admin_client.post(
        LIST, {"action": "delete_selected", "_selected_action": [group.german.pk], "post": "yes"}
    )
    assert Entity.objects.filter(pk=group.german.pk).exists()


def test_history_says_who_what_why_and_whence(admin_client: Client, group: Group) -> None:
    url = f"{LIST}{group.german.pk}/change/"
    admin_client.post(url, form_data(group.german, name="Acme Deutschland", parent=group.japanese.pk))
    admin_client.post(f"{LIST}{group.german.pk}/do/close/", {"reason": "Merged"})
    steps = admin_client.get(f"{LIST}{group.german.pk}/history/").context_data["steps"]
    assert [(step.kind, step.reason) for step in steps] == [
        ("Changed", "Merged"),
        ("Changed", ""),
        ("Created", ""),
    ]
    assert steps[0].changes == [("Is active", "True", "False")]
    assert sorted(steps[1].changes) == [
        ("Name", "Acme DE", "Acme Deutschland"),
        ("Parent", "Acme", "Acme JP"),
    ]
    assert (steps[0].who, steps[0].channel) == ("Ada", "Back-office")


def test_history_does_not_revert(admin_client: Client, group: Group) -> None:
    entry = group.german.history.latest()
    answer = admin_client.post(f"{LIST}{group.german.pk}/history/{entry.pk}/", {"name": "Old"})
    assert answer.status_code == 302
    assert Entity.objects.get(pk=group.german.pk).name == "Acme DE"


def test_upload_page_shows_refusals_and_goes_on(
    admin_client: Client, auditor_client: Client, group: Group
) -> None:
    url = f"{LIST}upload/"
    assert auditor_client.get(url).status_code == 403
    assert "One a line." in admin_client.get(url).content.decode()
    bad = admin_client.post(url, {"file": SimpleUploadedFile("x.csv", b"1,2\n")})
    assert "Line 1 is no header." in bad.content.decode()
    good = admin_client.post(url, {"file": SimpleUploadedFile("x.csv", b"name,code\na,b\n")}, follow=True)
    assert "1 lines read." in good.content.decode()


def test_progress_is_read_within_scope(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.german.pk).update(code="BUSY")
    url = f"{LIST}{group.german.pk}/progress/"
    assert admin_client.get(url).json()["state"] == "waiting"
    Progress(f"entity:{group.german.pk}").update(50, 200, "50 of 200 rows")
    assert admin_client.get(url).json() == {
        "percent": 25,
        "state": "running",
        "words": "25 %. 50 of 200 rows",
    }
    assert f'data-url="{url}"' in admin_client.get(f"{LIST}{group.german.pk}/change/").content.decode()
    Progress(f"entity:{group.german.pk}").fail("Line 17: no amount")
    assert admin_client.get(url).json()["state"] == "failed"
    assert admin_client.get(f"{LIST}{group.other.pk}/progress/").status_code == 404


@pytest.mark.parametrize("path", ["add/", "1/change/", "upload/"])
def test_forms_carry_no_state_from_one_request_to_the_next(
    path: str, admin_client: Client, auditor_client: Client, group: Group
) -> None:
    first = admin_client.get(f"{LIST}{path}").status_code
    auditor_client.get(f"{LIST}{path}")
    assert admin_client.get(f"{LIST}{path}").status_code == first
