"""What people use instead, beside ours: the same tests, in turns."""
