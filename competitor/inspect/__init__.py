"""How well an agent dreams: checks, held-out rounds, pictures."""
