collect_ignore = ["suite"]
