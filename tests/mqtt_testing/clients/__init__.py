"""Clients on loan, a monitor of everything that is published, a clean broker a test."""
