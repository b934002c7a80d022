"""All that runs on a board: Python 3.6 or later, standard library, numpy, the board's runtime; nothing of edgekit."""
