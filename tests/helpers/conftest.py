# Repositories of others, which are copied and run there.
collect_ignore = ["adopted"]
