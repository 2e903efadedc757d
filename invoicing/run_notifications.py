"""Who has to check a billing run hears of it, and who started it when it is finished: consumers of the outbox."""

from django.urls import reverse

from core.models import OutboxEvent
from core.notifications import notify
from entities.access import users_holding
from invoicing.models import BillingRun

_CHECKERS = "invoicing.check_billingrun"


def tell_of_run(event: OutboxEvent) -> None:
    """Leave a message with those concerned; that a run waits for them is mailed too."""
    run = BillingRun.objects.select_related("scope", "started_by").get(pk=event.payload["billing_run_id"])
    prepared = event.topic == "billing_run.prepared"
    people = {user.pk: user for user in users_holding(_CHECKERS, entity_id=run.scope_id)} if prepared else {}
    people[run.started_by_id] = run.started_by
    counts = event.payload
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    if prepared:
        title = f"Billing run of {run.scope}: to be checked"
        body = (
            f"{counts['prepared']} invoices are prepared, {counts['unusual']} of them unusual{failed}. "
            "Look at them and confirm, then they can be issued."
        )
    else:
        title = f"Billing run of {run.scope}: finished"
        body = f"{counts['issued']} invoices are issued."
    for user in people.values():
        if user.is_service_account or user.is_system:
            continue
        notify(
            user=user,
            kind="billing_run_prepared" if prepared else "billing_run_finished",
            title=title,
            body=f"{run.period_start} until before {run.period_end}. {body}",
            url=reverse("admin:invoicing_billingrun_change", args=[run.pk]),
            email=prepared,
        )
