"""An ONNX graph as a torch module, by a table of operations of our own."""
