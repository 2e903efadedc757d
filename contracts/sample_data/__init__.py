"""What contracts contributes to the sample group: plans, and contracts in every state."""
