"""What the commands share: how they measure, run pytest, and speak."""
