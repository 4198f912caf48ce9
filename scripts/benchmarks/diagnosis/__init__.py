"""A corpus of planted faults with healthy twins, and how often a diagnosis names them."""
