"""What invoicing contributes: mapping rules, FOCUS files taken in month by month, and the invoices for them."""

from io import BytesIO

from core.errors import Conflict
from core.history import acting
from core.sample_data.run import SampleRun, Step, person
from entities.models import Entity
from entities.sample_data.allocations import find_department, run_rule
from entities.sample_data.people import ERP_CONNECTOR, FINANCE_MANAGER, FINANCE_STAFF
from invoicing.models import ImportStatus, UsageImport, UsageMappingRule
from invoicing.sample_data.billing_runs import load_prepared_run
from invoicing.sample_data.catalogue import PROVIDERS
from invoicing.sample_data.focus import write
from invoicing.sample_data.invoices import load_invoices
from invoicing.sample_data.mapping import IMPORTED_FOR, RULES, TAG_KEY
from invoicing.sample_data.receivables import load_receivables
from invoicing.sample_data.settlements import load_settlements
from invoicing.services.usage_imports import usage_file_import
from invoicing.services.usage_rules import usage_mapping_rule_create

IMPORTED_BY = {"aws": FINANCE_STAFF, "microsoft": FINANCE_STAFF, "google": ERP_CONNECTOR}

DAMAGED = ("aws", 5)
"""Whose file, of the month of which number, has rows that wait to be repaired."""


def load_mapping_rules(run: SampleRun) -> None:
    """Say where usage goes, before any comes."""
    made = there = 0
    for code, rules in RULES.items():
        entity = Entity.objects.get(code=code)
        for rule in rules:
            if UsageMappingRule.objects.filter(entity=entity, source=rule.source, value=rule.value).exists():
                there += 1
                continue
            usage_mapping_rule_create(
                actor=person(FINANCE_MANAGER),
                entity=entity,
                priority=rule.priority,
                source=rule.source,
                tag_key=TAG_KEY if rule.source == "tag" else "",
                value=rule.value,
                department=find_department(rule.entity, rule.department),
            )
            made += 1
    run.count("mapping rules", made, there=there)


def load_usage(run: SampleRun) -> None:
    """Write the providers' FOCUS files and import them as people would."""
    made = there = 0
    for number, month in enumerate(run.months):
        rows = 0
        for key, provider in PROVIDERS.items():
            entity = Entity.objects.get(code=IMPORTED_FOR[key])
            file_name = f"{key}-focus-{month:%Y-%m}.csv"
            done = UsageImport.objects.filter(entity=entity, file_name=file_name)
            if done.filter(status__in=[ImportStatus.COMPLETED, ImportStatus.UNDONE]).exists():
                there += 1
                continue
            content = write(provider, month, number, damaged=(key, number) == DAMAGED)
            with acting(reason=f"Cost of {month:%B %Y}"):
                taken_in = usage_file_import(
                    actor=person(IMPORTED_BY[key]), entity=entity, file=BytesIO(content), file_name=file_name
                ).usage_import
            if taken_in.status != ImportStatus.COMPLETED:
                raise Conflict(
                    taken_in.error_code or "import_failed", f"{file_name}: {taken_in.error_message}"
                )
            rows += taken_in.rows_imported
            made += 1
        if rows:
            run.say(f"  {month:%B %Y}: {rows:,} charges imported")
    run.count("FOCUS files", made, there=there)


STEPS = [
    Step("Mapping rules", load_mapping_rules),
    Step("Usage of seven months", load_usage),
    Step("Allocation rules", run_rule),
    Step("Invoices", load_invoices),
    Step("Billing runs", load_prepared_run),
    Step("Payments", load_settlements),
    Step("Receivables", load_receivables),
]
