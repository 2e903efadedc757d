"""What invoicing contributes to the sample group: FOCUS files, mapping rules, imports and invoices."""
