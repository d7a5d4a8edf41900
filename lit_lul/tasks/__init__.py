"""Tasks: the data sets on which update rules are meta-trained and evaluated."""
