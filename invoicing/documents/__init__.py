"""Documents as people read them: the content of an invoice's pages, its PDF, and where that is kept (INV-09)."""
