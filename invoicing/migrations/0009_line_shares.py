"""What departments bear of invoice lines (ALC-01 to ALC-08), and the guard that they never bear more than the line."""

import core.clock
import core.money
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

GUARD = """
CREATE FUNCTION guard_line_shares() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One writer of a line's shares at a time, so that each sees the sum of those before.
    PERFORM 1 FROM invoice_lines WHERE id IN (SELECT invoice_line_id FROM changed) ORDER BY id FOR NO KEY UPDATE;
    IF EXISTS (
        SELECT 1 FROM invoice_line_shares share JOIN invoice_lines line ON line.id = share.invoice_line_id
        WHERE share.invoice_line_id IN (SELECT invoice_line_id FROM changed)
          AND share.status IN ('charged', 'refused', 'not_booked')
        GROUP BY line.id, line.amount
        HAVING abs(sum(share.amount - share.credited_amount)) > abs(line.amount)
            OR bool_or(share.amount * line.amount < 0)
    ) THEN
        RAISE EXCEPTION 'the shares of an invoice line exceed it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'invoice_line_shares_within_line';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER invoice_line_share_insert AFTER INSERT ON invoice_line_shares
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_line_shares();
CREATE TRIGGER invoice_line_share_update AFTER UPDATE ON invoice_line_shares
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_line_shares();

CREATE FUNCTION guard_line_share_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'the share % of an invoice line is never deleted: take it back', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_line_share_is_kept';
    END IF;
    IF (NEW.invoice_line_id, NEW.department_id, NEW.amount, NEW.credits_id, NEW.commitment_id)
       IS DISTINCT FROM (OLD.invoice_line_id, OLD.department_id, OLD.amount, OLD.credits_id, OLD.commitment_id) THEN
        RAISE EXCEPTION 'who bears how much of an invoice line is never changed: take the share % back', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_line_share_is_immutable';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_line_share_kept BEFORE UPDATE OR DELETE ON invoice_line_shares
    FOR EACH ROW EXECUTE FUNCTION guard_line_share_kept();
"""

DROP_GUARD = """
DROP TRIGGER invoice_line_share_kept ON invoice_line_shares;
DROP TRIGGER invoice_line_share_insert ON invoice_line_shares;
DROP TRIGGER invoice_line_share_update ON invoice_line_shares;
DROP FUNCTION guard_line_share_kept();
DROP FUNCTION guard_line_shares();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('budgets', '0002_guards'),
        ('entities', '0002_guards'),
        ('invoicing', '0008_release_of_credited_items'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='InvoiceLineShare',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(default=core.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('amount', core.money.MoneyField(decimal_places=4, max_digits=20)),
                ('credited_amount', core.money.MoneyField(decimal_places=4, default=0, help_text='Given back by credit notes.', max_digits=20)),
                ('weight', models.DecimalField(blank=True, decimal_places=4, help_text='The percent, amount or ratio that was given for it.', max_digits=20, null=True)),
                ('posting_date', models.DateField(help_text='The day whose budget bears it.')),
                ('is_final', models.BooleanField(default=False, help_text='Frees what the commitment has left after it.')),
                ('status', models.CharField(choices=[('charged', 'Charged'), ('refused', 'Refused'), ('not_booked', 'Nothing to book'), ('taken_back', 'Taken back'), ('still_borne', 'Could not be taken back')], default='not_booked', max_length=12)),
                ('refusal_code', models.CharField(blank=True, max_length=50)),
                ('refusal_message', models.TextField(blank=True)),
                ('undo_reason', models.CharField(blank=True, max_length=500)),
                ('taken_back_at', models.DateTimeField(blank=True, null=True)),
                ('commitment', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='budgets.commitment')),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('credits', models.ForeignKey(blank=True, help_text='The share that this one of a credit note gives back.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='credited_by', to='invoicing.invoicelineshare')),
                ('department', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='invoice_line_shares', to='entities.department')),
                ('entry', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='budgets.budgetentry')),
                ('invoice_line', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='shares', to='invoicing.invoiceline')),
                ('taken_back_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'invoice_line_shares',
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('status__in', ('refused', 'still_borne'))), fields=['department'], name='invoice_line_share_refused')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('status__in', ('charged', 'refused', 'not_booked'))), fields=('invoice_line', 'department'), name='invoice_line_share_once'), models.CheckConstraint(condition=models.Q(models.Q(('amount__gte', 0), ('credited_amount__gte', 0), ('credited_amount__lte', models.F('amount'))), models.Q(('amount__lt', 0), ('credited_amount__gte', models.F('amount')), ('credited_amount__lte', 0)), _connector='OR'), name='invoice_line_share_credited_within_amount'), models.CheckConstraint(condition=models.Q(models.Q(('status__in', ('refused', 'still_borne')), models.Q(('refusal_code', ''), _negated=True)), models.Q(models.Q(('status__in', ('refused', 'still_borne')), _negated=True), ('refusal_code', '')), _connector='OR'), name='invoice_line_share_refusal_has_reason'), models.CheckConstraint(condition=models.Q(models.Q(('entry__isnull', False), ('status__in', ('charged', 'still_borne'))), models.Q(('entry__isnull', True), ('status__in', ('refused', 'not_booked'))), ('status', 'taken_back'), _connector='OR'), name='invoice_line_share_booked_as_its_status_says'), models.CheckConstraint(condition=models.Q(models.Q(('status__in', ('taken_back', 'still_borne')), ('taken_back_at__isnull', False)), models.Q(models.Q(('status__in', ('taken_back', 'still_borne')), _negated=True), ('taken_back_at__isnull', True)), _connector='OR'), name='invoice_line_share_taken_back_when')],
            },
        ),
        migrations.RunSQL(GUARD, DROP_GUARD),
    ]
