"""Files: θ, φ, rows of tables, configurations; written atomically, never unpickled."""
