"""The pages of budgets: what each person sees and may do, effects shown before they happen, figures never editable."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from budgets.models import Budget, BudgetOverride, BudgetRevision, BudgetTransfer, Commitment
from core.models import User
from entities.models import Role
from tests.budgets.builders import Place, figures, money
from tests.entities import factories

LIST = "/admin/budgets/budget/"


def pages(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="entities.access.PasswordBackend")
    return client


@pytest.fixture
def site(here: Place) -> Client:
    return pages(here.finance)


def page(budget: Budget, do: str = "change") -> str:
    return f"{LIST}{budget.pk}/change/" if do == "change" else f"{LIST}{budget.pk}/do/{do}/"


def text_of(response: Any) -> str:
    """The page's words without markup."""
    text = re.sub(r"<(script|style).*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def confirm(site: Client, path: str, data: dict[str, Any]) -> Any:
    """Fill in, look at the effect, confirm what was shown."""
    shown = site.post(path, data)
    assert shown.status_code == 200, shown
    found = re.search(r'name="shown" value="(\w+)"', shown.content.decode())
    assert found, text_of(shown)
    return site.post(path, {**data, "shown": found[1], "confirm": "1"})


class TestList:
    def test_totals_and_use_and_filters(self, site: Client, here: Place) -> None:
        nearly, over = here.budget("100", name="Nearly"), here.budget("100", name="Over", control="advisory")
        here.budget("50", name="Fresh")
        here.budget("70", name="Later", draft=True)
        here.charge(nearly, "85")
        here.charge(over, "130")
        text = text_of(site.get(LIST))
        assert "320.00" in text  # allocated, the draft with its plan
        assert "105.00" in text  # available
        over_page = text_of(site.get(f"{LIST}?use=overspent"))
        assert "Over" in over_page
        assert "Nearly" not in over_page
        assert "130 %" in over_page
        both = text_of(site.get(f"{LIST}?use=over80"))
        assert "Nearly" in both
        assert "Fresh" not in both
        assert "Later" in text_of(site.get(f"{LIST}?status__exact=draft"))
        assert site.get(f"{LIST}?period=now&use=unused").status_code == 200
        assert site.get(f"{LIST}export.xlsx?use=overspent").status_code == 200

    def test_bud26_a_control_point_and_what_it_counts_are_summed_once(
        self, site: Client, here: Place
    ) -> None:
        parent = here.budget("500", department=None, is_control_point=True)
        here.charge(here.budget("100", parent=parent), "60")
        here.budget("40")
        text = text_of(site.get(LIST))
        assert (
            "USD 3 rows Allocated 540.00 USD Committed 0.00 USD Spent 60.00 USD Available 480.00 USD" in text
        )

    def test_the_queries_are_the_same_for_5_and_50(self, site: Client, here: Place) -> None:
        def queries(number: int) -> int:
            while Budget.objects.count() < number:
                here.commit(here.budget("100"), "5")
            with CaptureQueriesContext(connection) as captured:
                assert site.get(f"{LIST}?_per_page=100").status_code in {200, 302}
                assert site.get(LIST).status_code == 200
            return len(captured)

        queries(1)
        assert queries(5) == queries(50)

    def test_bulk_open_and_close(self, site: Client, here: Place) -> None:
        drafts = [here.budget("10", draft=True) for _ in range(3)]
        keys = [each.pk for each in drafts]
        preview = site.post(LIST, {"action": "do_open", "_selected_action": keys})
        assert "30.00" in text_of(preview)
        site.post(f"{LIST}do-all/open/", {"keys": keys})
        assert set(Budget.objects.values_list("status", flat=True)) == {"open"}
        site.post(f"{LIST}do-all/soft-close/", {"keys": keys, "reason": "Year end"})
        site.post(f"{LIST}do-all/close/", {"keys": keys, "reason": "Year end"})
        assert set(Budget.objects.values_list("status", flat=True)) == {"closed"}


class TestPage:
    def test_it_explains_itself(self, site: Client, here: Place) -> None:
        parent = here.budget("500", department=None, name="Whole", is_control_point=True)
        budget = here.budget("100", parent=parent, name="Cloud")
        here.charge(budget, "60")
        here.commit(budget, "25", reference="PO-1")
        text = text_of(site.get(page(budget)))
        for said in ("Of 100.00 USD: spent 60 %, committed 25 %, available 15 %.", "PO-1", "Laptops", "Alert",
                     "15.00", "85.0 %", "Jun 2026", "Absolute: never overspent", "Opened"):  # fmt: skip
            assert said in text, said
        above = text_of(site.get(page(parent)))
        for said in ("Below it", "Cloud", "85 %", "415.00"):
            assert said in above, said

    def test_overspent_is_said_in_words(self, site: Client, here: Place) -> None:
        budget = here.budget("100", control="advisory")
        here.charge(budget, "130")
        text = text_of(site.get(page(budget)))
        assert "Overspent" in text
        assert "over 30 %" in text

    def test_its_queries_do_not_grow_with_what_it_holds(self, site: Client, here: Place) -> None:
        parent = here.budget("100000", department=None, is_control_point=True)

        def queries(number: int) -> int:
            while Budget.objects.count() <= number:
                child = here.budget("100", parent=parent)
                here.charge(child, "1")
                here.commit(child, "1")
            with CaptureQueriesContext(connection) as captured:
                assert site.get(page(parent)).status_code == 200
            return len(captured)

        queries(2)
        assert queries(5) == queries(20)

    @pytest.mark.parametrize(
        "path", ["change/", "settings/", "history/", "do/transfer/", "do/close/", "do/nothing/"]
    )
    def test_hidden_is_404(self, here: Place, path: str) -> None:
        budget = here.budget("100")
        client = pages(here.outsider)
        assert client.get(f"{LIST}{budget.pk}/{path}").status_code in {404, 302}

    def test_an_auditor_reads_only(self, here: Place) -> None:
        budget = here.budget("100")
        client = pages(factories.member(here.entity, Role.AUDITOR))
        shown = client.get(page(budget))
        assert shown.status_code == 200
        assert "/do/" not in shown.content.decode()
        for do in ("transfer", "revise", "override", "soft-close", "close", "roll-over", "reopen"):
            assert client.get(page(budget, do)).status_code == 403, do
        assert client.get(f"{LIST}add/").status_code == 403
        assert client.get(f"{LIST}import/").status_code == 403
        assert client.post(f"{LIST}{budget.pk}/settings/", {"name": "x"}).status_code == 403

    def test_figures_are_never_fields(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        form = site.get(f"{LIST}{budget.pk}/settings/").content.decode()
        for name in ("allocated_amount", "spent_amount", "committed_amount", "planned_amount", "status"):
            assert f'name="{name}"' not in form


class TestSettings:
    def fields(self, here: Place, **changes: Any) -> dict[str, Any]:
        return {
            "name": "Travel",
            "category": "travel",
            "department": here.department.pk,
            "planned_amount": "250.50",
            "period_start": "2026-01-01",
            "period_end": "2027-01-01",
            "period_type": "annual",
            "control": "absolute",
            "check_scope": "period",
            "alert_threshold_percent": "80",
            "warning_threshold_percent": "90",
            "critical_threshold_percent": "100",
            "rollover_policy": "commitments",
            "rollover_percent": "100",
            **changes,
        }

    def test_a_new_one_is_a_draft_and_opens_by_its_action(self, site: Client, here: Place) -> None:
        made = site.post(f"{LIST}add/", self.fields(here))
        assert made.status_code == 302, text_of(made)
        budget = Budget.objects.get()
        assert (budget.status, budget.currency, str(budget.planned_amount)) == ("draft", "USD", "250.5000")
        assert made["Location"] == page(budget)
        assert "250.50" in text_of(site.get(page(budget, "open")))
        found = re.search(r'name="shown" value="(\w+)"', site.get(page(budget, "open")).content.decode())
        assert found
        site.post(page(budget, "open"), {"confirm": "1", "shown": found[1]})
        assert figures(budget) == money("250.50", "0", "0", "250.50")

    def test_a_refusal_stands_in_the_form(self, site: Client, here: Place) -> None:
        refused = site.post(f"{LIST}add/", self.fields(here, period_end="2026-01-01"))
        assert "Must be after period_start." in text_of(refused)
        assert not Budget.objects.exists()

    def test_somebody_else_saved_meanwhile(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        data = self.fields(here, name="Mine", loaded_version=budget.version)
        pages(here.colleague).post(f"{LIST}{budget.pk}/settings/", {**data, "name": "Theirs"})
        conflict = site.post(f"{LIST}{budget.pk}/settings/", data)
        assert "Theirs" in text_of(conflict)
        assert Budget.objects.get().name == "Theirs"


class TestEffects:
    def test_bud24_a_transfer_from_asking_to_moving(self, site: Client, here: Place) -> None:
        giving, taking = here.budget("100", name="Giving"), here.budget("10", name="Taking")
        sent = {"to_budget": taking.pk, "amount": "30", "reason": "Shared licence"}
        effect = text_of(site.post(page(giving, "transfer"), sent))
        assert "Allocated 100.00 USD 70.00 USD −30.00" in effect
        assert "Allocated 10.00 USD 40.00 USD +30.00" in effect
        assert not BudgetTransfer.objects.exists()
        assert confirm(site, page(giving, "transfer"), sent).status_code == 302
        transfer = BudgetTransfer.objects.get()
        assert figures(giving) == money("100", "0", "0", "100")
        approve = reverse("admin:budgets_budgettransfer_do", args=[transfer.pk, "approve"])
        own = site.get(approve)
        assert own.status_code == 409
        assert "You asked for it yourself" in text_of(own)
        colleague = pages(here.colleague)
        assert "−30.00" in text_of(colleague.get(approve))
        assert confirm(colleague, approve, {"comment": "Fine"}).status_code == 302
        assert figures(giving) == money("70", "0", "0", "70")
        assert figures(taking) == money("40", "0", "0", "40")
        assert pages(here.outsider).get(approve).status_code == 404

    def test_what_changed_meanwhile_is_shown_again(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        sent = {"allocation": "120", "reason": "More"}
        shown = re.search(
            r'name="shown" value="(\w+)"', site.post(page(budget, "revise"), sent).content.decode()
        )
        assert shown
        here.charge(budget, "10")
        again = site.post(page(budget, "revise"), {**sent, "shown": shown[1], "confirm": "1"})
        assert again.status_code == 200
        assert "The figures have changed" in text_of(again)
        assert not BudgetRevision.objects.exists()

    def test_bud25_a_revision_is_rejected_with_a_reason(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        confirm(site, page(budget, "revise"), {"allocation": "80", "reason": "Less"})
        revision = BudgetRevision.objects.get()
        assert str(revision.delta) == "-20.0000"
        assert "waits for a second person" in text_of(site.get(page(budget)))
        reject = reverse("admin:budgets_budgetrevision_do", args=[revision.pk, "reject"])
        colleague = pages(here.colleague)
        colleague.post(reject, {"comment": "", "confirm": "1"})
        assert BudgetRevision.objects.get().status == "proposed"
        confirm(colleague, reject, {"comment": "Not now"})
        assert BudgetRevision.objects.get().status == "rejected"

    def test_bud29_an_override_is_granted(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        confirm(site, page(budget, "override"), {"limit": "15", "reason": "Repair"})
        override = BudgetOverride.objects.get()
        grant = reverse("admin:budgets_budgetoverride_do", args=[override.pk, "approve"])
        assert "+15.00" in text_of(pages(here.colleague).get(grant))
        confirm(pages(here.colleague), grant, {"comment": ""})
        assert BudgetOverride.objects.get().status == "approved"

    def test_bud23_the_rollover_page_shows_what_is_posted(self, site: Client, here: Place) -> None:
        budget = here.budget("100", name="Cloud", rollover_policy="unspent")
        target = here.next_year(budget, "10")
        here.charge(budget, "40")
        here.commit(budget, "20", description="Server")
        assert "Soft-close it first" in text_of(site.get(page(budget, "roll-over")))
        confirm(site, page(budget, "soft-close"), {"reason": "Year end"})
        sent = {"to_budget": target.pk}
        effect = text_of(site.post(page(budget, "roll-over"), sent))
        assert "Commitment: Server" in effect
        assert "Allocated 10.00 USD 70.00 USD +60.00" in effect
        assert confirm(site, page(budget, "roll-over"), sent).status_code == 302
        assert figures(target) == money("70", "20", "0", "50")

    def test_bud22_a_close_says_what_is_missing(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        commitment = here.commit(budget, "20")
        refused = site.get(page(budget, "close"))
        assert refused.status_code == 409
        assert "1 open commitment needs a decision first" in text_of(refused)
        decide = reverse("admin:budgets_commitment_do", args=[commitment.pk, "decide"])
        site.post(decide, {"decision": "lapse"})
        assert "−20.00" in text_of(site.get(page(budget, "close")))
        confirm(site, page(budget, "close"), {"reason": "Year end"})
        assert Budget.objects.get().status == "closed"
        assert "It is closed" in text_of(site.get(page(budget)))
        confirm(site, page(budget, "reopen"), {"reason": "Late invoice"})
        assert site.get(page(budget, "approve-reopening")).status_code == 409
        confirm(pages(here.colleague), page(budget, "approve-reopening"), {})
        assert Budget.objects.get().status == "open"

    def test_a_release_and_a_correction(self, site: Client, here: Place) -> None:
        budget = here.budget("100")
        commitment = here.commit(budget, "20")
        entry = here.charge(budget, "30").entries[0]
        release = reverse("admin:budgets_commitment_do", args=[commitment.pk, "release"])
        confirm(site, release, {"amount": "5", "reason": "Fewer"})
        assert str(Commitment.objects.get().released_amount) == "5.0000"
        back = reverse("admin:budgets_budgetentry_do", args=[entry.pk, "take-back"])
        assert "−30.00" in text_of(site.get(back))
        confirm(site, back, {"reason": "Wrong department"})
        assert figures(budget) == money("100", "15", "0", "85")


@pytest.mark.parametrize(
    "name",
    ["budget", "commitment", "budgettransfer", "budgetrevision", "budgetoverride", "budgetrollover", "budgetentry",
     "budgetalert"],
)  # fmt: skip
def test_every_list_opens_empty_and_full(site: Client, here: Place, name: str) -> None:
    url = reverse(f"admin:budgets_{name}_changelist")
    assert site.get(url).status_code == 200
    budget = here.budget("100")
    here.charge(budget, "95")
    here.commit(budget, "2")
    confirm(site, page(budget, "revise"), {"allocation": "120", "reason": "More"})
    confirm(site, page(budget, "override"), {"limit": "15", "reason": "Repair"})
    response = site.get(url)
    assert response.status_code == 200
    for found in re.findall(rf"/admin/budgets/{name}/\d+/change/", response.content.decode())[:1]:
        assert site.get(found).status_code == 200
        assert pages(here.outsider).get(found).status_code in {302, 404}
    for path in ("export.csv", "?q=x"):
        assert site.get(f"{url}{path}").status_code == 200


def test_the_first_page_counts_what_its_lists_show(site: Client, here: Place) -> None:
    budget = here.budget("100", control="advisory")
    here.charge(budget, "130")
    confirm(pages(here.colleague), page(budget, "revise"), {"allocation": "150", "reason": "More"})
    text = text_of(site.get("/admin/"))
    assert "Budgets over 80 % 1" in text
    assert "Overspent budgets 1" in text
    assert "1 budget revision waiting for a second person" in text
