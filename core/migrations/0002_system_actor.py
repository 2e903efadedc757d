"""The user in whose name jobs act. It cannot sign in: inactive, with an unusable password."""

from django.apps.registry import Apps
from django.contrib.auth.hashers import make_password
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def create_system_actor(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    user = apps.get_model("core", "User")
    user.objects.using(schema_editor.connection.alias).get_or_create(
        is_system=True,
        defaults={
            "username": "system",
            "first_name": "System",
            "is_active": False,
            "is_service_account": True,
            "password": make_password(None),
        },
    )


class Migration(migrations.Migration):
    dependencies = [("core", "0001_initial")]

    # The row stays on the way back: what it did refers to it, and it goes with its table.
    operations = [migrations.RunPython(create_system_actor, migrations.RunPython.noop)]
