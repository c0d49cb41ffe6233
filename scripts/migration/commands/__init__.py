"""What the script does, a file for each command that takes more than a few lines."""

DONE, LEFT_TO_DO, CANNOT = 0, 1, 2
