"""Who is told of a dispute, on each side (DSP-10, DSP-18).

Rights are asked for at the moment of telling: who has lost theirs since hears nothing more.
"""

from collections.abc import Iterable

from django.db.models import Q

from core.models import User
from disputes.access import HANDLE, Place, customer_places
from disputes.models import BillingDispute, DisputeComment, DisputeRound, Speaker
from disputes.querysets import INTERNAL
from disputes.selectors.policies import stored_terms
from entities.access import holders_among, holders_of_role, users_holding
from entities.models import Role

RUNG_OWNER, RUNG_LEAD, RUNG_FINANCE = 1, 2, 3
"""The ladder of escalation (DSP-10)."""

_VIEW = "disputes.view_billingdispute"
_OPEN = "disputes.add_billingdispute"


# --- Staff -----------------------------------------------------------------------------------------------


def caretakers(dispute: BillingDispute) -> list[User]:
    """The owner; where there is none who still handles disputes, everybody of the issuer who does."""
    if dispute.owner_id is not None:
        owner = _staff(dispute, [dispute.owner_id], HANDLE)
        if owner:
            return owner
    handlers = users_holding(HANDLE, entity_id=dispute.issuer_id)
    return [user for user in handlers if not user.is_service_account]


def readers_among(dispute: BillingDispute, user_ids: Iterable[int]) -> list[User]:
    """Those of the users who read what is internal about the dispute."""
    return _staff(dispute, user_ids, INTERNAL)


def people_on_rung(dispute: BillingDispute, level: int) -> list[User]:
    """Owner, lead or finance managers; the lead is the one whom the round's policy named when it began (DSP-09)."""
    if level <= RUNG_OWNER:
        return caretakers(dispute)
    if level == RUNG_LEAD:
        current = DisputeRound.objects.get(dispute=dispute, number=dispute.round_number)
        lead_id = stored_terms(current.terms["policy"]).lead_id
        return _staff(dispute, [lead_id], HANDLE) if lead_id is not None else []
    return list(holders_of_role(Role.FINANCE_MANAGER, _issuer(dispute)))


def next_rung(dispute: BillingDispute, level: int) -> int:
    """The rung above, passing over a lead whom there is not, or who is asked already as the owner."""
    if level < RUNG_LEAD:
        lead = people_on_rung(dispute, RUNG_LEAD)
        if lead and lead[0].pk != dispute.owner_id:
            return RUNG_LEAD
    return RUNG_FINANCE


def _staff(dispute: BillingDispute, user_ids: Iterable[int], permission: str) -> list[User]:
    holders = holders_among(user_ids, permission, _issuer(dispute))
    return list(User.objects.filter(pk__in=holders).order_by("pk"))


def _issuer(dispute: BillingDispute) -> Place:
    return Place(dispute.issuer.name, dispute.issuer_id, None)


# --- The customer ----------------------------------------------------------------------------------------


def customers(dispute: BillingDispute) -> list[User]:
    """Who opened it and who wrote on the customer's side, also in what was merged into it; they still see it.

    Where staff opened it for them and they have not written yet: who may open disputes at the payer. Nobody who reads
    what is internal: they are told as staff.
    """
    threads = BillingDispute.objects.filter(Q(pk=dispute.pk) | Q(merged_into_id=dispute.pk))
    comments = DisputeComment.objects.filter(dispute__in=threads, speaker=Speaker.CUSTOMER)
    named = {
        *threads.values_list("opened_by_id", flat=True),
        *comments.values_list("author_id", flat=True),
    }
    found = _customers_among(dispute, named)
    if not found:
        found = _customers_among(
            dispute, {user.pk for user in users_holding(_OPEN, entity_id=dispute.entity_id)}
        )
    return list(User.objects.filter(pk__in=found).order_by("pk"))


def _customers_among(dispute: BillingDispute, user_ids: set[int]) -> set[int]:
    seeing: set[int] = set()
    for place in customer_places(dispute.invoice, dispute.invoice_line):
        seeing |= holders_among(user_ids, _VIEW, place)
    return seeing - holders_among(seeing, INTERNAL, _issuer(dispute))
