"""Who may sign in to the sample group while developing, for the settings, the sign-in page and the command.

Imports nothing, so that the settings can read it.
"""

DEMO_PASSWORD = "tarnholm-sample-26"  # noqa: S105  (published on purpose; never set in production)

DEMO_SIGN_INS: list[tuple[str, str, str]] = [
    ("Finance manager, whole group", "aoife.brennan", DEMO_PASSWORD),
    ("Finance staff, Germany only", "jonas.keller", DEMO_PASSWORD),
    ("Administrator", "grace.holloway", DEMO_PASSWORD),
    ("Auditor, reads all", "eleanor.whitfield", DEMO_PASSWORD),
]
"""For the back-office: role in people's words, user name, password."""

PAGE_SIGN_INS: list[tuple[str, str, str]] = [
    ("Department manager, Entwicklung", "lukas.brandt", DEMO_PASSWORD),
    ("Approver, Japan", "kenji.mori", DEMO_PASSWORD),
]
"""Those whose roles do not work in the back-office; they have pages of their own."""

API_SIGN_INS: list[tuple[str, str, str]] = [
    ("Service account", "erp-connector", DEMO_PASSWORD),
]
"""External systems; they call the API."""
