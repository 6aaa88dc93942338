"""A step of play for programs without torch: as NumPy code and as ONNX, compared with the agent over whole rounds."""
