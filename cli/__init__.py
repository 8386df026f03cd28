"""The `berth` command: everything a person types. Each command imports what it runs only when it runs."""
