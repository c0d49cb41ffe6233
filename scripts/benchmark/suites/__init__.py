"""The tests whose fixtures are timed; they are copied, and run, outside of this package."""
