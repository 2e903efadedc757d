"""What disputes contribute to the sample group: a policy, and disputes in every state."""
