"""The types of request, and how apps above this one add theirs (by registration, in ``AppConfig.ready``).

    class ContractAmendmentApproval(ApprovalType):
        code, label = "contract_amendment", "Contract amendment"
        ...
    register(ContractAmendmentApproval())
    extend("license_change", LicenceChanges())

A type says what a request of it needs, what belongs to its fingerprint, who must not decide, and what happens in
the transaction of the final decision.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import FieldProblem, Invalid
from core.models import User

if TYPE_CHECKING:
    from approvals.models import ApprovalRequest


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about the subject, for pages and mails; ``url`` is a path of this site or empty."""

    label: str
    value: str
    url: str = ""


class TypeExtension:
    """What an app above adds to a type that is not its own. The methods mean what they mean in ``ApprovalType``."""

    def check(self, request: "ApprovalRequest", *, actor: User) -> None:
        """Before submission: complete the request, or raise a BillingError."""

    def lock(self, request: "ApprovalRequest") -> None:
        """Lock what the effect will change, before the request is locked."""

    def on_approved(self, request: "ApprovalRequest", *, actor: User) -> None:
        """A further effect, in the transaction of the last vote."""


class ApprovalType(TypeExtension):
    """One type of request. Every method may be left as it is; they run inside the service's transaction."""

    code: ClassVar[str]
    label: ClassVar[str]
    #: Whether submission commits the amount on the request's budget (BUD-02).
    commits_budget: ClassVar[bool] = False
    #: Whether approval raises the budget's allocation by the amount.
    raises_budget: ClassVar[bool] = False
    #: Whether people ask for it by themselves: the new-request page and ``POST /approvals`` offer it.
    asked_by_people: ClassVar[bool] = True

    def check(self, request: "ApprovalRequest", *, actor: User) -> None:
        """Before submission: complete ``contract_id`` and ``subject_id``, or raise a BillingError."""

    def lock(self, request: "ApprovalRequest") -> None:
        """Lock the subject, before the request is locked: the upper app's rows come first."""

    def content(self, request: "ApprovalRequest") -> Mapping[str, Any]:
        """What of the subject approvers decide on, JSON-able; part of the fingerprint (APR-05)."""
        return {}

    def excluded_people(self, request: "ApprovalRequest") -> set[int]:
        """Ids of users who must not decide, besides requester, creator, last editor and payee (APR-13)."""
        return set()

    def facts(self, request: "ApprovalRequest") -> list[Fact]:
        """What to show about the subject."""
        return []

    def on_approved(self, request: "ApprovalRequest", *, actor: User) -> None:
        """The effect, in the transaction of the last vote; raising keeps the request pending (APR-23)."""

    def on_closed(self, request: "ApprovalRequest", *, actor: User) -> None:
        """It was rejected, withdrawn or expired: ``request.status`` says which."""


ContractFinder = Callable[..., Any]

_types: dict[str, ApprovalType] = {}
_extensions: dict[str, list[TypeExtension]] = defaultdict(list)
_contract_finders: list[ContractFinder] = []


def register(approval_type: ApprovalType) -> None:
    """Add a type; a second one with the same code is a mistake in the code (ValueError)."""
    known = _types.get(approval_type.code)
    if known is not None and type(known) is not type(approval_type):
        raise ValueError(f"There are two approval types {approval_type.code!r}.")
    _types[approval_type.code] = approval_type


def extend(code: str, extension: TypeExtension) -> None:
    """Add to a type of another app: called after the type's own check, lock and effect."""
    if all(type(known) is not type(extension) for known in _extensions[code]):
        _extensions[code].append(extension)


def register_contract_finder(finder: ContractFinder) -> None:
    """Say how a ``contract_id`` is found: ``finder(actor, contract_id)`` returns it or raises NotFound."""
    if finder not in _contract_finders:
        _contract_finders.append(finder)


def approval_type(code: str) -> ApprovalType:
    """Return the type; raises Invalid ``unknown_request_type`` naming those there are."""
    found = _types.get(code)
    if found is None:
        detail = f"There is no request type “{code}”. There are: {', '.join(sorted(_types))}."
        raise Invalid(
            "unknown_request_type",
            detail,
            errors=[FieldProblem("/request_type", "unknown_request_type", detail)],
        )
    return found


def approval_types() -> list[ApprovalType]:
    """All types, by their label."""
    return sorted(_types.values(), key=lambda each: each.label)


def type_label(code: str) -> str:
    """The type's name for people; the code itself where its app is gone."""
    return _types[code].label if code in _types else code


def type_with_extensions(code: str) -> list[TypeExtension]:
    """The type, and what apps above have added to it, in the order in which they are asked."""
    return [approval_type(code), *_extensions[code]]


def find_contract(actor: User, contract_id: int) -> Any:
    """Return the contract as the app of contracts knows it; raises Invalid where there is none."""
    for finder in _contract_finders:
        return finder(actor, contract_id)
    detail = f"There is no contract {contract_id} among those you can see."
    raise Invalid("does_not_exist", detail, errors=[FieldProblem("/contract_id", "does_not_exist", detail)])
