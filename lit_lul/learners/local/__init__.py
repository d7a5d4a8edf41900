"""Local plasticity: rules whose update of a weight sees what its two units see."""
