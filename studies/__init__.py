"""Studies: what regenerates the paper's figures and the tables of this project."""
