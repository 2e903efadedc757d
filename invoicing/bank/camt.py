"""CAMT.053 (ISO 20022 bank to customer statement), versions 1 to 13: booked entries, batches split up.

Read with lxml, without entities, document types and network.
"""

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from lxml import etree

from core.errors import Invalid
from core.money import exact_sum, parse_amount
from invoicing.bank.rows import BankFile, BankRow, checked_row, refused

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:camt.053.001."
_UNNAMED = {"", "NOTPROVIDED", "NONREF"}


def is_camt(content: bytes) -> bool:
    """Whether it looks like XML."""
    return content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")


def read_camt(content: bytes) -> BankFile:
    """The booked entries of a file. Raises Invalid ``malformed_file``, ``not_camt_053``, ``several_accounts``."""
    root = _root(content)
    statements = _all(root, "BkToCstmrStmt/Stmt")
    if not statements:
        raise refused("not_camt_053", "It holds no statement (Stmt).", root.sourceline)
    accounts = {_account(statement) for statement in statements}
    if len(accounts) > 1:
        raise refused(
            "several_accounts",
            f"It holds statements of {len(accounts)} accounts. Ask the bank for one file per account.",
        )
    rows = [row for statement in statements for entry in _all(statement, "Ntry") for row in _rows(entry)]
    return BankFile(accounts.pop(), [checked_row(row) for row in rows])


def _root(content: bytes) -> Any:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        root = etree.fromstring(content.lstrip(b" \r\n\t"), parser)
    except etree.XMLSyntaxError as error:
        raise refused("malformed_file", f"It is no well-formed XML ({error.msg}).", error.lineno) from error
    if root.getroottree().docinfo.doctype:
        raise refused("malformed_file", "It carries a document type, which CAMT does not have.", 1)
    if not etree.QName(root).namespace or not str(etree.QName(root).namespace).startswith(NAMESPACE):
        raise refused(
            "not_camt_053",
            "It is XML, but no CAMT.053 statement. Ask the bank for CAMT.053 (end of day), or give a CSV file.",
            root.sourceline,
        )
    return root


def _all(node: Any, path: str) -> list[Any]:
    steps = "/".join(f"{{*}}{step}" for step in path.split("/"))
    return list(node.findall(steps))


def _text(node: Any, *paths: str) -> str:
    """The first text that one of the paths leads to."""
    for path in paths:
        for found in _all(node, path):
            text = " ".join((found.text or "").split())
            if text:
                return text
    return ""


def _account(statement: Any) -> str:
    return _text(statement, "Acct/Id/IBAN", "Acct/Id/Othr/Id").replace(" ", "").upper()


def _rows(entry: Any) -> Iterator[BankRow]:
    if _text(entry, "Sts/Cd", "Sts") not in ("BOOK", ""):
        return
    details = _all(entry, "NtryDtls/TxDtls")
    total = _amount(entry, "Amt")
    if len(details) <= 1:
        yield _row(entry, details[0] if details else entry, *total)
        return
    parts = [_amount(detail, "Amt", "AmtDtls/TxAmt/Amt") for detail in details]
    if (
        any(currency != total[1] for _, currency in parts)
        or exact_sum([part for part, _ in parts]) != total[0]
    ):
        # The details do not add up to what was booked (charges, another currency): the entry is what counts.
        yield _row(entry, entry, *total)
        return
    for detail, (amount, currency) in zip(details, parts, strict=True):
        yield _row(entry, detail, amount, currency)


def _amount(node: Any, *paths: str) -> tuple[Decimal, str]:
    for path in paths:
        for found in _all(node, path):
            try:
                return parse_amount((found.text or "").strip()), (found.get("Ccy") or "").upper()
            except Invalid as error:
                raise refused(error.code, error.message, found.sourceline) from error
    raise refused("malformed_file", "An entry has no amount (Amt).", node.sourceline)


def _row(entry: Any, detail: Any, amount: Decimal, currency: str) -> BankRow:
    direction = _text(detail, "CdtDbtInd") or _text(entry, "CdtDbtInd")
    if direction not in ("CRDT", "DBIT"):
        raise refused("malformed_file", "An entry is neither credit nor debit (CdtDbtInd).", entry.sourceline)
    arrived = direction == "CRDT"
    party = "Dbtr" if arrived else "Cdtr"
    texts = [" ".join((found.text or "").split()) for found in _all(detail, "RmtInf/Ustrd")]
    texts += [" ".join((found.text or "").split()) for found in _all(detail, "RmtInf/Strd/CdtrRefInf/Ref")]
    texts += [_text(detail, "RmtInf/Strd/AddtlRmtInf"), _text(detail, "Refs/EndToEndId")]
    texts = [text for text in texts if text.upper() not in _UNNAMED] or [_text(entry, "AddtlNtryInf")]
    reference = _text(detail, "Refs/AcctSvcrRef") or _text(entry, "AcctSvcrRef")
    return BankRow(
        line=detail.sourceline or entry.sourceline,
        booked_on=_day(entry),
        amount=amount if arrived else -amount,
        currency=currency,
        counterparty_name=_text(detail, f"RltdPties/{party}/Nm", f"RltdPties/{party}/Pty/Nm")[:200],
        counterparty_iban=_text(detail, f"RltdPties/{party}Acct/Id/IBAN").replace(" ", "").upper()[:34],
        text=" ".join(dict.fromkeys(texts))[:1000],
        bank_reference="" if reference.upper() in _UNNAMED else reference[:100],
    )


def _day(entry: Any) -> datetime.date:
    text = _text(entry, "BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm")
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError as error:
        raise refused("malformed_file", f"“{text}” is no booking date.", entry.sourceline) from error
