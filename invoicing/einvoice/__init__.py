"""Invoices, credit and debit notes as data by EN 16931, the European standard: CII, UBL, and PDF with XML within."""
