"""What pictures mark: of planted surfaces, spectra and runs."""

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest

from tricks import curvature
from tricks.curvature import Surface
from tricks.diagnosis import pictures
from tricks.diagnosis.spectrum import picture_length
from tricks.training import curves
from tricks.training.records import Record


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, all with a height that is legible on a slide."""
    figures = []

    def savefig(figure, path, dpi):
        assert figure.get_figheight() * dpi in (528, 600, 624)
        figures.append(figure)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    return figures


def test_the_surface_marks_the_point_and_where_the_loss_is_lowest(drawn):
    first, second = np.linspace(-1, 1, 5), np.linspace(-1, 1, 7)
    # One falls to the right, by 3 at its end; the other rises both ways.
    losses = 10 - np.where(first > 0, 3 * first, -first)[None] + second[:, None] ** 2
    surface = Surface(jnp.asarray(first), jnp.asarray(second), jnp.asarray(losses))
    pictures.draw_surface(surface, "nowhere", title="planted", names=("u", "v"), lengths=(2.0, 0.5))
    flat, solid = drawn[0].axes
    marked = {line.get_label(): line.get_xydata()[0].tolist() for line in flat.lines}
    assert marked == {"the point: 10": [0, 0], "the way out: 7": [2, 0]}
    assert [axis.get_xlabel() for axis in (flat, solid)] == ["u", "u"]
    heights = np.asarray(solid.lines[1].get_data_3d()[2])
    np.testing.assert_allclose(heights, np.interp(np.linspace(0, 1, 50), first, losses[3]), atol=1e-9)
    figure, legend = drawn[0], flat.get_legend()
    figure.draw_without_rendering()
    box, below = legend.get_window_extent(), flat.xaxis.get_label().get_window_extent()
    assert (box.x0 + box.x1) / 2 == pytest.approx(flat.bbox.x0 + flat.bbox.width / 2, abs=1)
    assert 0 <= box.y0 < box.y1 <= below.y0 + 1
    assert flat.get_xlim()[1] >= 2
    assert flat.get_ylim()[1] >= 0.5


def test_at_a_minimum_there_is_no_way_out(drawn):
    side = np.linspace(-1, 1, 5)
    bowl = Surface(jnp.asarray(side), jnp.asarray(side), jnp.asarray(side[:, None] ** 2 + side[None] ** 2))
    pictures.draw_surface(bowl, "nowhere", title="planted", names=("u", "v"), lengths=(1.0, 1.0))
    assert [line.get_label() for line in drawn[0].axes[0].lines] == ["the point: 0"]


def test_the_density_has_an_area_of_one_where_the_eigenvalues_are(drawn):
    values = jnp.array([-1.0, 2.0, 2.0, 5.0])
    point = curvature.classify(lambda w: jnp.sum(values * w**2) / 2, jnp.zeros(4), key=jax.random.key(0))
    pictures.draw_spectrum(point, "nowhere", title="planted")
    (axis,) = drawn[0].axes
    grid, density = axis.lines[0].get_data()
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)
    assert np.trapezoid(density[abs(grid - 2) < 0.5], grid[abs(grid - 2) < 0.5]) == pytest.approx(0.5, abs=0.02)
    assert axis.get_xlabel() == "eigenvalue of the Hessian"
    assert {line.get_label(): line.get_xdata()[0] for line in axis.lines[1:]} == {
        "zero": 0,
        "smallest: -1": pytest.approx(-1, abs=1e-5),
        "largest: 5": pytest.approx(5, abs=1e-5),
    }


@pytest.mark.parametrize(
    ("value", "loss", "params", "length"),
    [
        (-4.0, 2.0, 100.0, 1.0),  # A parabola of curvature 4 changes by 2 at 1.
        (4.0, -8.0, 100.0, 2.0),
        (4.0, 2.0, 0.5, 0.5),  # No further than the parameters are long,
        (4.0, 8.0, 0.0, 1.0),  # and where they are zero, 1.
        (0.0, 2.0, 3.0, 3.0),
    ],
)
def test_how_far_a_picture_goes(value, loss, params, length):
    assert picture_length(value, loss, jnp.array([params])) == pytest.approx(length)


def _curves(losses, drawn, **options):
    """Of two epochs of ten steps, trained in halves."""
    records = [Record(0, 0, "validation", {"loss": 5.0, "accuracy": 0.1})]
    for half, loss in enumerate(losses):
        step, epoch = 5 * (half + 1), half // 2 + 1
        records.append(Record(step, epoch, "train", {"loss": loss, "accuracy": 0.5, "learning_rate": 0.1 / step}))
        if half % 2:
            records.append(Record(step, epoch, "validation", {"loss": 5.0 - epoch, "accuracy": 0.2 * epoch}))
    for step, outcome, after in ((10, "escaped", 2.0), (15, "no lower loss", 4.0)):
        found = {"outcome": outcome, "loss": 4.0, "loss_after": after, "smallest_eigenvalue": -1.0, "products": 3}
        records.append(Record(step, step // 10, "escape", found))
    curves.draw(records, "nowhere", steps_per_epoch=10, title="planted", **options)
    return drawn[-1].axes


def test_the_curves_of_a_run_are_its_records(drawn):
    loss, accuracy, rate = _curves([7.0, 3.0, 2.0, 1.0], drawn, best_step=20)
    of_loss = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert of_loss == {
        "train": [[0.5, 5.0], [1.5, 1.5]],
        "validation": [[0, 5], [1, 4], [2, 3]],
        "saddle escape": [[1, 4], [1, 2]],
        "check, no way out": [[1.5, 4]],
        "best epoch": [[2, 0], [2, 1]],
    }
    of_accuracy = {line.get_label(): line.get_xydata()[-1].tolist() for line in accuracy.lines}
    assert of_accuracy == {"train": [1.5, 0.5], "validation": [2, 0.4], "best epoch": [2, 1]}
    np.testing.assert_allclose(rate.lines[0].get_xydata(), [[0.5, 0.02], [1, 0.01], [1.5, 1 / 150], [2, 0.005]])
    assert [axis.get_title() for axis in (loss, accuracy, rate)] == ["loss", "accuracy", "learning rate"]
    assert all(axis.get_xlabel() == "epoch" for axis in (loss, accuracy, rate))
    assert rate.get_ylim()[0] == 0


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (0.4, "log"), (0.0, "linear"), (-1.0, "linear")])
def test_losses_over_more_than_a_decade_are_on_a_logarithmic_axis(drawn, last, scale):
    assert _curves([5.0, 5.0, last, last], drawn, best_step=None)[0].get_yscale() == scale
