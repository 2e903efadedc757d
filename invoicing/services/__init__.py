"""Every write of invoicing: one keyword-only function per use case."""
