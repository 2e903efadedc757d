"""When incompatible duties are tested, and those that are incompatible everywhere from the start (APR-15)."""

from typing import Any

from django.db import migrations, models

# The roles that come with the system bring both of these rights: they are kept apart on each request.
FROM_THE_START = (
    ("Enter bank details / approve", "approvals.maintain_payee", "approvals.decide_approvalrequest"),
    ("Ask / approve", "approvals.add_approvalrequest", "approvals.decide_approvalrequest"),
)


def add_duties(apps: Any, schema_editor: Any) -> None:
    """Write the matrix's first rows."""
    duties = apps.get_model("approvals", "IncompatibleDuties")
    for name, first, second in FROM_THE_START:
        duties.objects.get_or_create(
            first_permission=first, second_permission=second, defaults={"name": name, "at_grant": False}
        )


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0004_mail"),
    ]

    operations = [
        migrations.AddField(
            model_name=model,
            name=name,
            field=models.BooleanField(label, default=True, help_text=help_text),
        )
        for model in ("incompatibleduties", "historicalincompatibleduties")
        for name, label, help_text in (
            ("at_action", "Tested on each document", "Nobody exercises both on the same document."),
            ("at_grant", "Tested when a role is given", "Nobody gets both rights at one place."),
        )
    ] + [migrations.RunPython(add_duties, migrations.RunPython.noop)]
