"""Functions of the corpus that its configs name."""
