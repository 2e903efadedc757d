"""Usage in the back-office: upload, result, repair, proposals; within the user's scope (ENT-04)."""

import csv
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from core import progress
from invoicing.models import RejectedRow, UsageImport, UsageMappingRule, UsageRecord
from invoicing.services.usage_imports import progress_key, usage_import_run
from invoicing.services.usage_rules import usage_mapping_rule_create
from tests.invoicing.usage.focus_files import focus_csv, numbered, row, small_file
from tests.shared_data import shared_path


@pytest.fixture
def browse(group):
    """A browser's session of a user of the group, the finance manager by default."""

    def sign_in(user=None) -> Client:
        person = user or group.finance
        type(person).objects.filter(pk=person.pk).update(is_staff=True)
        client = Client()
        client.force_login(type(person).objects.get(pk=person.pk), backend="entities.access.PasswordBackend")
        return client

    return sign_in


def address(model: str, name: str, *arguments) -> str:
    return reverse(f"admin:invoicing_{model}_{name}", args=arguments)


def text_of(response) -> str:
    if response.streaming:
        return b"".join(response.streaming_content).decode()
    return response.content.decode()


def test_an_upload_starts_an_import_and_leads_to_its_page(browse, group):
    client = browse()
    shown = text_of(client.get(address("usageimport", "add")))
    assert "Northwind Group" in shown and "Fabrikam" not in shown
    sent = client.post(
        address("usageimport", "add"),
        {"entity": group.root.pk, "file": SimpleUploadedFile("september.csv", small_file("focus_1_0.csv"))},
    )
    waiting = UsageImport.objects.get()
    assert sent["Location"] == address("usageimport", "change", waiting.pk)
    assert (waiting.status, waiting.file_name, waiting.created_by) == (
        "waiting",
        "september.csv",
        group.finance,
    )
    assert "data-progress" in text_of(client.get(sent["Location"]))
    progress.Progress(progress_key(waiting.pk)).update(450, 1000, "Reading: 5 rows")
    told = client.get(address("usageimport", "progress", waiting.pk)).json()
    assert (told["percent"], told["state"], told["words"]) == (45, "running", "45 %. Reading: 5 rows")
    usage_import_run(actor=group.finance, usage_import=waiting)
    shown = text_of(client.get(sent["Location"]))
    assert "data-progress" not in shown
    assert "4.2500000005" in shown and "Propose mapping rules" in shown and "Unallocated" in shown
    again = client.post(
        address("usageimport", "add"),
        {"entity": group.root.pk, "file": SimpleUploadedFile("again.csv", small_file("focus_1_0.csv"))},
        follow=True,
    )
    assert "nothing was added" in text_of(again)


def test_a_refused_file_says_why_on_its_page(browse, take_in):
    failed = take_in(b"a,b\n1,2\n").usage_import
    shown = text_of(browse().get(address("usageimport", "change", failed.pk)))
    assert "Nothing was imported." in shown and "This is not a FOCUS export" in shown
    client = browse()
    client.post(address("usageimport", "do", failed.pk, "retry"))
    assert UsageImport.objects.get().status == "waiting"


def test_an_interrupted_import_is_named_so(browse, take_in):
    done = take_in(focus_csv(numbered(1))).usage_import
    UsageImport.objects.filter(pk=done.pk).update(status="running")
    assert "Interrupted" in text_of(browse().get(address("usageimport", "changelist")))
    assert "Start it again" in text_of(browse().get(address("usageimport", "change", done.pk)))


def test_undo_asks_for_a_reason_and_says_what_will_happen(browse, take_in):
    done = take_in(focus_csv(numbered(2))).usage_import
    client = browse()
    url = address("usageimport", "do", done.pk, "undo")
    assert "taken out" in text_of(client.get(url))
    client.post(url, {"reason": ""})
    assert UsageRecord.objects.count() == 2
    client.post(url, {"reason": "Wrong month"})
    assert UsageRecord.objects.count() == 0
    assert "Wrong month" in text_of(client.get(address("usageimport", "change", done.pk)))


def test_use_02_a_row_is_put_right_beside_its_problem(browse, take_in, group):
    take_in(focus_csv([row(), row(BilledCost="NaN"), row(Tags="{x", BilledCost="2")]))
    first, second = RejectedRow.objects.order_by("line_number")
    client = browse()
    url = address("rejectedrow", "change", first.pk)
    shown = text_of(client.get(url))
    assert "NaN and Infinity are refused" in shown and "To put right" in shown
    values = {
        f"column_{number}": first.values[name] for number, name in enumerate(first.usage_import.columns)
    }
    cost = f"column_{first.usage_import.columns.index('BilledCost')}"
    refused = client.post(url, {**values, cost: "1e400", "do": "repair"})
    assert refused.status_code == 400
    assert "The amount is too large" in text_of(refused)
    assert RejectedRow.objects.get(pk=first.pk).status == "open"
    client.post(url, {**values, cost: "0.5", "do": "keep"})
    kept = RejectedRow.objects.get(pk=first.pk)
    assert (kept.status, kept.values["BilledCost"], kept.problems) == ("open", "0.5", [])
    sent = client.post(url, {**values, cost: "0.5", "do": "repair"})
    assert sent["Location"] == address("rejectedrow", "change", second.pk), "on to the next row"
    assert UsageRecord.objects.count() == 2
    assert "Its charge" in text_of(client.get(url))
    assert client.post(url, {**values, "do": "repair"}).status_code == 403


def test_use_02_rows_are_discarded_one_by_one_and_in_bulk(browse, take_in):
    take_in(focus_csv([row(BilledCost=cost) for cost in ("x", "y", "z")]))
    keys = list(RejectedRow.objects.order_by("pk").values_list("pk", flat=True))
    client = browse()
    client.post(address("rejectedrow", "do", keys[0], "discard"), {"reason": "A test"})
    client.post(address("rejectedrow", "bulk", "discard"), {"keys": keys, "reason": "Not ours"})
    reasons = RejectedRow.objects.order_by("pk").values_list("status", "resolution_reason")
    assert list(reasons) == [("discarded", "A test"), ("discarded", "Not ours"), ("discarded", "Not ours")]


def test_use_03_rules_are_proposed_and_applied(browse, take_in, group):
    done = take_in(small_file("focus_1_0.csv")).usage_import
    client = browse()
    url = address("usageimport", "propose", done.pk)
    shown = client.get(url)
    assert "Finance &amp; Control" in text_of(shown) and "FINANCE-CONTROL" in text_of(shown)
    rows = shown.context["rows"]
    post = {"tag": "business_unit", "into": group.root.pk, "pick": [line["number"] for line in rows]}
    for line in rows:
        proposal = line["proposal"]
        post |= {
            f"value-{line['number']}": proposal.value,
            f"entity-{line['number']}": proposal.entity.pk,
            f"department-{line['number']}": proposal.department.pk if proposal.department else "",
            f"code-{line['number']}": "" if proposal.value.startswith("Finance") else proposal.code,
            f"name-{line['number']}": proposal.name,
        }
    refused = client.post(url, post)
    assert refused.status_code == 400 and UsageMappingRule.objects.count() == 0
    fixed = {name: "FIN" if name.startswith("code-") and not value else value for name, value in post.items()}
    applied = client.post(url, fixed, follow=True)
    assert "1 departments and 3 rules created; 4 rows" in text_of(applied)
    assert UsageRecord.objects.unallocated().count() == 2
    assert "has a rule already" in text_of(client.get(url))
    assert "No row of this import has the tag" in text_of(client.get(url, {"tag": "nothing"}))


def test_use_03_the_shared_sample_has_a_page_of_proposals(browse, take_in):
    done = take_in(shared_path("data/focus/focus_sample.csv").read_bytes()).usage_import
    shown = browse().get(address("usageimport", "propose", done.pk))
    assert (shown.status_code, len(shown.context["rows"]), shown.context["more"]) == (200, 300, 1)


def test_use_03_rules_are_kept_by_the_form(browse, group):
    client = browse()
    body = {
        "entity": group.root.pk, "source": "tag", "tag_key": "business_unit", "value": "Engineering",
        "department": group.engineering.pk, "priority": 10, "is_active": "on", "change_reason": "",
    }  # fmt: skip
    client.post(address("usagemappingrule", "add"), body)
    rule = UsageMappingRule.objects.get()
    assert (rule.priority, rule.history.first().history_user) == (10, group.finance)
    again = client.post(address("usagemappingrule", "add"), body)
    assert "already exists" in text_of(again) and UsageMappingRule.objects.count() == 1
    client.post(address("usagemappingrule", "change", rule.pk), {**body, "priority": 20, "loaded_version": 1})
    assert UsageMappingRule.objects.get().priority == 20
    client.post(address("usagemappingrule", "delete", rule.pk), {"post": "yes"})
    assert UsageMappingRule.objects.count() == 0


def test_records_show_exact_sums_of_what_is_filtered(browse, take_in, group):
    usage_mapping_rule_create(
        actor=group.finance, entity=group.root, tag_key="business_unit", value="Engineering",
        department=group.engineering,
    )  # fmt: skip
    take_in(small_file("focus_1_0.csv"))
    client = browse()
    shown = text_of(client.get(address("usagerecord", "changelist"), {"allocation": "unallocated"}))
    assert "4 rows" in shown, shown[shown.find("eb-totals") :][:600]
    assert "4.15 USD" in shown, shown[shown.find("eb-totals") :][:600]
    assert "VM hour, large" in shown
    record = UsageRecord.objects.get(charge_description="VM hour")
    detail = text_of(client.get(address("usagerecord", "change", record.pk)))
    assert "0.10000000001" in detail and "business_unit = Engineering" in detail


def test_a_formula_in_a_name_is_exported_as_text(browse, take_in):
    formula = '=HYPERLINK("http://evil.example","click")'
    take_in(focus_csv([row(ResourceName=formula, ChargeDescription="@SUM(1)")]))
    assert UsageRecord.objects.get().resource_name == formula
    rows = list(csv.reader(io.StringIO(text_of(browse().get(address("usagerecord", "export", "csv"))))))
    (exported,) = (dict(zip(rows[0], line, strict=True)) for line in rows[1:])
    assert exported["Resource name"] == f"'{formula}"
    assert exported["Charge description"] == "'@SUM(1)"
    assert exported["Billed cost"].rstrip("0") == "1.5"


def test_ent_04_pages_of_another_group_do_not_exist(browse, take_in, group):
    done = take_in(focus_csv([row(), row(BilledCost="x")])).usage_import
    rejected, record = RejectedRow.objects.get(), UsageRecord.objects.get()
    client = browse(group.users["outsider"])
    for url in (
        address("usageimport", "change", done.pk),
        address("usageimport", "propose", done.pk),
        address("usageimport", "progress", done.pk),
        address("usageimport", "do", done.pk, "undo"),
        address("rejectedrow", "change", rejected.pk),
        address("rejectedrow", "do", rejected.pk, "discard"),
    ):
        assert client.get(url).status_code == 404, url
        assert client.post(url, {"reason": "x", "do": "repair"}).status_code in {404, 405}, url
    assert "usage.csv" not in text_of(client.get(address("usageimport", "changelist")))
    assert client.get(address("usagerecord", "change", record.pk)).status_code in {302, 404}
    assert UsageRecord.objects.count() == 1


def test_ent_05_an_auditor_reads_and_writes_nothing(browse, take_in, group):
    done = take_in(focus_csv([row(), row(BilledCost="x")])).usage_import
    rejected = RejectedRow.objects.get()
    client = browse(group.users["auditor"])
    shown = text_of(client.get(address("usageimport", "change", done.pk)))
    assert "Propose mapping rules" not in shown and "Undo" not in shown
    assert client.get(address("usageimport", "add")).status_code == 403
    assert client.get(address("usageimport", "propose", done.pk)).status_code == 403
    assert client.get(address("usageimport", "do", done.pk, "undo")).status_code == 403
    assert "Take it in" not in text_of(client.get(address("rejectedrow", "change", rejected.pk)))
    assert client.post(address("rejectedrow", "change", rejected.pk), {"do": "repair"}).status_code == 403


def test_lists_ask_a_constant_number_of_queries(browse, take_in):
    client = browse()
    asked: dict[str, set[int]] = {}
    for number in range(3):
        take_in(focus_csv([*numbered(5, SubAccountId=str(number)), row(BilledCost=f"x{number}")]))
        for model in ("usageimport", "usagerecord", "rejectedrow"):
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address(model, "changelist")).status_code == 200
            asked.setdefault(model, set()).add(len(queries))
    assert all(len(counts) == 1 for counts in asked.values()), asked
