"""The second rules, on data for which they say something else than the first ones."""

import copy
import json
import math
import os

import numpy as np
import pytest

from conftest import run_python
from lectures_known.batches import KNOWN as BATCHES
from lectures_known.losses import KNOWN as LOSSES
from lectures_known.optimizers import KNOWN as OPTIMIZERS
from lectures_known.regularization import KNOWN as REGULARIZATION
from tricks.errors import UserError
from tricks.lectures import (
    adaptive_rates,
    bias_or_optimization,
    feature_scaling,
    momentum_escapes,
    rate_decay,
    sharp_minima,
)
from tricks.lectures.common import experiment as experiments
from tricks.lectures.common import page, results
from tricks.lectures.common.experiment import Effort

_KNOWN = BATCHES | LOSSES | OPTIMIZERS | REGULARIZATION


@pytest.mark.parametrize("name", _KNOWN)
def test_whoever_has_a_second_rule_gives_its_verdict(name):
    experiment = experiments.load(name)
    for data in _KNOWN[name].values():
        second = experiment.judge(data).second
        assert (second is not None) == bool(experiment.claim.second_rule)
        if second is not None:
            assert second.verdict in ("supported", "refuted", "inconclusive")
            assert second.interval[0] <= second.measured <= second.interval[1]


def test_both_verdicts_are_kept_and_told(tmp_path):
    experiment = experiments.load("momentum_escapes")
    result = results.reproduce(experiment, Effort(True, "digits"), tmp_path, lambda text: None, version="1")
    second = result["second"]
    assert second["rule"] == experiment.claim.second_rule
    written = page.page([result], tmp_path)
    assert "A second rule, written after that result." in written
    assert f"<b>{page.number(second)}</b>" in written
    plain = results.reproduce(
        experiments.load("toy_saddle"), Effort(True, "digits"), tmp_path, lambda text: None, version="1"
    )
    assert plain["second"] is None
    assert "A second rule" not in page.page([plain], tmp_path)


def test_who_touches_the_goal_and_leaves_it_has_not_arrived():
    data = copy.deepcopy(OPTIMIZERS["adaptive_rates"]["supported"])
    stays = adaptive_rates.judge(data).second
    # 8000 of gradient descent over 200.
    assert stays.verdict == "supported"
    assert stays.measured == pytest.approx(40, rel=0.01)
    for row in data["stayed"]["root mean square"]:
        row[:] = [data["most"]] * len(row)
    found = adaptive_rates.judge(data)
    assert (found.verdict, found.second.verdict) == ("supported", "refuted")


@pytest.mark.parametrize(
    ("without", "with_decay", "verdict"),
    [
        ([0.5] * 24, [1e-6] * 24, "supported"),
        ([0.5] * 24, [0.05] * 24, "supported"),  # Ten times, which the first rule leaves open; none of these bursts.
        ([0.5] * 24, [0.11] * 24, "refuted"),
        ([0.09] * 24, [1e-6] * 24, "refuted"),
        ([0.5] * 14 + [0.01] * 10, [1e-6] * 24, "inconclusive"),
    ],
)
def test_bowls_that_burst_are_counted(without, with_decay, verdict):
    data = copy.deepcopy(OPTIMIZERS["rate_decay"]["supported"])
    data["bursts"]["root mean square, constant"] = without
    data["bursts"]["root mean square, inverse_sqrt"] = with_decay
    second = rate_decay.judge({**data, "ends": {name: [0.0] * 24 for name in data["ends"]}}).second
    assert second.verdict == verdict
    assert second.measured == pytest.approx(np.mean(np.array(without) > 0.1))


def _crossed(plain, usual):
    """Curves that are crossed from these places of the grid on."""
    decays = [plain, *[usual] * 8]
    return [[[int(place >= first) for first in decays] for place in range(26)]] * 6


@pytest.mark.parametrize(
    ("plain", "usual", "times", "verdict"),
    [
        (12, 1, 10**1.1, "supported"),
        (12, 3, 10**0.9, "refuted"),
        # None below the limit: it counts as the limit, not as the 1.6 times with which it crosses.
        (22, 9, 10**1.1, "supported"),
        (22, 11, 10**0.9, "refuted"),
        (22, 23, 1.0, "refuted"),
    ],
)
def test_the_smallest_rates_that_cross_are_compared(plain, usual, times, verdict):
    data = OPTIMIZERS["momentum_escapes"]["supported"]
    crossed = {"minimum": data["crossed"]["minimum"], "plateau": _crossed(plain, usual)}
    second = momentum_escapes.judge({**data, "crossed": crossed}).second
    assert second.verdict == verdict
    assert second.measured == pytest.approx(times, rel=1e-3)


def test_where_no_curve_stops_gradient_descent_nothing_is_said_of_momentum():
    data = OPTIMIZERS["momentum_escapes"]["supported"]
    found = momentum_escapes.judge({**data, "crossed": {**data["crossed"], "minimum": _crossed(0, 0)}})
    assert found.verdict == "inconclusive"
    assert found.sentence.startswith("No minimum stops gradient descent")


def test_runs_of_one_kind_are_one_case():
    found = bias_or_optimization.judge(REGULARIZATION["bias_or_optimization"]["supported"])
    # Wilson's interval of 5 of 5 reaches down to 5 / (5 + 1.96^2).
    assert (found.verdict, found.second.verdict) == ("supported", "inconclusive")
    assert found.second.interval == pytest.approx((5 / (5 + 1.959964**2), 1.0), abs=1e-3)
    found = bias_or_optimization.judge(REGULARIZATION["bias_or_optimization"]["inconclusive"])
    assert found.second.measured == pytest.approx(0.8)


def _scales(equal, unequal):
    """With the finer rates of both sets that work above 0.1, of the one seed and of the other."""
    data = copy.deepcopy(LOSSES["feature_scaling"]["refuted"])
    for of in data["sets"].values():
        of["first"]["unequal scales"] = [[None, None, 30, None]] * 2
        of["finer"] = {
            "equal scales": [[(rate, 0.05)] for rate in equal],
            "unequal scales": [[(rate, 0.05)] for rate in unequal],
        }
    return data


@pytest.mark.parametrize(
    ("equal", "unequal", "verdict"),
    [
        # Of 1 decade between coarse rates an eighth is a step, so that both ends may be a quarter off together.
        ((0.6, 0.6), (0.3, 0.3), "supported"),
        ((0.5, 0.5), (0.3, 0.3), "inconclusive"),
        ((0.3, 0.3), (0.6, 0.6), "refuted"),
        ((0.6, 0.3), (0.3, 0.6), "inconclusive"),
    ],
)
def test_the_reach_of_rates_is_counted_on_the_finer_grid(equal, unequal, verdict):
    data = _scales(equal, unequal)
    found = feature_scaling.judge(data)
    # On the coarse grid no decade is gained.
    assert found.verdict == "refuted"
    assert found.second.verdict == verdict
    gained = np.mean(np.log10(equal) - np.log10(unequal))
    assert found.second.measured == pytest.approx(gained, abs=1e-6)
    if equal[0] == equal[1]:
        assert found.second.interval == pytest.approx((gained - 0.25, gained + 0.25), abs=1e-6)
    # From 0.001 on, and a step.
    reach = feature_scaling._judge_reach(data, "images", "equal scales")
    assert reach == pytest.approx([math.log10(rate / 0.001) + 0.125 for rate in equal])


def test_the_finer_rates_lie_beside_the_ends_of_those_that_work():
    rates, level = [1e-3, 1e-2, 1e-1, 1.0], 0.5
    found = feature_scaling._between(rates, [None, 0.4, 0.6, None], level, 1.0)
    steps = np.arange(1, 8) / 8
    np.testing.assert_allclose(found, [*(1e-2 / 10**steps), *(1e-2 * 10**steps)])
    # Nothing lies beside the ends of the grid, and nothing where no rate works.
    assert feature_scaling._between(rates, [0.4] * 4, level, 1.0) == []
    assert feature_scaling._between(rates, [0.6, None, 0.6, 0.6], level, 1.0) == []


@pytest.mark.parametrize("name", ["feature_scaling", "batch_norm"])
def test_where_neither_side_arrives_nothing_is_concluded(name):
    data = copy.deepcopy(LOSSES[name]["refuted"])
    sets = [of for kind in data.get("runs", {}).values() for of in kind.values()] or data["sets"].values()
    for of in sets:
        firsts = of["first"].values() if isinstance(of["first"], dict) else [of["first"]]
        for rows in firsts:
            for row in rows:
                row[:] = [None] * len(row)
    found = experiments.load(name).judge(data)
    assert found.verdict == "inconclusive"
    if found.second is not None:
        assert found.second.verdict == "inconclusive"


def test_networks_that_learned_nothing_say_nothing_of_warmup():
    data = copy.deepcopy(OPTIMIZERS["warmup"]["refuted"])
    assert experiments.load("warmup").judge({**data, "accuracy": np.full((2, 5, 6), 0.1)}).verdict == "inconclusive"


def test_a_pair_that_never_comes_down_to_the_loss_leaves_it_open():
    data = copy.deepcopy(BATCHES["sharp_minima"]["refuted"])
    second = sharp_minima.judge(data).second
    assert second.verdict == "supported"
    data["losses"]["earlier"][0] = 2 * data["losses"]["small"][0] + 1
    found = sharp_minima.judge(data)
    assert found.second.verdict == "inconclusive"
    assert "In 1 of " in found.sentence


def test_a_burst_that_decay_does_not_prevent_is_not_told_as_settled():
    data = copy.deepcopy(OPTIMIZERS["rate_decay"]["refuted"])
    assert "where it counts as settled" not in rate_decay.judge(data).sentence
    assert "where it counts as settled" in rate_decay.judge(OPTIMIZERS["rate_decay"]["supported"]).sentence


def test_bounds_from_below_are_counted():
    data = OPTIMIZERS["momentum_escapes"]["supported"]
    # At the minimum gradient descent crosses from above the limit on: six bounds. At the plateau three of six curves
    # are crossed with the first rate of the grid by momentum of 0.9.
    crossed = {"minimum": _crossed(22, 5), "plateau": _crossed(12, 0)[:3] + _crossed(12, 1)[:3]}
    second = momentum_escapes.judge({**data, "crossed": crossed}).second
    assert second.effect.endswith("at least so much for 9 of 12 curves, where the grid ends")


def test_kept_runs_that_lack_something_are_no_missing_values(tmp_path):
    def reproduce():
        experiment = experiments.load("rate_decay")
        return results.reproduce(experiment, Effort(True, "digits"), tmp_path, lambda text: None, version="1")

    reproduce()
    file = tmp_path / "rate_decay" / "data.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "data": {**kept["data"], "bursts": {}}}))
    with pytest.raises(UserError, match=r"data\.json lacks what its experiment asks for \(.*\); remove it"):
        reproduce()
    file.write_text(json.dumps({**kept, "data": []}))
    with pytest.raises(UserError, match=r"data\.json is damaged \(its parts are of another kind\); remove it"):
        reproduce()


def test_a_process_that_times_updates_ends_with_the_one_that_waits_for_it():
    code = (
        "import os, sys, threading, time; from tricks.lectures.common import update_times as u\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        u._keep_settings({}); print(os.getpid(), flush=True); time.sleep(60)\n"
        "    time.sleep(1); os._exit(0)\n"
        "os.wait(); time.sleep(4)\n"
    )
    done = run_python("-c", code)
    assert done.status == 0, done
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.output), 0)
