"""The document as UN/CEFACT Cross Industry Invoice, profile EN 16931: the XML within a Factur-X or ZUGFeRD file."""

import datetime

from entities.models import TaxTreatment
from invoicing.einvoice.model import EMAIL, ONE_UNIT, EInvoice, Line, Party, TaxBreakdown
from invoicing.einvoice.xml import XMLWriter

PROFILE = "urn:cen.eu:en16931:2017"
_NAMES = "urn:un:unece:uncefact:data:standard:"
_NAMESPACES = {
    "rsm": f"{_NAMES}CrossIndustryInvoice:100",
    "ram": f"{_NAMES}ReusableAggregateBusinessInformationEntity:100",
    "qdt": f"{_NAMES}QualifiedDataType:100",
    "udt": f"{_NAMES}UnqualifiedDataType:100",
}
_DAY = "102"


def cii_xml(document: EInvoice) -> bytes:
    """Return the document as CII."""
    return _CII(document).write()


class _CII:
    def __init__(self, document: EInvoice) -> None:
        self.document = document
        self.xml = XMLWriter("rsm:CrossIndustryInvoice", _NAMESPACES, document.currency)

    def write(self) -> bytes:
        xml, document = self.xml, self.document
        with (
            xml.inside("rsm:ExchangedDocumentContext"),
            xml.inside("ram:GuidelineSpecifiedDocumentContextParameter"),
        ):
            xml.text("ram:ID", PROFILE)
        with xml.inside("rsm:ExchangedDocument"):
            xml.text("ram:ID", document.number)
            xml.text("ram:TypeCode", document.type_code)
            self._day("ram:IssueDateTime", document.issue_date)
            with xml.inside("ram:IncludedNote"):
                xml.text("ram:Content", document.note)
        with xml.inside("rsm:SupplyChainTradeTransaction"):
            for line in document.lines:
                self._line(line)
            with xml.inside("ram:ApplicableHeaderTradeAgreement"):
                xml.text("ram:BuyerReference", document.buyer_reference)
                self._party("ram:SellerTradeParty", document.seller)
                self._party("ram:BuyerTradeParty", document.buyer)
            xml.empty("ram:ApplicableHeaderTradeDelivery")
            with xml.inside("ram:ApplicableHeaderTradeSettlement"):
                self._settlement()
        return xml.finish()

    def _day(self, name: str, day: datetime.date | None, kind: str = "udt") -> None:
        if day is not None:
            with self.xml.inside(name):
                self.xml.text(f"{kind}:DateTimeString", f"{day:%Y%m%d}", format=_DAY)

    def _period(self, start: datetime.date, end: datetime.date) -> None:
        with self.xml.inside("ram:BillingSpecifiedPeriod"):
            self._day("ram:StartDateTime", start)
            self._day("ram:EndDateTime", end)

    def _line(self, line: Line) -> None:
        xml = self.xml
        with xml.inside("ram:IncludedSupplyChainTradeLineItem"):
            with xml.inside("ram:AssociatedDocumentLineDocument"):
                xml.text("ram:LineID", line.number)
                with xml.inside("ram:IncludedNote"):
                    xml.text("ram:Content", line.note)
            with xml.inside("ram:SpecifiedTradeProduct"):
                xml.text("ram:Name", line.name)
                for name, value in line.attributes:
                    with xml.inside("ram:ApplicableProductCharacteristic"):
                        xml.text("ram:Description", name)
                        xml.text("ram:Value", value)
            with xml.inside("ram:SpecifiedLineTradeAgreement"), xml.inside("ram:NetPriceProductTradePrice"):
                xml.amount("ram:ChargeAmount", line.price)
            with xml.inside("ram:SpecifiedLineTradeDelivery"):
                xml.text("ram:BilledQuantity", str(line.quantity), unitCode=ONE_UNIT)
            with xml.inside("ram:SpecifiedLineTradeSettlement"):
                with xml.inside("ram:ApplicableTradeTax"):
                    xml.text("ram:TypeCode", "VAT")
                    xml.text("ram:CategoryCode", line.category)
                    if line.category != TaxTreatment.OUT_OF_SCOPE:
                        xml.number("ram:RateApplicablePercent", line.rate)
                self._period(line.start, line.end)
                with xml.inside("ram:SpecifiedTradeSettlementLineMonetarySummation"):
                    xml.amount("ram:LineTotalAmount", line.amount)
                with xml.inside("ram:ReceivableSpecifiedTradeAccountingAccount"):
                    xml.text("ram:ID", line.account)

    def _party(self, name: str, party: Party) -> None:
        xml = self.xml
        with xml.inside(name):
            xml.text("ram:ID", party.identifier)
            xml.text("ram:Name", party.name)
            with xml.inside("ram:SpecifiedLegalOrganization"):
                xml.text("ram:ID", party.registration)
            with xml.inside("ram:PostalTradeAddress"):
                xml.text("ram:PostcodeCode", party.postal_code)
                xml.text("ram:LineOne", party.street)
                xml.text("ram:CityName", party.city)
                xml.text("ram:CountryID", party.country)
                xml.text("ram:CountrySubDivisionName", party.region)
            with xml.inside("ram:URIUniversalCommunication"):
                xml.text("ram:URIID", party.email, schemeID=EMAIL)
            for scheme, number in (("VA", party.vat_id), ("FC", party.tax_registration)):
                with xml.inside("ram:SpecifiedTaxRegistration"):
                    xml.text("ram:ID", number, schemeID=scheme)

    def _settlement(self) -> None:
        xml, document = self.xml, self.document
        account = document.account
        if account is not None:
            xml.text("ram:PaymentReference", account.remittance)
        xml.text("ram:InvoiceCurrencyCode", document.currency)
        if account is not None:
            with xml.inside("ram:SpecifiedTradeSettlementPaymentMeans"):
                xml.text("ram:TypeCode", account.means)
                with xml.inside("ram:PayeePartyCreditorFinancialAccount"):
                    xml.text("ram:IBANID", account.iban)
                    xml.text("ram:AccountName", account.holder)
                with xml.inside("ram:PayeeSpecifiedCreditorFinancialInstitution"):
                    xml.text("ram:BICID", account.bic)
        for row in document.taxes:
            self._tax(row)
        self._period(document.period_start, document.period_end)
        with xml.inside("ram:SpecifiedTradePaymentTerms"):
            xml.text("ram:Description", document.terms)
            self._day("ram:DueDateDateTime", document.due_date)
        with xml.inside("ram:SpecifiedTradeSettlementHeaderMonetarySummation"):
            xml.amount("ram:LineTotalAmount", document.net)
            xml.amount("ram:TaxBasisTotalAmount", document.net)
            xml.amount("ram:TaxTotalAmount", document.tax, currencyID=document.currency)
            xml.amount("ram:GrandTotalAmount", document.total)
            xml.amount("ram:DuePayableAmount", document.total)
        if document.preceding is not None:
            with xml.inside("ram:InvoiceReferencedDocument"):
                xml.text("ram:IssuerAssignedID", document.preceding.number)
                self._day("ram:FormattedIssueDateTime", document.preceding.issue_date, "qdt")

    def _tax(self, row: TaxBreakdown) -> None:
        xml = self.xml
        with xml.inside("ram:ApplicableTradeTax"):
            xml.amount("ram:CalculatedAmount", row.tax)
            xml.text("ram:TypeCode", "VAT")
            xml.text("ram:ExemptionReason", row.reason)
            xml.amount("ram:BasisAmount", row.taxable)
            xml.text("ram:CategoryCode", row.category)
            xml.text("ram:ExemptionReasonCode", row.reason_code)
            if row.category != TaxTreatment.OUT_OF_SCOPE:
                xml.number("ram:RateApplicablePercent", row.rate)
