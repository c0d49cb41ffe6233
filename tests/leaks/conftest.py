from helpers.drop_in import few_plugins

collect_ignore = ["suite"]
