"""TensorRT on the board: engines are built where they run, kept with a record of how, and run."""
