"""Each experiment's rule on data with a known answer, the statistics, and what is kept."""

import importlib
import json

import pytest

from tricks.lectures.common import experiment as experiments
from tricks.lectures.common import figures

_FILES = ("critical_points", "batches", "optimizers", "losses", "regularization")
KNOWN = {
    name: rows for file in _FILES for name, rows in importlib.import_module(f"lectures_known.{file}").KNOWN.items()
}
_CASES = [(name, verdict) for name, rows in KNOWN.items() for verdict in rows]


def _judged(name, verdict):
    data = json.loads(json.dumps(KNOWN[name][verdict]))  # As it is read from its file.
    return experiments.load(name), data


def test_every_experiment_has_data_of_both_verdicts():
    assert set(KNOWN) == set(experiments.NAMES)
    for name, rows in KNOWN.items():
        assert {"supported", "refuted"} <= set(rows) <= {"supported", "refuted", "inconclusive"}, name


@pytest.mark.parametrize(("name", "verdict"), _CASES)
def test_the_rule_finds_the_known_answer(name, verdict):
    experiment, data = _judged(name, verdict)
    found = experiment.judge(data)
    assert found.verdict == verdict
    assert found.interval[0] <= found.measured <= found.interval[1]
    assert found.sentence.endswith(".")
    assert found.effect
    json.dumps(dict(found.details))


@pytest.mark.parametrize(("name", "verdict"), _CASES)
def test_its_figure_has_names_of_a_legible_size(name, verdict, tmp_path):
    experiment, data = _judged(name, verdict)
    drawn = []

    def draw(data):
        drawn.append(experiment.draw(data))
        return drawn[0]

    figures.save(draw, data, tmp_path / name)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / f"{name}.svg").stat().st_size > 1000
    panels = [axis for axis in drawn[0].axes if axis.get_label() != "<colorbar>"]
    assert all(axis.get_xlabel() for axis in panels)
    assert any(axis.get_ylabel() for axis in panels)
    texts = [text for axis in panels for text in (axis.xaxis.label, axis.yaxis.label, axis.title)]
    assert all(text.get_fontsize() >= 11 for text in texts)
