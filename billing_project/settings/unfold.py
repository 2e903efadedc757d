"""The back-office's name, colours and navigation."""

from typing import Any

from django.templatetags.static import static

# (section, [(title, icon, "app.model" or URL name with the permission it needs)]): core.admin.navigation shows of it
# what exists and what the user may see.
ADMIN_NAVIGATION: list[tuple[str, list[tuple[str, str, str]]]] = [
    (
        "",
        [
            ("Overview", "space_dashboard", "admin:index"),
            ("Messages", "notifications", "core.notification"),
            ("My pages", "home", "pages:home"),
        ],
    ),
    (
        "Costs",
        [
            ("Usage imports", "upload_file", "invoicing.usageimport"),
            ("Usage records", "database", "invoicing.usagerecord"),
            ("Rejected rows", "rule", "invoicing.rejectedrow"),
            ("Usage charges", "savings", "invoicing.usagebudgetcharge"),
            ("Mapping rules", "alt_route", "invoicing.usagemappingrule"),
            ("Cost allocations", "call_split", "entities.costallocation"),
            ("Allocation rules", "rule_settings", "entities.allocationrule"),
        ],
    ),
    (
        "Budgets",
        [
            ("Budgets", "savings", "budgets.budget"),
            ("Commitments", "handshake", "budgets.commitment"),
            ("Transfers", "swap_horiz", "budgets.budgettransfer"),
            ("Revisions", "edit_note", "budgets.budgetrevision"),
            ("Overrides", "key", "budgets.budgetoverride"),
            ("Rollovers", "redo", "budgets.budgetrollover"),
            ("Ledger", "menu_book", "budgets.budgetentry"),
            ("Alerts", "notifications_active", "budgets.budgetalert"),
        ],
    ),
    (
        "Approvals",
        [
            ("Requests", "approval", "approvals.approvalrequest"),
            ("Rules", "rule_settings", "approvals.approvalrule"),
            (
                "Which rule decides?",
                "search",
                "admin:approvals_approvalrule_which approvals.view_approvalrule",
            ),
            ("Delegations", "forward", "approvals.delegation"),
            ("Authority limits", "verified", "approvals.authoritylimit"),
            ("Incompatible duties", "balance", "approvals.incompatibleduties"),
            ("Exceptions", "gpp_maybe", "approvals.dutyexception"),
            ("Workload", "groups", "admin:approvals_approvalrequest_workload approvals.view_delegation"),
        ],
    ),
    (
        "Contracts",
        [
            ("Contracts", "contract", "contracts.contract"),
            ("Renewals", "event_repeat", "admin:contracts_contract_renewals contracts.view_contract"),
            ("Amendments", "edit_document", "contracts.contractamendment"),
            ("Subscriptions", "groups", "contracts.subscription"),
            ("Plans", "sell", "contracts.plan"),
            ("Fees", "payments", "contracts.billablefee"),
            ("Measurements", "speed", "contracts.slameasurement"),
            ("Service credits", "redeem", "contracts.servicecredit"),
            ("Documents", "folder", "contracts.contractdocument"),
            ("Price indices", "trending_up", "contracts.priceindexvalue"),
        ],
    ),
    (
        "Invoicing",
        [
            ("Billing runs", "playlist_add_check", "invoicing.billingrun"),
            ("Invoices", "receipt_long", "invoicing.invoice"),
            ("Receivables by age", "schedule", "admin:invoicing_invoice_ageing invoicing.view_invoice"),
            ("Payments", "payments", "invoicing.payment"),
            ("Bank statements", "account_balance", "invoicing.bankstatement"),
            ("Settlements", "done_all", "invoicing.settlement"),
            ("Refunds", "currency_exchange", "invoicing.refund"),
            ("Departments' shares", "account_tree", "invoicing.invoicelineshare"),
            ("Reminders", "mark_email_unread", "invoicing.dunningnotice"),
            ("Reminder levels", "stairs", "invoicing.dunninglevel"),
            ("Number series", "pin", "invoicing.numberseries"),
            ("Tax rules", "percent", "invoicing.taxrule"),
            ("Billing schedules", "event_repeat", "invoicing.billingschedule"),
        ],
    ),
    (
        "Disputes",
        [
            ("Disputes", "gavel", "disputes.billingdispute"),
            ("Reasons", "insights", "admin:disputes_billingdispute_reasons disputes.view_internal"),
            ("Dispute policies", "timer", "disputes.disputepolicy"),
        ],
    ),
    (
        "Organisation",
        [
            ("Entities", "account_tree", "entities.entity"),
            ("Departments", "lan", "entities.department"),
            ("Memberships", "badge", "entities.membership"),
            ("Users", "group", "core.user"),
        ],
    ),
    (
        "Settings",
        [
            ("Exchange rates", "currency_exchange", "core.exchangerate"),
            ("Work calendars", "calendar_month", "core.workcalendar"),
            ("Schedules", "schedule", "django_celery_beat.periodictask"),
            ("Job results", "task", "django_celery_results.taskresult"),
            ("Outbox", "outbox", "core.outboxevent"),
        ],
    ),
]

# What Ctrl+K searches; a short list, because each is one query.
ADMIN_PALETTE_MODELS = [
    "invoicing.invoice",
    "disputes.billingdispute",
    "contracts.contract",
    "budgets.budget",
    "approvals.approvalrequest",
    "entities.entity",
    "entities.department",
    "invoicing.usageimport",
    "core.user",
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Enterprise Billing",
    "SITE_HEADER": "Enterprise Billing",
    "SITE_URL": None,
    "SITE_SYMBOL": "account_balance_wallet",
    "SITE_ICON": lambda request: static("core/mark.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("core/mark.svg")},
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "5px",
    "STYLES": [lambda request: static("core/common.css"), lambda request: static("core/admin.css")],
    "SCRIPTS": [lambda request: static("core/admin.js")],
    "COMMAND": {"search_models": False, "show_history": False},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "core.admin.navigation.sidebar",
    },
    "COLORS": {
        # Cool greys, and one accent: ink blue. White on 600 is 6.5:1, 400 on the dark ground 8:1.
        "base": {
            "50": "oklch(98.4% .003 250)",
            "100": "oklch(96.6% .005 250)",
            "200": "oklch(92.2% .008 250)",
            "300": "oklch(86.4% .012 250)",
            "400": "oklch(71% .018 250)",
            "500": "oklch(54% .022 250)",
            "600": "oklch(44% .024 250)",
            "700": "oklch(36% .024 252)",
            "800": "oklch(26.5% .02 254)",
            "900": "oklch(20% .018 256)",
            "950": "oklch(15.5% .016 258)",
        },
        "primary": {
            "50": "oklch(97% .014 255)",
            "100": "oklch(94% .03 255)",
            "200": "oklch(88% .06 255)",
            "300": "oklch(80% .1 255)",
            "400": "oklch(74% .12 255)",
            "500": "oklch(70% .13 255)",
            "600": "oklch(49% .15 258)",
            "700": "oklch(43% .14 259)",
            "800": "oklch(37% .12 260)",
            "900": "oklch(31% .1 261)",
            "950": "oklch(24% .07 262)",
        },
        "font": {
            "subtle-light": "var(--color-base-500)",
            "subtle-dark": "var(--color-base-400)",
            "default-light": "var(--color-base-700)",
            "default-dark": "var(--color-base-300)",
            "important-light": "var(--color-base-900)",
            "important-dark": "var(--color-base-100)",
        },
    },
}

# Short dates, and times with their zone.
FORMAT_MODULE_PATH = ["core.formats"]
