"""What is timed, in what arrangements of devices."""

from typing import NamedTuple

INPUTS, CLASSES, EXAMPLES, STEPS = 784, 10, 16_384, 4
WIDTHS, BATCHES = (128, 256, 512, 1024), (512, 1024, 2048, 4096)


class Layout(NamedTuple):
    """Devices of a job."""

    processes: int
    devices: int
    """Of each process."""

    @property
    def total(self) -> int:
        """Devices of all processes."""
        return self.processes * self.devices


LAYOUTS = (Layout(1, 1), Layout(1, 2), Layout(1, 4), Layout(1, 8), Layout(2, 1), Layout(4, 1))


class Point(NamedTuple):
    """One arrangement with one size of the step."""

    layout: Layout
    width: int
    batch: int

    @property
    def parameters(self) -> int:
        """Of the network."""
        w = self.width
        return (INPUTS + 1) * w + (w + 1) * w + (w + 1) * CLASSES
