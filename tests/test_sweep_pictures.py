"""Pictures and tables of sweeps of every kind are drawn, and say what the rows say."""

import itertools

import pytest

from tricks.training.sweeps import picture, table
from tricks.training.sweeps.results import Results


def _results(factors: dict, seeds=2, diverged=(), metric="loss", worth=lambda *values: 1.0):
    rows = []
    for number, values in enumerate(itertools.product(*factors.values())):
        for seed in range(seeds):
            bad = number in diverged
            value = None if bad else worth(*values) * (1 + 0.1 * seed)
            rows.append(
                {
                    "lane": len(rows),
                    "setting": number,
                    **dict(zip(factors, values, strict=True)),
                    "seed": seed,
                    "status": "diverged" if bad else "completed",
                    f"best_validation_{metric}": value,
                    f"best_test_{metric}": value,
                }
            )
    return Results(rows, tuple(factors), metric, metric == "loss", interrupted=False)


_RATES = [10.0**n for n in range(-4, 1)]
_CASES = {
    "one number": {"factors": {"a.rate": _RATES}, "worth": lambda rate: rate},
    "one word": {"factors": {"a.name": ["x", "y"]}},
    "one setting": {"factors": {"a.rate": [0.1]}, "seeds": 1},
    "two": {"factors": {"a.rate": _RATES, "b": [0.0, 0.5]}, "worth": lambda rate, b: 1 + b, "metric": "accuracy"},
    "two of which many diverged": {"factors": {"a.rate": _RATES, "b": [(8,), (8, 8)]}, "diverged": (0, 1, 2, 9)},
    "three": {"factors": {"a.rate": _RATES, "b": [True, False], "c": [None, "x"]}, "worth": lambda r, b, c: r},
    "five": {"factors": {"a.rate": _RATES, **{letter: [1, 2] for letter in "bcde"}}, "diverged": (3,)},
    "no factor": {"factors": {}, "seeds": 4},
    "zero beside decades": {"factors": {"a.l2": [0.0, 1e-5, 1e-3, 0.1]}, "diverged": (3,)},
    "diverged at the end": {"factors": {"a.rate": [1e-3, 1e-2, 1e30]}, "diverged": (2,)},
    "paths": {"factors": {"model.build": [f"a/long/path/to/net{n}.py:build" for n in range(6)]}},
    "all diverged": {"factors": {"a.rate": _RATES}, "diverged": range(5)},
}


@pytest.mark.parametrize("case", _CASES)
def test_a_picture_of_every_kind(tmp_path, case):
    picture.draw(tmp_path, _results(**_CASES[case]), title=case)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sweep.png").stat().st_size > 8_000
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.png"]


@pytest.mark.parametrize("case", _CASES)
def test_a_table_is_no_wider_than_a_terminal(case):
    text = table.text(_results(**_CASES[case]))
    assert max(map(len, text.splitlines())) < 80


def test_a_table_says_what_the_rows_say():
    lines = table.text(_results({"a.rate": [1.0, 2.0, 3.0]}, diverged=(0,), worth=lambda rate: rate)).splitlines()
    # Mean of 2 and 2.2; t of 97.5 % with one degree of freedom is 12.7, times 0.1.
    assert lines[2].split() == ["2-3", "2", "2.1000", "±", "1.3", "2.1000", "±", "1.3"]
    assert lines[3].split()[:3] == ["4-5", "3", "3.1500"]
    assert "1 more settings in results.csv" in lines
    assert "2 of 6 lanes diverged" in lines
    assert lines[-1].startswith("differences in validation loss, by rank, are explained by: rate ")
    best = table.text(
        _results({"a.rate": [0.2, 0.3]}, metric="accuracy", seeds=1, worth=lambda rate: rate)
    ).splitlines()
    assert best[2].split() == ["1", "0.3", "30.00%", "30.00%"]
