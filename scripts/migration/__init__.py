"""The migration checklist and the rollback plan, for repositories that nobody here has seen."""
