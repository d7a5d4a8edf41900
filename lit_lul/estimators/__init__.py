"""From an unroll and its score to a gradient of θ."""
