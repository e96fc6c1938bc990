collect_ignore = ["typed_scripts"]  # they hold mistakes on purpose
