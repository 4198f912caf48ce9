"""The lectures' claims, each as an experiment that measures it and says whether it holds.

`load("taylor")` is one of `NAMES`, with its claim, its runs, its rule and its drawing.
"""

from tricks.lectures.common.experiment import CHAPTERS, NAMES, load

__all__ = ["CHAPTERS", "NAMES", "load"]
