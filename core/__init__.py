"""What every app shares: user, money, clock, encryption, history, outbox, notifications, idempotency, errors."""
