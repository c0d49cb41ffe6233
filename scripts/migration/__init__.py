"""The migration checklist and the rollback plan, for repositories that are not known here."""
