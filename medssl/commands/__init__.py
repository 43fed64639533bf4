"""One file a sub-command of ``medssl``: its parser, and what it prints."""
