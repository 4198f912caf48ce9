"""The cost model of steps on several devices finds planted costs, and says what its formula says."""

import sys

import numpy as np
import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from benchmarks import scale_model
from benchmarks.scale_model import Cluster, Parts, Work
from benchmarks.scale_points import BATCHES, LAYOUTS, WIDTHS, Layout, Point

_COSTS = np.array([5e-12, 2e-9, 5e-4, 1e-9, 1e-10, 2e-4, 3e-10, 1e-2, 6e-10])


@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_points_tell_the_rest(seed):
    points = [Point(layout, width, batch) for layout in LAYOUTS for width in WIDTHS for batch in BATCHES]
    costs = _COSTS * np.random.default_rng(seed).uniform(0.3, 3, len(_COSTS))
    spent = {point: scale_model.terms(point, cores=2) @ costs for point in points}
    half = {point: spent[point] for place, point in enumerate(points) if (place + place // 4) % 2 == 0}
    found = scale_model.fit(half, cores=2)
    for point in points:
        assert scale_model.predicted(point, found, cores=2) == pytest.approx(spent[point], rel=1e-6)


def test_terms_of_a_point_by_hand():
    # 784-2-2-10: 785 * 2 + 3 * 2 + 3 * 10 parameters; an example takes 2 (2 784 2 + 3 2 2 + 3 10 2) operations.
    assert Point(Layout(1, 1), 2, 6).parameters == 1606
    inside = scale_model.terms(Point(Layout(1, 4), 2, 6), cores=2)
    np.testing.assert_allclose(inside, [6416 * 6 / 2, 784 * 6 * 5 / 8, 1, 1606 * 2, 0, 3, 4 * 1606 * 3, 0, 0])
    between = scale_model.terms(Point(Layout(4, 1), 2, 6), cores=2)
    np.testing.assert_allclose(between[5:], [0, 0, 3, 4 * 1606 * 2 * 3 / 2])
    # The weights and averages of two devices at once fit into no cache, four times one after another.
    beyond = scale_model.terms(Point(Layout(1, 8), 4096, 512), cores=2)[4]
    assert beyond == 4 * (16 * 2 * Point(Layout(1, 8), 4096, 512).parameters - scale_model.cache_bytes())
    alone = scale_model.terms(Point(Layout(1, 1), 4096, 512), cores=2)[4]
    assert alone == 16 * Point(Layout(1, 1), 4096, 512).parameters - scale_model.cache_bytes()


def test_a_cluster_by_hand():
    cluster = Cluster(operations=1e12, memory=1e9, step=1e-3, of_host=2, within=4e9, between=1e9, hop=1e-6)
    one = scale_model.on_cluster(Work(1e6, 100, 3), 1, cluster)
    assert one == pytest.approx(Parts(6e-4, 0.028, 0, 0))
    # Within a host: 2 (n - 1) / n = 1 of 4 MB at 4 GB/s; one reduction of two messages.
    assert scale_model.on_cluster(Work(1e6, 100, 3), 2, cluster)[2:] == pytest.approx((1e-3, 2e-6))
    # Beyond it 1.5 of them at 1 GB/s; batch normalization adds four reductions for each of two layers.
    several = scale_model.on_cluster(Work(1e6, 100, 3, batch_norm=True), 4, cluster)
    assert several == pytest.approx(Parts(1.5e-4, 0.028, 6e-3, 9 * 2 * 2 * 1e-6))
    assert several.total == pytest.approx(0.034186)
