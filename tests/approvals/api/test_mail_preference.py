"""How the caller is told, a vote taken back, and another place, by the API."""

from tests.approvals.api.conftest import APPROVALS, BASE, SignIn
from tests.approvals.builders import House, people, waiting_on

PREFERENCE = f"{BASE}/approval-mail-preference"


def test_one_chooses_how_one_is_told(home: House, sign_in: SignIn) -> None:
    client = sign_in(home.anna)
    assert client.get(PREFERENCE).json() == {"delivery": "immediate", "mute_reminders": False}
    changed = client.patch(PREFERENCE, {"delivery": "digest"})
    assert (changed.status_code, changed.json()) == (200, {"delivery": "digest", "mute_reminders": False})
    assert client.patch(PREFERENCE, {"delivery": "pigeon"}).status_code == 400
    assert sign_in(home.ben).get(PREFERENCE).json()["delivery"] == "immediate"


def test_apr_26_and_apr_11_recall_and_another_place(home: House, sign_in: SignIn) -> None:
    home.rule(people(home.anna), people(home.ben))
    budget = home.place.budget("800")
    request = home.approve(home.ask(), home.anna)
    back = sign_in(home.anna).post(f"{APPROVALS}/{request.pk}/action", {"action": "recall"})
    assert (back.status_code, waiting_on(request)) == (200, {home.anna})
    moved = sign_in(home.asker).patch(f"{APPROVALS}/{request.pk}", {"budget_id": budget.pk})
    assert (moved.status_code, moved.json()["budget_id"], moved.json()["round"]) == (200, budget.pk, 2)
