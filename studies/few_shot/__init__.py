"""Studies of few-shot learners: how accurate they are, and what adapting to a task changes."""
