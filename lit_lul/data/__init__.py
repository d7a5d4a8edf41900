"""Arrays that tasks are made of, and where they come from."""
