"""TensorRT and TensorRT-RTX. Files of the same name do the same in every runtime's folder."""
