"""The ledger: what the roots hold, what results need, and what may be deleted."""
