"""The lectures' claims, each as an experiment that measures it and says whether it holds."""
