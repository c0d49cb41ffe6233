"""Services, built fast in place of slow fixtures, of which nothing is left after a test."""
