"""The mind: DreamerV3 for vector observations. It knows no game, no network and no files but its checkpoints."""
