"""The document as UBL 2.1 by Peppol BIS Billing 3.0: an Invoice, or a CreditNote."""

import datetime
from decimal import Decimal

from entities.models import TaxTreatment
from invoicing.einvoice.model import EMAIL, ONE_UNIT, EInvoice, Line, Party, TaxBreakdown
from invoicing.einvoice.xml import XMLWriter

CUSTOMIZATION = "urn:cen.eu:en16931:2017#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0"
PROCESS = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"
_NAMES = "urn:oasis:names:specification:ubl:schema:xsd:"


def ubl_xml(document: EInvoice) -> bytes:
    """Return the document as UBL."""
    return _UBL(document).write()


class _UBL:
    def __init__(self, document: EInvoice) -> None:
        self.document = document
        self.kind = "CreditNote" if document.is_credit_note else "Invoice"
        namespaces = {
            "": f"{_NAMES}{self.kind}-2",
            "cac": f"{_NAMES}CommonAggregateComponents-2",
            "cbc": f"{_NAMES}CommonBasicComponents-2",
        }
        self.xml = XMLWriter(self.kind, namespaces, document.currency)

    def write(self) -> bytes:
        xml, document = self.xml, self.document
        xml.text("cbc:CustomizationID", CUSTOMIZATION)
        xml.text("cbc:ProfileID", PROCESS)
        xml.text("cbc:ID", document.number)
        xml.date("cbc:IssueDate", document.issue_date)
        if not document.is_credit_note:
            xml.date("cbc:DueDate", document.due_date)
        xml.text(f"cbc:{self.kind}TypeCode", document.type_code)
        xml.text("cbc:Note", document.note)
        xml.text("cbc:DocumentCurrencyCode", document.currency)
        xml.text("cbc:BuyerReference", document.buyer_reference)
        self._period(document.period_start, document.period_end)
        if document.preceding is not None:
            with xml.inside("cac:BillingReference"), xml.inside("cac:InvoiceDocumentReference"):
                xml.text("cbc:ID", document.preceding.number)
                xml.date("cbc:IssueDate", document.preceding.issue_date)
        self._party("cac:AccountingSupplierParty", document.seller)
        self._party("cac:AccountingCustomerParty", document.buyer)
        self._payment()
        with xml.inside("cac:TaxTotal"):
            self._amount("cbc:TaxAmount", document.tax)
            for row in document.taxes:
                self._tax(row)
        with xml.inside("cac:LegalMonetaryTotal"):
            self._amount("cbc:LineExtensionAmount", document.net)
            self._amount("cbc:TaxExclusiveAmount", document.net)
            self._amount("cbc:TaxInclusiveAmount", document.total)
            self._amount("cbc:PayableAmount", document.total)
        for line in document.lines:
            self._line(line)
        return xml.finish()

    def _amount(self, name: str, value: Decimal) -> None:
        self.xml.amount(name, value, currencyID=self.document.currency)

    def _period(self, start: datetime.date, end: datetime.date) -> None:
        with self.xml.inside("cac:InvoicePeriod"):
            self.xml.date("cbc:StartDate", start)
            self.xml.date("cbc:EndDate", end)

    def _party(self, name: str, party: Party) -> None:
        xml = self.xml
        with xml.inside(name), xml.inside("cac:Party"):
            xml.text("cbc:EndpointID", party.email, schemeID=EMAIL)
            with xml.inside("cac:PartyIdentification"):
                xml.text("cbc:ID", party.identifier)
            with xml.inside("cac:PostalAddress"):
                xml.text("cbc:StreetName", party.street)
                xml.text("cbc:CityName", party.city)
                xml.text("cbc:PostalZone", party.postal_code)
                xml.text("cbc:CountrySubentity", party.region)
                with xml.inside("cac:Country"):
                    xml.text("cbc:IdentificationCode", party.country)
            for scheme, number in (("VAT", party.vat_id), ("TAX", party.tax_registration)):
                if number:
                    with xml.inside("cac:PartyTaxScheme"):
                        xml.text("cbc:CompanyID", number)
                        self._scheme(scheme)
            with xml.inside("cac:PartyLegalEntity"):
                xml.text("cbc:RegistrationName", party.name)
                xml.text("cbc:CompanyID", party.registration)

    def _scheme(self, scheme: str = "VAT") -> None:
        with self.xml.inside("cac:TaxScheme"):
            self.xml.text("cbc:ID", scheme)

    def _payment(self) -> None:
        xml, document = self.xml, self.document
        account = document.account
        if account is not None:
            with xml.inside("cac:PaymentMeans"):
                xml.text("cbc:PaymentMeansCode", account.means)
                xml.text("cbc:PaymentID", account.remittance)
                with xml.inside("cac:PayeeFinancialAccount"):
                    xml.text("cbc:ID", account.iban)
                    xml.text("cbc:Name", account.holder)
                    with xml.inside("cac:FinancialInstitutionBranch"):
                        xml.text("cbc:ID", account.bic)
        with xml.inside("cac:PaymentTerms"):
            xml.text("cbc:Note", document.terms)

    def _tax(self, row: TaxBreakdown) -> None:
        xml = self.xml
        with xml.inside("cac:TaxSubtotal"):
            self._amount("cbc:TaxableAmount", row.taxable)
            self._amount("cbc:TaxAmount", row.tax)
            with xml.inside("cac:TaxCategory"):
                xml.text("cbc:ID", row.category)
                self._rate(row.category, row.rate)
                xml.text("cbc:TaxExemptionReasonCode", row.reason_code)
                xml.text("cbc:TaxExemptionReason", row.reason)
                self._scheme()

    def _rate(self, category: str, rate: Decimal) -> None:
        if category != TaxTreatment.OUT_OF_SCOPE:
            self.xml.number("cbc:Percent", rate)

    def _line(self, line: Line) -> None:
        xml = self.xml
        quantity = "CreditedQuantity" if self.document.is_credit_note else "InvoicedQuantity"
        with xml.inside(f"cac:{self.kind}Line"):
            xml.text("cbc:ID", line.number)
            xml.text("cbc:Note", line.note)
            xml.text(f"cbc:{quantity}", str(line.quantity), unitCode=ONE_UNIT)
            self._amount("cbc:LineExtensionAmount", line.amount)
            xml.text("cbc:AccountingCost", line.account)
            self._period(line.start, line.end)
            with xml.inside("cac:Item"):
                xml.text("cbc:Name", line.name)
                with xml.inside("cac:ClassifiedTaxCategory"):
                    xml.text("cbc:ID", line.category)
                    self._rate(line.category, line.rate)
                    self._scheme()
                for name, value in line.attributes:
                    with xml.inside("cac:AdditionalItemProperty"):
                        xml.text("cbc:Name", name)
                        xml.text("cbc:Value", value)
            with xml.inside("cac:Price"):
                self._amount("cbc:PriceAmount", line.price)
