"""Words or photos -> embeddings: exported once as ONNX graphs, run one listing a call, cached by content."""
