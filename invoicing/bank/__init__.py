"""Reading what banks send: CAMT.053 and CSV. Nothing here writes."""
