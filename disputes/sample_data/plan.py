"""What the sample group's people dispute, what is said about it, and what becomes of it."""

from dataclasses import dataclass
from decimal import Decimal

from disputes.models import Category, Outcome, ResolutionType, RootCause, Severity


@dataclass(frozen=True)
class Said:
    """A comment: who writes it; internal ones are for staff."""

    username: str
    text: str
    internal: bool = False


@dataclass(frozen=True)
class SampleResolution:
    """How staff wants to resolve it, and whether that is approved; ``share`` is of what is disputed."""

    resolution_type: ResolutionType
    note: str
    share: Decimal = Decimal(1)
    outcome: str = ""
    approved: bool = True
    root_cause: str = ""


@dataclass(frozen=True)
class SampleDispute:
    """A dispute of a ``share`` of a department's largest undisputed line in the payer's last invoice."""

    payer: str
    entity: str
    department: str
    opened_by: str
    category: Category
    severity: Severity
    share: Decimal
    reason: str
    reference: str
    thread: tuple[Said, ...] = ()
    waits_for_customer: bool = False
    resolution: SampleResolution | None = None
    withdrawn: str = ""


HANDLED_BY = "ciaran.doyle"

DISPUTES: tuple[SampleDispute, ...] = (
    SampleDispute(
        "TARN-GB", "TARN-GB-DATA", "DATA", "oliver.hughes", Category.USAGE_DISCREPANCY, Severity.HIGH,
        Decimal("0.4"),
        "Our own meters show 40 % less storage than was billed: the test cluster was switched off on the 9th.",
        "DATA-2201",
        thread=(
            Said(HANDLED_BY, "Thank you. Which cluster do you mean, and when exactly was it switched off?"),
            Said(HANDLED_BY, "The provider's file still lists the volumes of the cluster until the end of the month.",
                 internal=True),
        ),
        waits_for_customer=True,
    ),
    SampleDispute(
        "TARN-DE-SEN", "TARN-DE-SEN", "CHIP", "sabine.vogt", Category.PRICING, Severity.MEDIUM, Decimal("0.15"),
        "We agreed on 15 % less for reserved machines from this quarter on; the invoice has the old price.",
        "CHIP/77",
        thread=(
            Said(HANDLED_BY, "We have found your message of the spring and are checking it with the provider."),
            Said(HANDLED_BY, "@aoife.brennan the amendment was written but never signed. Shall we honour it?",
                 internal=True),
        ),
    ),
    SampleDispute(
        "TARN-GB", "TARN-GB", "SERV", "priya.raman", Category.BILLING_ERROR, Severity.MEDIUM, Decimal("0.25"),
        "A quarter of these machines belongs to the data team since the move.", "",
        thread=(Said(HANDLED_BY, "You are right: the tag was changed a week after the move."),),
        resolution=SampleResolution(
            ResolutionType.CREDIT, "Credited: the machines were billed to the wrong department.",
            root_cause=RootCause.WRONG_ALLOCATION,
        ),
    ),
    SampleDispute(
        "TARN", "TARN-DE-ROB", "ROB", "lukas.brandt", Category.SERVICE_ISSUE, Severity.CRITICAL, Decimal("0.5"),
        "The machines of the test line were not reachable for eleven days.", "ROB-118",
    ),
    SampleDispute(
        "TARN", "TARN-US-LAB", "LAB", "maya.lindqvist", Category.DUPLICATE, Severity.HIGH, Decimal(1),
        "These licences are on the invoice of the supplier too, which we have paid.", "LAB-9",
        thread=(Said(HANDLED_BY, "Thank you for the supplier's invoice; we compare the licence numbers."),),
        resolution=SampleResolution(
            ResolutionType.CREDIT, "Half of the licences were billed twice.", share=Decimal("0.5"), approved=False,
        ),
    ),
    SampleDispute(
        "TARN-DE-SEN", "TARN-DE-SEN", "REIN", "jonas.keller", Category.TAX, Severity.LOW, Decimal("0.05"),
        "We would have expected the reduced rate on this service.", "",
        thread=(Said(HANDLED_BY, "The standard rate applies to data processing; the decision of the tax office is "
                                 "attached to your contract."),),
        withdrawn="Agreed, the standard rate is right.",
    ),
    SampleDispute(
        "TARN", "TARN-US", "SALES", "daniel.reyes", Category.REFUND_REQUEST, Severity.LOW, Decimal("0.1"),
        "Two of the seats were never used.", "",
        thread=(Said(HANDLED_BY, "Seats are billed as ordered, used or not."),),
        resolution=SampleResolution(
            ResolutionType.NO_ACTION, "The seats were ordered until the end of the quarter and are billed as ordered.",
            outcome=Outcome.REJECTED, root_cause=RootCause.CUSTOMER_MISUNDERSTANDING,
        ),
    ),
)  # fmt: skip
