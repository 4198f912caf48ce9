"""What pictures of curvature mark, beside a planted surface and a planted spectrum."""

import jax
import jax.numpy as jnp
import matplotlib.figure
import numpy as np
import pytest

from tricks import curvature
from tricks.curvature import Surface
from tricks.diagnosis import pictures
from tricks.diagnosis.spectrum import picture_length


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda figure, path, dpi: figures.append(figure))
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
