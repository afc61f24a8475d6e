"""The ledger: what the roots hold, what results need, what may go."""
