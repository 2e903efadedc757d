"""What a level that asked for changes does with the votes of the level before it (APR-10, APR-17)."""

from approvals.services.escalation import request_escalate
from approvals.services.requests import draft_submit
from approvals.services.votes import request_send_back
from tests.approvals.builders import House, people, trail, waiting_on


def test_apr_10_the_level_that_sent_it_back_is_asked_again_whoever_voted_before(home: House) -> None:
    """Ben's level is escalated to Anna, who approved the level before: her vote there must not pass Ben's level."""
    to_anna = {"escalation_target": "user", "escalation_user": home.anna}
    home.rule(people(home.anna), people(home.ben, **to_anna))
    request = home.approve(home.ask(), home.anna)
    request_escalate(actor=home.ben, request_id=request.pk)
    request_send_back(actor=home.ben, request_id=request.pk, comment="Which model?")
    request = draft_submit(actor=home.asker, request_id=request.pk)
    assert (request.status, request.round) == ("pending", 2)
    assert waiting_on(request) == {home.anna, home.ben}
    assert "carried" not in trail(request)
    assert home.approve(request, home.ben).status == "approved"
