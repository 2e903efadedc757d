"""Who may sign in to the sample group while developing: for the settings, the sign-in page and the command.

Imports nothing, so that the settings can read it.
"""

DEMO_PASSWORD = "tarnholm-sample-26"  # noqa: S105  (published on purpose; never set in production)

DEMO_SIGN_INS: list[tuple[str, str, str]] = [
    ("Administrator", "grace.holloway", DEMO_PASSWORD),
    ("Finance manager", "aoife.brennan", DEMO_PASSWORD),
    ("Finance staff", "jonas.keller", DEMO_PASSWORD),
    ("Auditor (reads all)", "eleanor.whitfield", DEMO_PASSWORD),
    ("Department manager", "lukas.brandt", DEMO_PASSWORD),
    ("Approver", "kenji.mori", DEMO_PASSWORD),
    ("Service account (API)", "erp-connector", DEMO_PASSWORD),
]
"""Role in people's words, user name, password."""
