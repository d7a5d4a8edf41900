"""The data that tasks are drawn from: rendered characters, image datasets and texts, cached."""
