"""What the sample group buys from three cloud providers: services at list prices, and their users.

Prices are of the size that the providers publish; they are no price list.
"""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Service:
    """One thing on a provider's bill, priced per unit in the provider's billing currency."""

    category: str
    name: str
    sku: str
    description: str
    unit: str
    unit_price: Decimal
    resource_type: str = ""
    resource_prefix: str = ""


@dataclass(frozen=True)
class Workload:
    """What one application uses of a service each day (`days=1`), week (7) or month (0)."""

    service: str
    business_unit: str
    application: str
    environment: str
    quantity: int
    days: int = 1


@dataclass(frozen=True)
class Provider:
    """A provider's account of the group; `style` says how its exports are written."""

    key: str
    name: str
    publisher: str
    issuer: str
    currency: str
    format_version: str
    account: str
    account_name: str
    region: str
    region_name: str
    style: str
    discount_percent: int
    support: tuple[str, str]
    support_percent: int
    services: dict[str, Service]
    workloads: tuple[Workload, ...]


def _service(
    category: str,
    name: str,
    sku: str,
    description: str,
    unit: str,
    price: str,
    *rest: str,
) -> Service:
    return Service(category, name, sku, description, unit, Decimal(price), *rest)


AWS = Provider(
    key="aws",
    name="AWS",
    publisher="Amazon Web Services, Inc.",
    issuer="Amazon Web Services, Inc.",
    currency="USD",
    format_version="1.0",
    account="700412259318",
    account_name="Tarnholm Group",
    region="us-east-1",
    region_name="US East (N. Virginia)",
    style="null",
    discount_percent=6,
    support=(
        "AWS Support (Business)",
        "AWS Support (Business) - percent of monthly spend",
    ),
    support_percent=4,
    services={
        "m6i": _service(
            "Compute",
            "Amazon Elastic Compute Cloud",
            "7YV9B34MZT2KQXHA",
            "$0.192 per On Demand Linux m6i.xlarge Instance Hour",
            "Hours",
            "0.192",
            "Instance",
            "i-",
        ),
        "c7g": _service(
            "Compute",
            "Amazon Elastic Compute Cloud",
            "QW5ZRB2M8KD4T7NC",
            "$0.1156 per On Demand Linux c7g.xlarge Instance Hour",
            "Hours",
            "0.1156",
            "Instance",
            "i-",
        ),
        "rds": _service(
            "Databases",
            "Amazon Relational Database Service",
            "DM4SBRX63TQ9WVPL",
            "$0.48 per RDS db.r6g.xlarge Single-AZ instance hour running PostgreSQL",
            "Hours",
            "0.48",
            "DB instance",
            "db-",
        ),
        "s3": _service(
            "Storage",
            "Amazon Simple Storage Service",
            "WP9ANXZGBYYSGJEA",
            "$0.023 per GB - first 50 TB / month of storage used",
            "GB-Months",
            "0.023",
            "Bucket",
            "tarnholm-",
        ),
        "s3put": _service(
            "Storage",
            "Amazon Simple Storage Service",
            "4FWMK2SVJHPDA83T",
            "$0.005 per 1,000 PUT, COPY, POST, or LIST requests",
            "Requests",
            "0.000005",
            "Bucket",
            "tarnholm-",
        ),
        "lambda": _service(
            "Compute",
            "AWS Lambda",
            "SGGKTWDV7PGMPPSJ",
            "AWS Lambda - Total Requests",
            "Requests",
            "0.0000002",
            "Function",
            "fn-",
        ),
        "gbs": _service(
            "Compute",
            "AWS Lambda",
            "TG3M4CAGBA3NYQBH",
            "AWS Lambda - Compute Duration in GB-Seconds",
            "GB-Seconds",
            "0.0000166667",
            "Function",
            "fn-",
        ),
        "sqs": _service(
            "Integration",
            "Amazon Simple Queue Service",
            "G95FST5FTYV3JSRX",
            "$0.40 per million Amazon SQS standard requests",
            "Requests",
            "0.0000004",
            "Queue",
            "queue-",
        ),
        "egress": _service(
            "Networking",
            "AWS Data Transfer",
            "HQEH3ZWJVT46JHRG",
            "$0.090 per GB - first 10 TB / month data transfer out",
            "GB",
            "0.09",
        ),
        "alb": _service(
            "Networking",
            "Elastic Load Balancing",
            "2ETY8Y426S4237JU",
            "$0.008 per used Application load balancer capacity unit-hour",
            "LCU-Hours",
            "0.008",
            "Load balancer",
            "alb-",
        ),
    },
    workloads=(
        Workload("m6i", "industrial-instruments", "flowmeter-cloud", "prod", 1150),
        Workload("rds", "industrial-instruments", "flowmeter-cloud", "prod", 190),
        Workload("sqs", "industrial-instruments", "flowmeter-cloud", "prod", 18_400_000),
        Workload("s3", "industrial-instruments", "telemetry-archive", "prod", 118_000, 0),
        Workload("m6i", "laboratory-systems", "spectra-hub", "prod", 760),
        Workload("gbs", "laboratory-systems", "spectra-hub", "prod", 5_600_000),
        Workload("lambda", "laboratory-systems", "spectra-hub", "prod", 21_700_000),
        Workload("c7g", "laboratory-systems", "spectra-hub", "test", 310),
        Workload("m6i", "us-sales", "quote-desk", "prod", 240),
        Workload("alb", "us-sales", "quote-desk", "prod", 1130),
        Workload("m6i", "shared-platform", "build-farm", "dev", 520),
        Workload("s3", "shared-platform", "artifact-store", "prod", 64_000, 0),
        Workload("egress", "shared-platform", "edge", "prod", 5400, 7),
        Workload("c7g", "cyber-security", "log-lake", "prod", 430),
        Workload("s3put", "cyber-security", "log-lake", "prod", 9_800_000),
        Workload("c7g", "field-robotics", "fleet-control", "prod", 880),
        Workload("rds", "field-robotics", "fleet-control", "prod", 96),
        Workload("c7g", "uk-data-products", "insight-studio", "prod", 1240),
        Workload("gbs", "uk-data-products", "insight-studio", "prod", 3_900_000),
        Workload("rds", "uk-service", "field-service", "prod", 72),
        Workload("alb", "manchester-service", "spare-parts", "prod", 640),
        Workload("m6i", "calibration-pilot", "twin-prototype", "dev", 58),
        Workload("sqs", "", "", "", 2_300_000),
        Workload("s3", "", "", "", 7_300, 7),
    ),
)

MICROSOFT = Provider(
    key="microsoft",
    name="Microsoft",
    publisher="Microsoft",
    issuer="Microsoft",
    currency="EUR",
    format_version="1.0",
    account="E-58120377",
    account_name="Tarnholm Shared Services",
    region="westeurope",
    region_name="West Europe",
    style="empty",
    discount_percent=9,
    support=("Microsoft Unified Support", "Unified Support - Core, monthly share"),
    support_percent=3,
    services={
        "d4s": _service(
            "Compute",
            "Virtual Machines",
            "DZH318Z0BQ4L-00D4",
            "Dsv5 Series - D4s v5 - EU West",
            "1 Hour",
            "0.2206",
            "Virtual machine",
            "vm-",
        ),
        "aks": _service(
            "Compute",
            "Azure Kubernetes Service",
            "DZH318Z0C1S8-00F2",
            "Standard tier uptime - EU West",
            "1 Hour",
            "0.0874",
            "Kubernetes cluster",
            "aks-",
        ),
        "sql": _service(
            "Databases",
            "SQL Database",
            "DZH318Z0BQ6P-01K7",
            "General Purpose - vCore - EU West",
            "1 Hour",
            "0.1732",
            "SQL database",
            "sql-",
        ),
        "blob": _service(
            "Storage",
            "Storage Accounts",
            "DZH318Z0BNZH-006L",
            "Hot LRS Data Stored - EU West",
            "1 GB/Month",
            "0.0179",
            "Storage account",
            "st",
        ),
        "ops": _service(
            "Storage",
            "Storage Accounts",
            "DZH318Z0BNZH-00B9",
            "Hot LRS Write Operations - EU West",
            "10K",
            "0.0486",
            "Storage account",
            "st",
        ),
        "m365": _service(
            "Other",
            "Microsoft 365",
            "CFQ7TTC0LCHC-0002",
            "Microsoft 365 E3 - licence per user and month",
            "1/Month",
            "33.90",
        ),
        "openai": _service(
            "AI and Machine Learning",
            "Azure OpenAI Service",
            "DZH318Z0HJ5W-00XT",
            "Input tokens - EU West",
            "1K",
            "0.0023",
            "Cognitive account",
            "oai-",
        ),
    },
    workloads=(
        Workload("d4s", "de-development", "flow-simulation", "prod", 690),
        Workload("sql", "de-development", "product-data", "prod", 420),
        Workload("openai", "de-development", "manual-assistant", "prod", 71_000),
        Workload("d4s", "munich-plant", "line-control", "prod", 520),
        Workload("ops", "munich-plant", "line-control", "prod", 2260),
        Workload("d4s", "sensorik", "chip-design", "prod", 980),
        Workload("blob", "sensorik", "wafer-images", "prod", 142_000, 0),
        Workload("sql", "sensorik", "mes", "prod", 300),
        Workload("aks", "field-robotics", "nav-stack", "prod", 380),
        Workload("d4s", "finance-systems", "erp", "prod", 610),
        Workload("sql", "finance-systems", "erp", "prod", 530),
        Workload("m365", "workplace", "office", "prod", 1640, 0),
        Workload("d4s", "uk-service", "contact-centre", "prod", 260),
        Workload("blob", "legacy-2019", "scan-archive", "prod", 23_000, 0),
        Workload("ops", "", "", "", 310),
    ),
)

GOOGLE = Provider(
    key="google",
    name="Google Cloud",
    publisher="Google Cloud",
    issuer="Google Cloud Japan G.K.",
    currency="JPY",
    format_version="1.0",
    account="01A7F3-9C22D4-5E80B1",
    account_name="Tarnholm Japan K.K.",
    region="asia-northeast1",
    region_name="Tokyo",
    style="empty",
    discount_percent=5,
    support=("Support", "Enhanced Support variable fee"),
    support_percent=3,
    services={
        "n2": _service(
            "Compute",
            "Compute Engine",
            "4B07-2F9A-6C31",
            "N2 Instance Core running in Japan",
            "hour",
            "6.1042",
            "Instance",
            "gce-",
        ),
        "bq": _service(
            "Analytics",
            "BigQuery",
            "D0CE-41A8-77B3",
            "Analysis (asia-northeast1)",
            "tebibyte",
            "1128.75",
            "Dataset",
            "bq-",
        ),
        "gcs": _service(
            "Storage",
            "Cloud Storage",
            "E5F0-6A5D-7BAD",
            "Standard Storage Tokyo",
            "gibibyte month",
            "3.4578",
            "Bucket",
            "gs-",
        ),
        "pubsub": _service(
            "Integration",
            "Cloud Pub/Sub",
            "9B2C-8E47-1D60",
            "Message Delivery Basic",
            "tebibyte",
            "6018.40",
            "Topic",
            "topic-",
        ),
        "run": _service(
            "Compute",
            "Cloud Run",
            "7A33-C5B8-90E2",
            "CPU Allocation Time",
            "second",
            "0.0036118",
            "Service",
            "run-",
        ),
    },
    workloads=(
        Workload("n2", "japan-production", "line-control", "prod", 9600),
        Workload("bq", "japan-production", "yield-analysis", "prod", 17),
        Workload("pubsub", "japan-production", "line-control", "prod", 3),
        Workload("run", "japan-sales", "dealer-portal", "prod", 4_950_000),
        Workload("n2", "osaka-service", "service-desk", "prod", 2700),
        Workload("gcs", "osaka-service", "service-desk", "prod", 88_000, 0),
        Workload("run", "osaka-service", "service-desk", "test", 610_000, 7),
        Workload("gcs", "", "", "", 4100, 7),
    ),
)

PROVIDERS = {provider.key: provider for provider in (AWS, MICROSOFT, GOOGLE)}
