"""The pages of contracts: what each person sees and may do, and that each button works once."""

import re
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pypdf import PdfReader

from contracts.models import (
    AccessAction,
    AmendmentStatus,
    Contract,
    ContractAccess,
    ContractAmendment,
    ContractStatus,
    Plan,
    SlaMeasurement,
    Subscription,
)
from contracts.selectors.contract import status_on, terms_on
from contracts.selectors.summary import summary_html
from contracts.services.amendments import amendment_approved
from contracts.services.contract import contract_approved
from core.access import system_actor
from core.admin.conflicts import LOADED_VERSION
from core.models import User
from entities.models import Role
from tests.contracts.builders import HASH, UPTIME, Place, day
from tests.entities import factories

SITE = "/admin/contracts/"
LIST = f"{SITE}contract/"
TODAY = day("2026-06-15")


def pages(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


@pytest.fixture
def site(here: Place) -> Client:
    return pages(here.finance)


def text_of(response: Any) -> str:
    """The page's words without markup."""
    text = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def do(site: Client, what: Any, name: str, **data: Any) -> Any:
    """Confirm an action; it redirects when it was done."""
    kind = type(what)._meta.model_name
    return site.post(f"{SITE}{kind}/{what.pk}/do/{name}/", data)


def state(contract: Contract) -> str:
    return status_on(Contract.objects.get(pk=contract.pk), TODAY)


class TestList:
    def test_states_of_today_totals_and_what_is_due(self, site: Client, here: Place) -> None:
        option = {"renewal_type": "option", "renewal_term_months": 12}
        here.active(title="Near", end_date=day("2026-10-01"), **option)
        here.active(title="Far", **option)
        here.draft(title="Written")
        here.amend(Contract.objects.get(title="Far"), "2026-03-01", fields={"value": "15000.00"})
        text = text_of(site.get(LIST))
        assert "Value as signed 36,000.00" in text
        assert "15,000.00" in text  # today's
        assert "2026-07-31 46 days" in text  # sixty days and a weekend before 1 October
        assert "2026-10-30 137 days" in text
        due = text_of(site.get(f"{LIST}?standing=renewal"))
        assert "Near" in due
        assert "CTR" in due
        assert "24,000.00" not in due
        assert "Written" in text_of(site.get(f"{LIST}?standing=draft"))
        assert "Far" not in text_of(site.get(f"{LIST}?standing=draft"))
        assert site.get(f"{LIST}export.csv").status_code == 200

    def test_another_row_costs_no_query(self, site: Client, here: Place) -> None:
        here.active()
        site.get(LIST)
        with CaptureQueriesContext(
            connection,
        ) as one:
            site.get(LIST)
        here.active(title="Second", renewal_type="option", renewal_term_months=12)
        with CaptureQueriesContext(connection) as two:
            site.get(LIST)
        assert len(two) == len(one)

    def test_out_of_scope_is_not_there(self, here: Place) -> None:
        contract = here.active()
        outside = pages(here.outsider)
        assert contract.title not in text_of(outside.get(LIST))
        for path in ("change/", "edit/", "summary.pdf", "confidential/", "do/terminate/"):
            assert outside.get(f"{LIST}{contract.pk}/{path}").status_code in {302, 403, 404}, path
        assert outside.post(f"{LIST}{contract.pk}/confidential/").status_code in {403, 404}
        assert not ContractAccess.objects.exists()


class TestContract:
    def test_every_list_and_form_opens(self, site: Client, here: Place) -> None:
        for name in (
            "contract", "contractamendment", "subscription", "plan", "billablefee", "slameasurement",
            "servicecredit", "contractdocument", "priceindexvalue", "requiredsignatory",
        ):  # fmt: skip
            assert site.get(f"{SITE}{name}/").status_code == 200, name
        for name in ("contract", "contractamendment", "subscription", "plan", "priceindexvalue"):
            assert site.get(f"{SITE}{name}/add/").status_code == 200, name
        assert "Renewals due" in text_of(site.get("/admin/"))

    def test_from_draft_to_active_by_the_buttons(self, here: Place) -> None:
        finance, staff = pages(here.finance), pages(here.staff)
        contract = here.draft()
        page = text_of(staff.get(f"{LIST}{contract.pk}/change/"))
        assert "Before it can be activated" in page
        assert do(finance, contract, "activate").status_code == 409
        assert do(staff, contract, "submit").status_code == 302
        assert do(staff, contract, "submit").status_code == 409
        contract_approved(actor=system_actor(), contract_id=contract.pk)
        for signatory in contract.signatories.all():
            assert do(staff, signatory, "sign", document_sha256=HASH, method="electronic").status_code == 302
            assert do(staff, signatory, "sign", document_sha256=HASH, method="electronic").status_code == 409
        assert do(staff, contract, "activate").status_code == 403
        assert do(finance, contract, "activate").status_code == 302
        assert state(contract) == ContractStatus.ACTIVE
        assert do(finance, contract, "activate").status_code == 409

    def test_suspended_resumed_terminated(self, site: Client, here: Place) -> None:
        contract = here.active(convenience_allowed=True, convenience_notice_days=30)
        assert do(site, contract, "suspend", reason="Unpaid", billing_continues="on").status_code == 302
        assert state(contract) == ContractStatus.SUSPENDED
        assert do(site, contract, "suspend", reason="Again").status_code == 409
        assert do(site, contract, "resume", reason="Paid").status_code == 302
        assert state(contract) == ContractStatus.ACTIVE
        assert do(site, contract, "resume", reason="Paid").status_code == 409
        preview = text_of(site.get(f"{LIST}{contract.pk}/do/terminate/"))
        assert "2026-07-15 is the first day without the contract" in preview
        # Another day of receipt has another outcome: it is shown before it is recorded.
        asked = do(site, contract, "terminate", reason="Moved away", received_on="2026-06-10")
        assert "give 2026-07-10 as the day" in text_of(asked)
        assert not contract.events.filter(kind="terminated").exists()
        confirmed = {"received_on": "2026-06-10", "effective_on": "2026-07-10"}
        assert do(site, contract, "terminate", reason="Moved away", **confirmed).status_code == 302
        assert contract.events.get(kind="terminated").effective_on == day("2026-07-10")
        assert do(site, contract, "terminate", reason="Again").status_code == 409

    def test_the_option_and_many_at_once(self, site: Client, here: Place) -> None:
        option = {"renewal_type": "option", "renewal_term_months": 12}
        first, second, none = here.active(**option), here.active(**option), here.active()
        data = {"side": "customer", "method": "email", "reason": "In use"}
        assert do(site, first, "renew", **data).status_code == 302
        assert first.renewal_notices.get().note == "In use"
        keys = [str(each.pk) for each in (first, second, none)]
        done = site.post(f"{LIST}do-all/renew/", {**data, "keys": keys}, follow=True)
        assert "done for 1 of 3" in text_of(done)
        assert [each.renewal_notices.count() for each in (first, second, none)] == [1, 1, 0]

    def test_con_13_the_pipeline_and_the_decisions_in_it(self, site: Client, here: Place) -> None:
        auto = here.active(title="Hosting", renewal_type="auto", renewal_term_months=12)
        here.active(
            title="Workplace", renewal_type="option", renewal_term_months=12, end_date=day("2026-10-01")
        )
        page = f"{LIST}renewals/"
        found = text_of(site.get(page))
        assert (
            found.index("Decide in July 2026")
            < found.index("Workplace")
            < found.index("Decide in October 2026")
        )
        assert "Ends unless exercised" in found and "46 days left" in found
        by_end = text_of(site.get(f"{page}?order=end&months=6"))
        assert "Term ends in October 2026" in by_end and "Hosting" not in by_end
        decline = f"{LIST}{auto.pk}/do/decline/"
        assert decline in site.get(page).content.decode()
        assert "2027-01-01 is the first day without" in text_of(site.get(decline))
        data = {"side": "customer", "method": "email"}
        assert do(site, auto, "decline", **data).status_code == 200  # it asks for the reason
        assert do(site, auto, "decline", **data, reason="Too dear").status_code == 302
        assert auto.renewal_notices.get().note == "Too dear"
        assert do(site, auto, "decline", **data, reason="Again").status_code == 409
        assert "Nothing to decide" in text_of(site.get(page))
        reader = pages(factories.member(here.root, Role.AUDITOR))
        assert "Exercise the option" not in text_of(reader.get(page))

    def test_a_contract_is_added_with_its_lines(self, here: Place) -> None:
        site = pages(here.staff)
        path = f"{LIST}add/"
        data = posted_page(site.get(path)) | {
            "title": "New", "entity": here.entity.pk, "value": "600", "start_date": "2026-07-01",
            "price_terms-TOTAL_FORMS": "1", "price_terms-0-code": "seats", "price_terms-0-name": "Seats",
            "price_terms-0-pricing": "graduated", "price_terms-0-price": "0", "price_terms-0-interval_months": "1",
            "price_terms-0-timing": "arrears", "price_terms-0-quantity_source": "fixed",
            "price_terms-0-quantity": "7", "price_terms-0-free_units": "0", "price_terms-0-is_prorated": "on",
            "price_terms-0-discount_percent": "0", "price_terms-0-discount_amount": "0",
            "price_terms-0-tiers-0-up_to": "5", "price_terms-0-tiers-0-unit_price": "2.50",
            "price_terms-0-tiers-1-up_to": "", "price_terms-0-tiers-1-unit_price": "2",
            "signatories-TOTAL_FORMS": "1", "signatories-0-side": "customer", "signatories-0-name": "Carl",
        }  # fmt: skip
        saved = site.post(path, data)
        assert saved.status_code == 302, problems(saved)
        contract = Contract.objects.get()
        assert (contract.issuer, contract.currency, contract.billing_anchor) == (
            here.issuer, "USD", day("2026-07-01"),
        )  # fmt: skip
        (price,) = contract.price_terms.all()
        assert [(tier.up_to, tier.unit_price) for tier in price.tiers.all()] == [
            (Decimal(5), Decimal("2.5")), (None, Decimal(2)),
        ]  # fmt: skip
        assert contract.signatories.get().name == "Carl"

    def test_the_form_writes_through_the_service(self, here: Place) -> None:
        site = pages(here.staff)
        contract = here.draft()
        path = f"{LIST}{contract.pk}/edit/"
        form = site.get(path)
        assert form.status_code == 200
        data = posted_page(form) | {
            "title": "Renamed", "price_terms-0-price": "1100",
            "feature_limits-0-feature": "api", "feature_limits-0-limit": "yes",
            "feature_limits-1-feature": "seats", "feature_limits-1-limit": "40",
            "termination_fees-0-from_month": "6", "termination_fees-0-percent": "25",
        }  # fmt: skip
        saved = site.post(path, data)
        assert saved.status_code == 302, problems(saved)
        contract.refresh_from_db(fields=["title", "feature_limits", "termination_fees"])
        assert contract.title == "Renamed"
        assert contract.feature_limits == {"api": True, "seats": 40}
        assert contract.termination_fees == [{"from_month": 6, "percent": "25"}]
        assert [(term.code, term.price) for term in contract.price_terms.all()] == [
            ("platform", Decimal(1100))
        ]
        refused = site.post(path, posted_page(site.get(path)) | {"end_date": "2025-01-01"})
        assert "later than start_date" in text_of(refused)

    def test_con_05_signed_terms_are_not_in_the_form(self, site: Client, here: Place) -> None:
        contract = here.active()
        form = site.get(f"{LIST}{contract.pk}/edit/")
        assert set(form.context["adminform"].form.fields) <= {
            "title", "reference", "owner", "department", "gl_code", "budget", "change_reason", "version",
        }  # fmt: skip

    def test_documents_and_confidential_terms_leave_a_trace(self, site: Client, here: Place) -> None:
        contract = here.draft()
        assert do(site, contract, "confidential-terms", text="Nobody pays less.").status_code == 302
        assert ContractAccess.objects.get().action == AccessAction.CHANGED
        file = SimpleUploadedFile("agreement.txt", b"Signed.", content_type="text/plain")
        assert do(site, contract, "add-document", file=file, kind="agreement").status_code == 302
        document = contract.documents.get()
        page = f"{LIST}{contract.pk}/confidential/"
        assert "Nobody pays less" not in site.get(page).content.decode()
        assert not ContractAccess.objects.filter(action=AccessAction.OPENED).exists()
        assert "Nobody pays less" in site.post(page).content.decode()
        response = site.get(f"{SITE}contractdocument/{document.pk}/download/")
        assert response.content == b"Signed."
        opened = ContractAccess.objects.filter(action=AccessAction.OPENED)
        assert {(each.part, each.actor_id) for each in opened} == {
            ("confidential_terms", here.finance.pk),
            ("document", here.finance.pk),
        }

    def test_the_summary_says_what_holds_today(self, site: Client, here: Place) -> None:
        contract = here.active(sla_terms=[UPTIME])
        here.amend(contract, "2026-03-01", fields={"value": "15000.00"})
        html = re.sub(r"\s+", " ", summary_html(Contract.objects.get(pk=contract.pk)))
        for words in (
            "Platform agreement", "Contoso Retail", "15,000.00", "with amendment 1", "at least 99.9 %",
            "Ida Issuer", "1,000 USD", "per month, in advance",
        ):  # fmt: skip
            assert words in html, words
        response = site.get(f"{LIST}{contract.pk}/summary.pdf")
        if response.status_code == 200:  # a machine without pango says what to install instead
            text = " ".join(page.extract_text() for page in PdfReader(BytesIO(response.content)).pages)
            assert "15,000.00" in text
            assert "Ida Issuer" in text
            assert f"CTR-{contract.pk:06d}.pdf" in response.headers["Content-Disposition"]


def posted(form: Any, *formsets: Any) -> dict[str, Any]:
    """What a browser sends of a form as it stands."""
    data: dict[str, Any] = {}
    for each in [form, *(one for inline in formsets for one in inline.formset.forms)]:
        for bound in each:
            value = bound.value()
            if value is not None and value is not False:
                data[bound.html_name] = value if value is not True else "on"
    for inline in formsets:
        for bound in inline.formset.management_form:
            data[bound.html_name] = bound.value()
    return data


def posted_page(response: Any) -> dict[str, Any]:
    """The same of a page with its inlines."""
    data = posted(response.context["adminform"].form, *response.context["inline_admin_formsets"])
    return data | {LOADED_VERSION: response.context.get(LOADED_VERSION, "")}


def problems(response: Any) -> Any:
    """What the page says is wrong."""
    inlines = response.context["inline_admin_formsets"]
    return response.context["adminform"].form.errors, [inline.formset.errors for inline in inlines]


class TestAmendment:
    def test_con_04_written_with_usual_fields_and_brought_into_force(self, here: Place) -> None:
        finance, staff = pages(here.finance), pages(here.staff)
        contract = here.active()
        data = {
            "contract": contract.pk, "title": "More", "effective_from": "2026-06-01", "is_retroactive": "on",
            "value": "14000", "price_1_code": "platform", "price_1_price": "1200", "other": "null",
        }  # fmt: skip
        made = staff.post(f"{SITE}contractamendment/add/", data)
        amendment = ContractAmendment.objects.get()
        assert made.headers["Location"] == f"{SITE}contractamendment/{amendment.pk}/change/"
        page = text_of(staff.get(made.headers["Location"]))
        assert "12,000.00" in page
        assert "14,000.00" in page
        assert do(staff, amendment, "submit").status_code == 302
        assert do(finance, amendment, "bring-into-force").status_code == 409
        amendment_approved(actor=system_actor(), amendment_id=amendment.pk)
        here.sign(contract, amendment)
        assert do(staff, amendment, "bring-into-force").status_code == 403
        assert do(finance, amendment, "bring-into-force").status_code == 302
        terms = terms_on(Contract.objects.get(pk=contract.pk), TODAY)
        assert (terms.conditions.value, terms.prices["platform"].price) == (Decimal(14000), Decimal(1200))
        assert "1000" in text_of(staff.get(f"{LIST}{contract.pk}/change/")).replace(",", "")
        assert staff.get(f"{SITE}contractamendment/{amendment.pk}/edit/").status_code == 403

    def test_con_04_tiers_later_prices_and_levels_are_typed_into_rows(self, here: Place) -> None:
        staff = pages(here.staff)
        contract = here.active(sla_terms=[UPTIME])
        data = {
            "contract": contract.pk, "title": "Calls", "effective_from": "2026-07-01", "other": "null",
            "price_1_code": "calls", "price_1_name": "Calls", "price_1_pricing": "volume",
            "price_1_quantity_source": "fixed", "price_1_quantity": "40",
            "price_1_tiers-0-up_to": "10", "price_1_tiers-0-unit_price": "3",
            "price_1_tiers-1-unit_price": "2.5", "price_1_tiers-1-flat_fee": "7",
            "price_2_code": "platform", "price_2_ramp-0-from": "2026-10-01", "price_2_ramp-0-price": "1100",
            "level_1_code": "uptime", "level_1_tiers-0-threshold": "99", "level_1_tiers-0-credit_percent": "10",
        }  # fmt: skip
        unknown = staff.post(f"{SITE}contractamendment/add/", data | {"price_2_code": "plat"})
        assert "there are: platform" in text_of(unknown)
        made = staff.post(f"{SITE}contractamendment/add/", data)
        assert made.status_code == 302, problems(made)
        amendment = ContractAmendment.objects.get()
        calls, platform = amendment.changes["prices"]["set"]
        assert calls["tiers"] == [
            {"up_to": "10", "unit_price": "3", "flat_fee": "0"},
            {"up_to": None, "unit_price": "2.5", "flat_fee": "7"},
        ]
        assert (platform["price"], platform["ramp"]) == ("1000", [{"from": "2026-10-01", "price": "1100"}])
        (level,) = amendment.changes["sla"]["set"]
        assert (level["target"], level["tiers"]) == ("99.9", [{"threshold": "99", "credit_percent": "10"}])
        # The form of the draft has the rows again; saved as they are they change nothing.
        path = f"{SITE}contractamendment/{amendment.pk}/edit/"
        page = staff.get(path)
        assert 'name="price_1_tiers-1-unit_price" value="2.5"' in page.content.decode()
        again = posted(page.context["adminform"].form) | data | {LOADED_VERSION: page.context[LOADED_VERSION]}
        again |= {"price_2_ramp-0-price": "1150", "removed_prices": ""}
        assert staff.post(path, again).status_code == 302
        now = ContractAmendment.objects.get().changes
        assert now["prices"]["set"][1]["ramp"] == [{"from": "2026-10-01", "price": "1150"}]
        assert now["prices"]["set"][0] == calls

    def test_given_up(self, here: Place) -> None:
        staff = pages(here.staff)
        amendment = here.amendment(here.active(), "2026-07-01", fields={"value": "1.00"})
        assert do(staff, amendment, "void").status_code == 200  # it asks why
        gone = do(staff, amendment, "void", reason="Not agreed")
        assert gone.status_code == 302, gone.context["form"].errors
        assert ContractAmendment.objects.get().status == AmendmentStatus.VOID
        assert do(staff, amendment, "void", reason="Again").status_code == 409


class TestSupply:
    def test_a_plan_a_subscription_its_licences_and_its_end(self, site: Client, here: Place) -> None:
        contract = here.active()
        plan = {
            "name": "Team", "code": "team", "product": "Suite", "rank": "1", "issuer": here.issuer.pk,
            "currency": "USD", "price": "10", "interval_months": "1", "is_active": "on",
            "features-TOTAL_FORMS": "1", "features-INITIAL_FORMS": "0", "features-0-feature": "seats",
            "features-0-is_included": "on", "features-0-limit": "5",
        }  # fmt: skip
        saved = site.post(f"{SITE}plan/add/", plan)
        assert saved.status_code == 302, text_of(saved)
        team = Plan.objects.get()
        assert [(each.feature, each.limit) for each in team.features.all()] == [("seats", 5)]
        data = {"contract": contract.pk, "plan": team.pk, "quantity": "3", "starts_on": "2026-06-15"}
        saved = site.post(f"{SITE}subscription/add/", data)
        assert saved.status_code == 302, text_of(saved)
        found = Subscription.objects.get()
        assert do(site, found, "licences", reason="Grown", quantity="5").status_code == 302
        assert [each.quantity for each in found.changes.all()] == [3, 5]
        assert "Suite" in text_of(site.get(f"{SITE}subscription/{found.pk}/change/"))
        assert do(site, found, "end", reason="Done", ends_on="2026-07-01").status_code == 302
        found.refresh_from_db()
        assert found.ends_on == day("2026-07-01")

    def test_con_20_measurements_by_file_name_what_is_wrong(self, site: Client, here: Place) -> None:
        contract = here.active(sla_terms=[UPTIME])
        lines = (
            "contract,sla_code,measured_from,measured_to,value,external_id\n"
            f"{contract.number},uptime,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,99.5,m-1\n"
            f"{contract.number},nothing,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,99.5,m-2\n"
        )
        file = SimpleUploadedFile("m.csv", lines.encode())
        done = site.post(f"{SITE}slameasurement/upload/", {"file": file}, follow=True)
        assert "1 added, 0 were there already, 1 left out" in text_of(done)
        assert SlaMeasurement.objects.get().external_id == "m-1"
        page = text_of(site.get(f"{LIST}{contract.pk}/change/"))
        assert "99.5 %" in page
        assert pages(here.outsider).get(f"{SITE}slameasurement/").status_code == 200
        wrong = site.post(f"{SITE}slameasurement/upload/", {"file": SimpleUploadedFile("m.csv", b"\xff\xfe")})
        assert wrong.status_code == 400
