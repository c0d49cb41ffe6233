"""The same tests with the original and with the fast fixture, timed side by side."""
