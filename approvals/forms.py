"""What people enter on the pages of approvals. The services test it; the forms only read it."""

import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Q, QuerySet

from approvals.models import ApprovalRequest, OnApproval
from approvals.registry import approval_types
from approvals.selectors.requests import colleagues_of, deciders_among_colleagues
from approvals.services.people import DECIDE
from budgets.figures import figures_of
from budgets.models import Budget
from core import clock
from core.models import User
from core.money import format_money, known_currencies
from core.pages.fields import AmountField, PersonField
from entities.models import Department

ADD = "approvals.add_approvalrequest"
_LINES = {"rows": 3}
_MINUTES = "%Y-%m-%dT%H:%M"


class CommentForm(forms.Form):
    """A word with a decision; ``seen`` is the fingerprint of what the person had before them (APR-22)."""

    comment = forms.CharField(
        required=False, max_length=5000, strip=True, widget=forms.Textarea(attrs=_LINES)
    )
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, label: str = "Comment", needed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["comment"].label = label
        self.fields["comment"].required = needed
        if needed:
            self.fields["comment"].error_messages["required"] = "Say why: the requester reads it."


class PassOnForm(CommentForm):
    """To whom a task is passed on."""

    delegate_to = PersonField(
        queryset=User.objects.none(), label="To whom", empty_label="Choose somebody who may decide"
    )
    field_order = ["delegate_to", "comment"]

    def __init__(self, *args: Any, actor: User, without: set[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = self.fields["delegate_to"]
        assert isinstance(people, PersonField)
        people.queryset = _stand_ins(actor).exclude(pk__in=without)


class FileForm(forms.Form):
    """A file to attach."""

    file = forms.FileField(
        label="File", help_text="PDF, picture, Word, Excel, CSV or text.", allow_empty_file=True
    )


class RequestForm(forms.Form):
    """What somebody asks for. The same fields are edited later; the type stays, and once approved the place."""

    request_type = forms.ChoiceField(label="What do you ask for")
    title = forms.CharField(
        max_length=200, help_text="What the approvers read first, such as: Ten notebooks."
    )
    amount = AmountField(required=False, help_text="Such as 15000.00")
    currency = forms.ChoiceField(required=False)
    budget_id = forms.TypedChoiceField(
        label="Budget",
        required=False,
        coerce=int,
        empty_value=None,
        widget=forms.Select(attrs={"data-search": "Find a budget"}),
    )
    department_id = forms.TypedChoiceField(
        label="Department",
        required=False,
        coerce=int,
        empty_value=None,
        help_text="Only where no budget pays for it, or for a department below that of the budget.",
        widget=forms.Select(attrs={"data-search": "Find a department"}),
    )
    description = forms.CharField(
        label="Why", required=False, max_length=10_000, widget=forms.Textarea(attrs=_LINES)
    )
    supplier = forms.CharField(required=False, max_length=200)
    supplier_account = forms.CharField(
        label="Supplier's bank details",
        required=False,
        max_length=100,
        help_text="Kept encrypted. Approvers are told when they change.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    quantity = forms.DecimalField(required=False, max_digits=20, decimal_places=6)
    reference = forms.CharField(label="Your own number for it", required=False, max_length=100)
    gl_code = forms.CharField(label="GL code", required=False, max_length=50)
    terms = forms.CharField(required=False, max_length=5000, widget=forms.Textarea(attrs={"rows": 2}))
    on_approval = forms.ChoiceField(
        label="When it is approved", choices=OnApproval, initial=OnApproval.CHARGE, required=False
    )

    payee = PersonField(
        queryset=User.objects.none(),
        label="Paid to",
        required=False,
        empty_label="Nobody of us",
        widget=forms.Select(attrs={"data-search": "Find a person"}),
        help_text="A colleague who gets the money. They do not decide on it.",
    )

    PLACE = ("budget_id", "department_id")
    MORE = ("supplier_account", "payee", "quantity", "reference", "gl_code", "terms", "on_approval")

    def __init__(
        self, *args: Any, actor: User, editing: ApprovalRequest | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.editing = editing
        if editing is None:
            types = [each for each in approval_types() if each.asked_by_people]
            self._choices("request_type", [(each.code, each.label) for each in types])
            self.fields["request_type"].initial = "purchase"
        else:
            del self.fields["request_type"]
        if editing is None or editing.approved_amount is None:
            self.budgets = _budgets(actor, also=editing.budget_id if editing is not None else None)
            self._choices("budget_id", [("", "No budget"), *_by_entity(self.budgets)])
            self._choices("department_id", [("", "As of the budget"), *_departments(actor, editing)])
        else:
            for name in self.PLACE:
                del self.fields[name]
        self._choices("currency", _currencies(editing))
        payee = self.fields["payee"]
        assert isinstance(payee, PersonField)
        payee.queryset = colleagues_of(actor).order_by("last_name", "first_name")

    def _choices(self, name: str, choices: list[Any]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    @property
    def first_fields(self) -> list[forms.BoundField]:
        """What nearly every request needs."""
        return [field for field in self.visible_fields() if field.name not in self.MORE]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        """What some need besides; folded away."""
        return [field for field in self.visible_fields() if field.name in self.MORE]

    @property
    def more_is_open(self) -> bool:
        """Whether something stands or is wrong in what is folded away."""
        return any(
            field.errors or field.value() not in (None, "", OnApproval.CHARGE) for field in self.more_fields
        )

    def values(self) -> dict[str, Any]:
        """What the service takes."""
        values = dict(self.cleaned_data)
        values["amount"] = values["amount"] if values["amount"] is not None else Decimal(0)
        values["currency"] = values["currency"] or None
        values["on_approval"] = values["on_approval"] or OnApproval.CHARGE
        if self.editing is not None:
            values |= self._place(self.editing, values)
        return values

    def _place(self, edited: ApprovalRequest, values: dict[str, Any]) -> dict[str, Any]:
        """Where it belongs then: the department follows the budget unless one is named."""
        budget_id = values.pop("budget_id", edited.budget_id)
        department_id = values.pop("department_id", edited.department_id)
        if not set(self.PLACE) & set(self.changed_data):
            return {}
        if department_id is None:
            of = next((budget for budget in self.budgets if budget.pk == budget_id), None)
            department_id = of.department_id if of is not None else None
        place = {"budget_id": budget_id, "department_id": department_id}
        # Without either it stays with the entity that it is for.
        return place if budget_id or department_id else {**place, "entity_id": edited.entity_id}


class DelegationForm(forms.Form):
    """Who stands in, from when to when, and for what."""

    delegate = PersonField(
        queryset=User.objects.none(),
        label="Who decides for you",
        empty_label="Choose somebody who may decide",
    )
    valid_from = forms.DateTimeField(label="From")
    valid_to = forms.DateTimeField(label="Until")
    reason = forms.CharField(max_length=500, initial="On leave")
    request_types = forms.MultipleChoiceField(
        label="Only these types",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose none to pass on all.",
    )
    departments = forms.TypedMultipleChoiceField(
        label="Only these departments",
        required=False,
        coerce=int,
        widget=forms.SelectMultiple(attrs={"size": 5, "data-search": "Find a department"}),
        help_text="With all below them. Choose none to pass on all.",
    )
    max_amount = AmountField(label="Only up to", required=False, help_text="Empty: up to your own limit.")
    currency = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, actor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people, types, currency = (self.fields[name] for name in ("delegate", "request_types", "currency"))
        assert isinstance(people, PersonField)
        assert isinstance(types, forms.MultipleChoiceField)
        assert isinstance(currency, forms.ChoiceField)
        people.queryset = _stand_ins(actor)
        types.choices = [(each.code, each.label) for each in approval_types()]
        departments = self.fields["departments"]
        assert isinstance(departments, forms.MultipleChoiceField)
        departments.choices = _departments(actor, permission=DECIDE)
        currency.choices = _currencies(None, empty="Choose")
        now = clock.now().replace(second=0, microsecond=0)
        for name, moment in (("valid_from", now), ("valid_to", now + datetime.timedelta(days=7))):
            self.fields[name].widget = forms.DateTimeInput(
                attrs={"type": "datetime-local", "step": 60}, format=_MINUTES
            )
            self.fields[name].initial = moment


def _stand_ins(actor: User) -> QuerySet[User]:
    people: QuerySet[User] = deciders_among_colleagues(actor)
    return people.exclude(pk=actor.pk).order_by("last_name", "first_name")


def _budgets(actor: User, also: int | None = None) -> list[Budget]:
    """What one may ask money of today, and the one that is asked already."""
    today = clock.today(actor.time_zone)
    may_ask = Budget.objects.visible_to(actor, ADD).postable().covering(today)
    return list(
        Budget.objects.visible_to(actor)
        .filter(Q(pk__in=may_ask.values("pk")) | Q(pk=also))
        .with_expired()
        .select_related("entity", "department")
        .order_by("entity__name", "name")
    )


def _by_entity(budgets: list[Budget]) -> list[tuple[str, list[tuple[int, str]]]]:
    groups: dict[str, list[tuple[int, str]]] = {}
    for budget in budgets:
        left = format_money(figures_of(budget).available, budget.currency)
        groups.setdefault(budget.entity.name, []).append((budget.pk, f"{budget.name}, {left} left"))
    return list(groups.items())


def _departments(
    actor: User, editing: ApprovalRequest | None = None, *, permission: str = ADD
) -> list[tuple[str, list[tuple[int, str]]]]:
    groups: dict[str, list[tuple[int, str]]] = {}
    also = Q(pk=editing.department_id) if editing is not None else Q()
    there = Department.objects.visible_to(actor, permission).filter(is_active=True)
    found = Department.objects.filter(Q(pk__in=there.values("pk")) | also) if also else there
    for department in found.select_related("entity").order_by("entity__name", "name"):
        groups.setdefault(department.entity.name, []).append((department.pk, department.name))
    return list(groups.items())


def _currencies(editing: ApprovalRequest | None, empty: str = "As the budget") -> list[tuple[str, str]]:
    codes = [(code, code) for code in sorted(known_currencies())]
    return codes if editing is not None else [("", empty), *codes]
