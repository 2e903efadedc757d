"""The sample group's billing runs: one that issued a month's invoices, one that waits to be checked."""

from datetime import date

from core.clock import month_after
from core.errors import Conflict
from core.history import acting
from core.sample_data.run import SampleRun, person
from entities.models import Entity
from entities.sample_data.organisation import ROOT
from entities.sample_data.people import FINANCE_MANAGER, FINANCE_STAFF
from entities.selectors import issuer_for
from entities.services.entity import root_id_of
from invoicing.models import BillingRun, Invoice
from invoicing.services.billing_runs import run_check, run_create, run_issue, run_work

ISSUED_ON = 6
"""The day of the next month on which the run of the month before the last issues."""


def is_issued_within_group(run: SampleRun, payer: Entity) -> bool:
    """Whether the payer's issuer is of the sample group; another group's default issuer is left alone."""
    try:
        issuer = issuer_for(payer)
    except Conflict:
        issuer = None
    if issuer is not None and root_id_of(issuer.pk) == root_id_of(payer.pk):
        return True
    run.say(f"  {payer} is not invoiced: the default issuer of this database belongs to another group")
    return False


def issue_by_run(run: SampleRun, month: date) -> int | None:
    """Invoice the month by a run, once; None if invoices of it are there already, made one by one."""
    scope = Entity.objects.get(code=ROOT)
    if BillingRun.objects.filter(scope=scope, period_start=month).exists():
        return 0
    if Invoice.objects.filter(
        entity__in=Entity.objects.descendants_of(scope.pk), period_start=month
    ).exists():
        return None
    with acting(reason=f"Invoicing of {month:%B %Y}"):
        billing_run = run_work(run=_start(scope, month))
        run_check(actor=person(FINANCE_MANAGER), run=billing_run)
        run_issue(actor=person(FINANCE_MANAGER), run=billing_run, issue_date=run.day_after(month, ISSUED_ON))
        billing_run = run_work(run=billing_run)
    return billing_run.items.filter(status="issued").count()


def load_prepared_run(run: SampleRun) -> None:
    """Prepare the run of the last month; it waits for a finance manager to check it."""
    scope, month = Entity.objects.get(code=ROOT), run.months[-1]
    if not is_issued_within_group(run, scope):
        return
    there = BillingRun.objects.filter(scope=scope, period_start=month).exists()
    if not there:
        with acting(reason=f"Invoicing of {month:%B %Y}"):
            run_work(run=_start(scope, month))
    run.count("billing runs", 0 if there else 1, there=int(there))


def _start(scope: Entity, month: date) -> BillingRun:
    return run_create(
        actor=person(FINANCE_STAFF), scope=scope, period_start=month, period_end=month_after(month)
    )
