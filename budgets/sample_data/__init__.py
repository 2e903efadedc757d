"""What budgets contributes to the sample group: budgets, charges, orders, and changes that wait for a decision."""
