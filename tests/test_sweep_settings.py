"""What is swept, from its text to lanes; how rungs choose; what factors explain."""

import json
import math

import numpy as np
import pytest

from tricks.config import Config, Option
from tricks.errors import UserError
from tricks.training.sweeps import factors, halving, ranges, settings
from tricks.training.sweeps.ranges import Range


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("0,0.2, 0.5", float, (0.0, 0.2, 0.5)),
        ("1e-4:1:log:5", float, (1e-4, 1e-3, 1e-2, 0.1, 1.0)),
        ("0:0.5:linear:3", float, (0.0, 0.25, 0.5)),
        ("-1:1:linear:3", float, (-1.0, 0.0, 1.0)),
        ("1e-4:1:log:4", float, (1e-4, 0.00215, 0.0464, 1.0)),
        ("1:1.001:linear:3", float, (1.0, 1.0005, 1.001)),
        ("1:8:log:4", int, (1, 2, 4, 8)),
        ("1:3:linear:9", int, (1, 2, 3)),
        ("16,1e2", int, (16, 100)),
        ("relu,tanh", str, ("relu", "tanh")),
        ("a.py:build,b.py:build", str, ("a.py:build", "b.py:build")),
        ("1:2:log:3", str, ("1:2:log:3",)),
        ("true,false", bool, (True, False)),
        ("64,32;128", tuple[int, ...], ((64, 32), (128,))),
        ("64,32", tuple[int, ...], ((64, 32),)),
        ("64;128", tuple[int, ...], ((64,), (128,))),
        ("4,gelu,true", Option, (4, "gelu", True)),
        ("2:8:linear:4", Option, (2.0, 4.0, 6.0, 8.0)),
    ],
)
def test_values_of_a_range(text, kind, values):
    found = ranges.parse("f", text, kind).values
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", float, "a value is missing"),
        ("0,,1", float, "a value is missing"),
        ("0,a", float, "has 'a'; it must be of type float"),
        ("0,nan", float, "has 'nan'"),
        ("1.5", int, "has '1.5'; it must be of type int"),
        ("maybe", bool, "has 'maybe'"),
        ("64,a", tuple[int, ...], "has '64,a'; give whole numbers"),
        ("0.1,0.2,0.1", float, "it has 0.1 twice"),
        ("1:0.1:log:4", float, "its low end must be below its high end"),
        ("1:1:log:4", float, "its low end must be below its high end"),
        ("0:1:log:4", float, "a logarithmic interval begins above 0"),
        ("-1:1:log:4", float, "a logarithmic interval begins above 0"),
        ("0:1:log", float, "allowed: a list such as"),
        ("0:1:cubic:3", float, "allowed: a list such as"),
        ("0:x:linear:3", float, "allowed: a list such as"),
        ("0:1:linear:3:4", float, "allowed: a list such as"),
        ("0:1:linear:1", float, "its count is '1': give 2 to 10000"),
        ("0:1:linear:x", float, "its count is 'x'"),
        ("1:2:linear:3", bool, "an interval is for numbers"),
    ],
)
def test_a_range_that_is_none_is_refused(text, kind, said):
    with pytest.raises(UserError, match=r"--sweep\.f ") as raised:
        ranges.parse("f", text, kind)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("optimizer.learning_rat", "is no field of the config; did you mean optimizer.learning_rate?"),
        ("seed", "give --seeds=N"),
        ("escape.enabled", "cannot be swept: a sweep trains many networks in one program, which leaves no saddles"),
        ("curvature.examples", "looks at no curvature"),
        ("diagnosis.every_epochs", "looks at no layers"),
        ("mesh.model", "divides its lanes among the devices"),
        ("checkpoint.every_epochs", "saves by itself"),
        ("data.placement", "keeps its examples on the device"),
        ("data.storage", "keeps its examples on the device"),
        ("data.shuffle_window", "keeps its examples on the device"),
        ("early_stopping.metric", "lanes are compared by it"),
        ("early_stopping.mode", "lanes are compared by it"),
        ("train.chunk_steps", "changes no result"),
    ],
)
def test_fields_that_cannot_be_swept_are_refused(field, said):
    with pytest.raises(UserError, match=rf"--sweep\.{field} ") as raised:
        settings.parse_ranges({field: "1,2"}, Config())
    assert said in str(raised.value)


def test_a_grid_has_every_combination_and_lanes_every_seed():
    config = Config()
    config.seed = 5
    swept = settings.parse_ranges({"model.dropout": "0,0.5", "train.epochs": "1,2,3"}, config)
    grid = settings.grid(swept)
    assert len(grid) == 6
    assert grid[1] == {"model.dropout": 0.0, "train.epochs": 2}
    lanes = settings.lanes(config, grid, seeds=2)
    assert [lane.number for lane in lanes] == list(range(12))
    assert [lane.setting for lane in lanes] == sorted([*range(6)] * 2)
    assert [lane.config.seed for lane in lanes] == [5, 6] * 6
    assert (lanes[7].config.model.dropout, lanes[7].config.train.epochs) == (0.5, 1)
    assert config.model.dropout == 0.0


def test_random_settings_fill_the_ranges_and_more_begin_with_fewer():
    texts = {"optimizer.learning_rate": "1e-4:1:log:2", "model.dropout": "0:0.5:linear:2", "data.batch_size": "16,32"}
    swept = settings.parse_ranges(texts, Config())
    many = settings.drawn(swept, 400, Config())
    assert many[:50] == settings.drawn(swept, 50, Config())
    rates = np.log10([setting["optimizer.learning_rate"] for setting in many])
    assert rates.min() > -4
    assert rates.max() < 0
    # A fourth of them in each decade, but for three standard deviations.
    assert np.abs(np.histogram(rates, 4, (-4, 0))[0] - 100).max() < 3 * (400 * 0.25 * 0.75) ** 0.5
    dropout = [setting["model.dropout"] for setting in many]
    assert abs(np.mean(dropout) - 0.25) < 3 * 0.5 / (12 * 400) ** 0.5
    assert {setting["data.batch_size"] for setting in many} == {16, 32}
    other = Config()
    other.seed = 1
    assert settings.drawn(swept, 50, other) != many[:50]
    # There are no more than two.
    assert len(settings.drawn([Range("data.batch_size", (16, 32))], 9, Config())) == 2


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_list_of_settings_is_read(tmp_path, kind):
    path = tmp_path / f"settings.{kind}"
    rows = [{"optimizer.learning_rate": 0.1, "model.hidden_sizes": [64, 32]}, {"optimizer.learning_rate": 1}]
    rows[1]["model.hidden_sizes"] = [8]
    path.write_text(
        json.dumps(rows) if kind == "json" else 'optimizer.learning_rate,model.hidden_sizes\n0.1,"64,32"\n1,8\n'
    )
    assert settings.read(path, Config()) == [
        {"optimizer.learning_rate": 0.1, "model.hidden_sizes": (64, 32)},
        {"optimizer.learning_rate": 1.0, "model.hidden_sizes": (8,)},
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.csv", None, "cannot be read (No such file or directory)"),
        ("a.csv", "", "holds no settings"),
        ("a.csv", "model.dropout\n", "holds no settings"),
        ("a.csv", "model.dropout\n0.1\n0.2,3\n", "line 3 has 2 values; the header has 1"),
        ("a.csv", "model.dropuot\n0.1\n", "did you mean model.dropout?"),
        ("a.csv", "model.dropout\nx\n", "must be of type float"),
        ("a.csv", "model.dropout\n0.1\n0.1\n", "setting 2 is there already, as 1"),
        ("a.csv", 'model.dropout\n"0.1,0.2"\n', "has 2 values for model.dropout; give one"),
        ("a.csv", "model.dropout,model.dropout\n0.1,0.2\n", "has model.dropout twice"),
        ("a.csv", "model.dropout,\n0.1,0.2\n", "column 2 has no name"),
        ("a.json", '[{"model.dropout": 1, "model.dropout": 2}]', "has model.dropout twice"),
        ("a.json", "[{}]", "holds no settings"),
        ("a.json", "{", "is no JSON"),
        ("a.json", "{}", "must hold a list of objects"),
        ("a.json", "[1]", "must hold a list of objects"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as raised:
        settings.read(tmp_path / name, Config())
    assert said in str(raised.value)


def test_rungs_rise_by_eta_from_an_epoch_on():
    assert halving.rungs(243, 243, 3) == [3.0**-k for k in (5, 4, 3, 2, 1, 0)]
    assert halving.rungs(4, 100, 2) == [0.25, 0.5, 1.0]  # Two choices leave one of four settings.
    assert halving.rungs(100, 3, 2) == [0.5, 1.0]  # A fourth of three epochs is less than one.
    assert halving.rungs(1, 100, 3) == [1.0]
    assert halving.rungs(9, 1, 3) == [1.0]


def test_the_better_share_goes_on():
    values = {n: [float(n), n + 1.0] for n in range(9)}
    assert halving.survivors(values, 3) == [0, 1, 2]
    assert halving.survivors({n: values[n] for n in range(4)}, 3) == [0, 1]
    assert halving.survivors({7: [1.0]}, 3) == [7]
    # The mean over seeds decides; one that is not finite counts more than any mean.
    assert halving.ranked(
        {0: [0.0, 3.0], 1: [1.0, 1.0], 2: [0.0, math.nan], 3: [math.inf, math.nan], 4: [1.0, 1.0]}
    ) == [
        1,
        4,
        0,
        2,
        3,
    ]


def test_an_interval_is_student_s():
    values = [0.9, 1.1, 1.0, 1.4]
    found = factors.interval([*values, math.nan])
    assert found.mean == pytest.approx(1.1)
    # t of 97.5 % with three degrees of freedom, from a table.
    assert found.half_width == pytest.approx(3.182446 * np.std(values, ddof=1) / 2, rel=1e-6)
    assert found.finite == 4
    assert math.isnan(factors.interval([1.0]).half_width)
    assert factors.interval([math.inf])[2] == 0


def test_planted_factors_explain_what_was_planted():
    generator = np.random.default_rng(0)
    a, b = np.repeat(np.arange(6), 6), np.tile(np.arange(6), 6)
    noise = generator.normal(size=(36, 4))
    strong = factors.explained({"a": a, "b": b}, 10.0 * a[:, None] + 0.01 * noise)
    assert strong["a"] > 0.97
    assert strong["b"] == 0
    assert strong["seed"] < 0.03
    both = factors.explained({"a": a, "b": b}, 1.0 * (a + b)[:, None] + 0.001 * noise)
    # Half each, less what chance would give of the half that is the other's: 5 / 30 of it.
    assert both["a"] == pytest.approx(0.5 - 0.5 / 6, abs=0.05)
    assert both["b"] == pytest.approx(0.5 - 0.5 / 6, abs=0.05)
    # What explains nothing: chance alone would give (k - 1) / (n - 1), a seventh.
    idle = [factors.explained({"a": a, "b": b}, generator.normal(size=(36, 1)))["a"] for _ in range(200)]
    assert np.mean(idle) < 0.06
    seeds = factors.explained({"a": a, "b": b}, noise)["seed"]
    assert 0.6 < seeds < 0.85  # Means of four keep a fourth of the variance.


def test_explained_is_epsilon_squared_of_ranks():
    # Ranks 1 to 6 in two groups, 1 2 4 and 3 5 6: S_between = 6 (7/6)^2, S_total = 17.5.
    values = [[1.0], [2.0], [1e8], [3.0], [math.inf], [math.inf]]
    ranks = np.array([1, 2, 4, 3, 5.5, 5.5])
    groups = ranks[:3], ranks[3:]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups)
    total = ((ranks - ranks.mean()) ** 2).sum()
    expected = (total - within - within / 4) / total
    found = factors.explained({"a": [0, 0, 0, 1, 1, 1], "b": [0, 1, 2, 3, 4, 5]}, values)
    assert found["a"] == pytest.approx(expected)
    assert math.isnan(found["b"])
    assert math.isnan(found["seed"])
    assert all(math.isnan(share) for share in factors.explained({"a": [0, 1]}, [[1.0], [1.0]]).values())


def test_one_factor_explains_what_seeds_do_not():
    found = factors.explained({"a": [1, 2, 3]}, [[1.0, 1.1], [5.0, 5.1], [9.0, 9.1]])
    assert found["a"] > 0.8
    assert found["seed"] < 0.1


def test_many_numbers_are_cut_into_parts():
    x = np.random.default_rng(0).uniform(size=200)
    found = factors.explained({"x": list(x), "word": ["a", "b"] * 100}, [[value] for value in x])
    assert found["x"] > 0.9
    assert found["word"] < 0.05
