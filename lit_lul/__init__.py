"""lit_lul: meta-train unsupervised learning rules, and use them."""
