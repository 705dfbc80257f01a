"""The zoo: one short file for each family of networks."""
