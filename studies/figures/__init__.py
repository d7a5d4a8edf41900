"""The paper's figures for rules of this project, one module each."""
