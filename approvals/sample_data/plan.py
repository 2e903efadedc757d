"""What the sample group asks its approvers for."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from approvals.models import OnApproval


@dataclass(frozen=True)
class SampleVote:
    """What one approver does with a request."""

    username: str
    action: str = "approve"
    comment: str = ""


@dataclass(frozen=True)
class SampleRequest:
    """One request: its title, who asks, the department's codes, the amount in its currency, and what became of it."""

    title: str
    requester: str
    department: tuple[str, str]
    amount: Decimal
    request_type: str = "purchase"
    votes: tuple[SampleVote, ...] = ()
    withdrawn: bool = False
    draft: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


_ORDER = {"on_approval": OnApproval.ORDER}

REQUESTS: tuple[SampleRequest, ...] = (
    SampleRequest(
        "Replacement notebooks for the help desk",
        "conor.walsh",
        ("TARN-SSC", "IT-WORK"),
        Decimal("8640.00"),
        fields={
            "supplier": "Halden Computer",
            "quantity": 8,
            "description": "Eight notebooks of the standard configuration; the old ones are out of warranty.",
        },
    ),
    SampleRequest(
        "Penetration test of the customer portal",
        "niamh.kelly",
        ("TARN-SSC", "IT-SEC"),
        Decimal("9800.00"),
        fields={
            "supplier": "Grey Harbour Security",
            "description": "Yearly test that two customers ask for in their contracts.",
            **_ORDER,
        },
    ),
    SampleRequest(
        "Simulation licences, ten more seats",
        "lukas.brandt",
        ("TARN-DE", "ENT-SIM"),
        Decimal("18400.00"),
        request_type="license_change",
        fields={"supplier": "Fluxwerk Software", "quantity": 10},
    ),
    SampleRequest(
        "Spectrometer service contract, second half",
        "maya.lindqvist",
        ("TARN-US-LAB", "LAB"),
        Decimal("12250.00"),
        votes=(SampleVote("daniel.reyes", comment="As agreed with the supplier in spring."),),
        fields={"supplier": "Prism Field Service"},
    ),
    SampleRequest(
        "Clean-room gloves and wipes, quarter",
        "sabine.vogt",
        ("TARN-DE-SEN", "REIN"),
        Decimal("3180.00"),
        fields={"supplier": "Reinwelt GmbH", "reference": "BANF-4471"},
    ),
    SampleRequest(
        "Second data lake region",
        "oliver.hughes",
        ("TARN-GB-DATA", "DATA"),
        Decimal("22900.00"),
        votes=(
            SampleVote(
                "priya.raman", "request_changes", "Please add what the traffic between regions costs."
            ),
        ),
        fields={"supplier": "Northern Cloud"},
    ),
    SampleRequest(
        "Espresso machine for the Leeds office",
        "priya.raman",
        ("TARN-GB", "ADMIN"),
        Decimal("2150.00"),
        votes=(SampleVote("helen.osborne", "reject", "The lease of the old one runs until June."),),
        fields={"supplier": "Crema & Co"},
    ),
    SampleRequest(
        "Torque wrenches for final assembly",
        "kenji.mori",
        ("TARN-JP", "MFG"),
        Decimal("640000"),
        votes=(SampleVote("helen.osborne"),),
        fields={"supplier": "Naniwa Tools"},
    ),
    SampleRequest(
        "Trade fair stand, spring",
        "daniel.reyes",
        ("TARN-US", "SALES"),
        Decimal("27400.00"),
        withdrawn=True,
        fields={"supplier": "Expo Services", **_ORDER},
    ),
    SampleRequest(
        "Label printer",
        "oliver.hughes",
        ("TARN-GB-DATA", "DATA-SCI"),
        Decimal("184.00"),
        fields={"supplier": "Etikett"},
    ),
    SampleRequest(
        "More room for firmware tests",
        "maya.lindqvist",
        ("TARN-US-IND", "ENG-FW"),
        Decimal("15000.00"),
        request_type="budget_increase",
        fields={"description": "Two more test benches are needed until the release."},
    ),
    SampleRequest(
        "Robot arm for the demonstration room",
        "lukas.brandt",
        ("TARN-DE-ROB", "ROB"),
        Decimal("41200.00"),
        draft=True,
        fields={"supplier": "Gelenk Robotik"},
    ),
)
