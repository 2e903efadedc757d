"""Announcements of prices among the notices; alerts once per deadline (CON-13, CON-14)."""

from django.db import migrations, models

from core.migration_operations import at_once


class Migration(migrations.Migration):
    dependencies = [("contracts", "0003_correction_fees")]

    operations = at_once([
        migrations.RemoveConstraint(model_name="renewalalert", name="contract_alert_once"),
        migrations.AlterField(
            model_name="renewalnotice",
            name="deadline",
            field=models.DateField(
                help_text="The last day on which it is on time for the term it works for."
            ),
        ),
        migrations.AlterField(
            model_name="renewalnotice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("end", "Ends the contract"),
                    ("renew", "Exercises the option to renew"),
                    ("price", "Announces new prices"),
                ],
                max_length=5,
            ),
        ),
        migrations.AddConstraint(
            model_name="renewalalert",
            constraint=models.UniqueConstraint(
                fields=("contract", "term_number", "days", "deadline"), name="contract_alert_once"
            ),
        ),
    ])
