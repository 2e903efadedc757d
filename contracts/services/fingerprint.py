"""The fingerprint of what both sides sign, and approvers decide on (CON-02, APR-05)."""

import hashlib
import json
from typing import Any

from contracts.models import Contract, ContractAmendment
from contracts.selectors.contract import agreement_of


def contract_content(contract: Contract) -> dict[str, Any]:
    """Everything of a contract that is agreed on, fit for JSON. What is confidential is in it as a hash only."""
    agreement = agreement_of(contract)
    secret = contract.confidential_terms
    return {
        "title": contract.title,
        "contract_type": contract.contract_type,
        "entity_id": contract.entity_id,
        "issuer_id": contract.issuer_id,
        "parent_id": contract.parent_id,
        "predecessor_id": contract.predecessor_id,
        "is_retroactive": contract.is_retroactive,
        "conditions": agreement.conditions.as_json(),
        "prices": [line.as_json() for line in agreement.prices],
        "sla": [line.as_json() for line in agreement.sla],
        "confidential_terms": hashlib.sha256(secret.encode()).hexdigest() if secret else "",
    }


def amendment_content(amendment: ContractAmendment) -> dict[str, Any]:
    """Everything of an amendment that is agreed on."""
    return {
        "contract_id": amendment.contract_id,
        "title": amendment.title,
        "effective_from": amendment.effective_from.isoformat(),
        "is_retroactive": amendment.is_retroactive,
        "changes": amendment.changes,
    }


def fingerprint(content: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def contract_fingerprint(contract: Contract) -> str:
    """The fingerprint of a contract as it stands."""
    return fingerprint(contract_content(contract))


def amendment_fingerprint(amendment: ContractAmendment) -> str:
    """The fingerprint of an amendment as it stands."""
    return fingerprint(amendment_content(amendment))
