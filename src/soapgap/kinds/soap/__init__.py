"""`soap`: one kernel per centre species."""
