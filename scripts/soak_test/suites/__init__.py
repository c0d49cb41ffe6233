"""The tests that the parts run; each is copied to a repository of its own."""
