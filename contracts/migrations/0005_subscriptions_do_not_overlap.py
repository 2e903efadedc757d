"""An entity has a product once per contract and day (CON-21)."""

import django.contrib.postgres.constraints
import django.db.models.expressions
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('contracts', '0004_renewal_records'),
        ('entities', '0002_guards'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='subscription',
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(expressions=[(models.Func(models.F('contract_id'), models.F('contract_id'), models.Value('[]', output_field=models.CharField()), function='int8range'), '&&'), (models.Func(models.F('entity_id'), models.F('entity_id'), models.Value('[]', output_field=models.CharField()), function='int8range'), '&&'), (models.Func(django.db.models.expressions.CombinedExpression(models.Func(models.F('product'), models.Value(0), function='hashtextextended', output_field=models.BigIntegerField()), '/', models.Value(2)), django.db.models.expressions.CombinedExpression(models.Func(models.F('product'), models.Value(0), function='hashtextextended', output_field=models.BigIntegerField()), '/', models.Value(2)), models.Value('[]', output_field=models.CharField()), function='int8range'), '&&'), (models.Func(models.F('starts_on'), models.F('ends_on'), function='daterange', output_field=models.DateField()), '&&')], name='subscription_no_overlap'),
        ),
    ]
