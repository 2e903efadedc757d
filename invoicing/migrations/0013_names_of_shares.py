"""Shares are called as the navigation calls them. It stands after 0014, which was there first."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0014_collection_holds")]

    operations = [
        migrations.AlterModelOptions(
            name="invoicelineshare",
            options={
                "ordering": ["-id"],
                "verbose_name": "department's share",
                "verbose_name_plural": "departments' shares",
            },
        ),
    ]
