"""Tables of a person's own: what is made of each column, what is filled, and what is refused with its place."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tricks.data import csv_files, load
from tricks.errors import UserError

_ROWS = 40


def _text(**columns):
    """A CSV of some columns, `{row}` in each the number of the row."""
    rows = [",".join(columns)]
    rows += [",".join(str(make(row)) for make in columns.values()) for row in range(_ROWS)]
    return "\n".join(rows) + "\n"


def _colour(row):
    return ("red", "green", "blue")[row % 3]


_GOOD = _text(size=lambda row: row * 0.5, colour=_colour, sold=lambda row: "no" if row % 4 else "yes")


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "own.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def stored(tmp_path):
    def write(**columns):
        path = tmp_path / "own.parquet"
        parquet.write_table(pa.table(columns), path)
        return str(path)

    return write


def _all(data, of):
    return np.concatenate([of(split) for split in (data.train, data.validation, data.test)])


def _restored(data):
    """Rows of the file as features, in any order, and their targets."""
    rows = _all(data, lambda s: s.features * data.feature_scale + data.feature_mean)
    return rows, _all(data, lambda s: s.targets)


def test_columns_become_numbers_and_one_of_each_value(written):
    data = load(written(_GOOD), target="sold")
    assert data.columns == ("size", "colour=blue", "colour=green", "colour=red")
    assert (data.classes, data.class_names) == (2, ("no", "yes"))
    rows, targets = _restored(data)
    for row, target in zip(rows.round(3), targets, strict=True):
        number = round(row[0] / 0.5)
        assert row[1:].tolist() == [_colour(number) == name for name in ("blue", "green", "red")]
        assert target == (number % 4 == 0)
    assert sorted(rows[:, 0].round(3)) == [row * 0.5 for row in range(_ROWS)]


def test_csv_and_parquet_of_the_same_table_are_the_same(written, stored):
    rows = range(_ROWS)
    one = load(written(_GOOD), target="sold", seed=3)
    other = load(
        stored(
            size=pa.array([row * 0.5 for row in rows], pa.float32()),
            colour=pa.array([_colour(row) for row in rows]).dictionary_encode(),
            sold=["no" if row % 4 else "yes" for row in rows],
        ),
        target="sold",
        seed=3,
    )
    assert one.columns == other.columns
    for split in ("train", "validation", "test"):
        for a, b in zip(getattr(one, split), getattr(other, split), strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_targets_are_numbers_each_standardized_by_training(written):
    text = _text(size=lambda row: row, price=lambda row: row**2, age=lambda row: 100 - 3 * row)
    data = load(written(text), target="price, age")
    assert data.classes is None
    assert data.columns == ("size",)
    sizes, targets = _restored(data)
    sizes = sizes[:, 0].astype(np.float64).round()
    np.testing.assert_allclose(
        targets * data.target_scale + data.target_mean, np.stack([sizes**2, 100 - 3 * sizes], 1), atol=1e-3
    )
    np.testing.assert_allclose(data.train.targets.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.targets.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("target", "task", "names"),
    [
        ("count", None, ("3", "5", "9")),
        ("count", "classes", ("3", "5", "9")),
        ("count", "numbers", None),
        ("whole", None, None),
        ("whole", "classes", ("3", "5", "9")),
        ("flag", None, ("false", "true")),
        ("flag", "numbers", None),
    ],
)
def test_what_the_targets_are_and_what_the_loss_needs(written, target, task, names):
    columns = {
        "size": lambda row: row * 0.5,
        "count": lambda row: (3, 9, 5)[row % 3],
        "whole": lambda row: (3.0, 9.0, 5.0)[row % 3],
        "flag": lambda row: str(row % 2 == 0).lower(),
    }
    text = _text(size=columns["size"], **{target: columns[target]})
    data = load(written(text), target=target, task=task)
    if names is None:
        assert (data.classes, data.class_names) == (None, ())
        assert data.train.targets.std() == pytest.approx(1, rel=1e-5)
    else:
        assert (data.classes, data.class_names) == (len(names), names)
        sizes, targets = _restored(data)
        expected = [str(columns[target](round(size / 0.5))).removesuffix(".0") for size in sizes[:, 0]]
        assert [names[value] for value in targets] == expected


def test_bool_among_several_targets_is_0_and_1(written):
    text = _text(size=lambda row: row, flag=lambda row: str(row % 3 == 0).lower(), other=lambda row: row % 2)
    data = load(written(text), target="flag,other", task="classes")
    assert data.classes == 2
    sizes, targets = _restored(data)
    assert targets.tolist() == [[round(size) % 3 == 0, round(size) % 2] for size in sizes[:, 0].tolist()]
    data = load(written(text), target="flag,other")
    assert data.classes is None
    _, targets = _restored(data)
    assert sorted((targets * data.target_scale + data.target_mean)[:, 0].round(5)) == [0] * 26 + [1] * 14


@pytest.mark.parametrize("missing", ["mean", "median", "zero"])
def test_missing_numbers_are_filled_by_what_training_has(written, missing):
    gaps = {1, 8, 20, 33}

    def part(row):
        return ("train", "train", "val", "test")[row // 10]

    text = _text(
        number=lambda row: row,
        size=lambda row: "" if row in gaps else row**2,
        colour=lambda row: "" if row in gaps else _colour(row),
        part=part,
        sold=lambda row: row % 2,
    )
    data = load(written(text), target="sold", split_column="part", missing=missing)
    known = [row**2 for row in range(20) if row not in gaps]
    fill = {"mean": np.mean(known), "median": np.median(known), "zero": 0}[missing]
    rows, _ = _restored(data)
    assert data.columns == ("number", "size", "colour=blue", "colour=green", "colour=red")
    for number, size, *colours in rows:
        row = round(float(number))
        assert size == pytest.approx(fill if row in gaps else row**2, rel=1e-5, abs=1e-4)
        assert sum(colours) == pytest.approx(0 if row in gaps else 1, abs=1e-5)


def test_nan_of_parquet_is_missing(stored):
    path = stored(size=[float("nan"), *range(1, _ROWS)], sold=[row % 2 for row in range(_ROWS)])
    with pytest.raises(UserError, match=r"column 'size' has no value in row 1 "):
        load(path, target="sold")
    assert np.isfinite(load(path, target="sold", missing="mean").train.features).all()


def test_a_column_that_training_has_no_value_of_is_refused(written):
    text = _text(
        size=lambda row: row if row >= 30 else "",
        part=lambda row: "train" if row < 30 else "test",
        sold=lambda row: row % 2,
    )
    with pytest.raises(
        UserError, match=r"^data\.name is .*own\.csv'; column 'size' has no value in any of the 27 training examples"
    ):
        load(written(text), target="sold", split_column="part", missing="mean")


def test_types_of_parquet(stored):
    rows = range(_ROWS)
    path = stored(
        decimal=pa.array([*rows]).cast(pa.decimal128(21, 2)),
        half=np.arange(_ROWS).astype(np.float16),
        small=pa.array([None, *range(1, _ROWS)], pa.int8()),
        large=pa.array(["u", "v"] * 20, pa.large_string()),
        code=pa.array([7, 9] * 20).dictionary_encode(),
        sold=[row % 2 for row in rows],
    )
    data = load(path, target="sold", missing="zero")
    assert data.columns == ("decimal", "half", "small", "large=u", "large=v", "code")
    features, _ = _restored(data)
    np.testing.assert_allclose(features[:, 0], features[:, 1], atol=1e-4)
    np.testing.assert_allclose(features[:, 0], features[:, 2], atol=1e-4)
    np.testing.assert_allclose(features[:, 4], (features[:, 5] - 7) / 2, atol=1e-5)


def test_a_column_may_turn_to_another_type_far_down(written):
    # Types are guessed from the first megabyte.
    rows = 200_000
    text = "size,sold\n" + "".join(f"{row % 7},{row % 2}\n" for row in range(rows)) + "1.5,0\n"
    data = load(written(text), target="sold", normalization="none")
    assert _all(data, lambda s: s.features).sum() == sum(row % 7 for row in range(rows)) + 1.5


def test_rows_longer_than_a_block_are_read(written):
    columns = 250_000
    header = ",".join(f"c{j}" for j in range(columns)) + ",sold\n"
    # Each longer than a megabyte.
    text = header + "".join(",".join([f"{row}.25"] * columns) + f",{row % 2}\n" for row in range(10))
    ignored = ",".join(f"c{j}" for j in range(2, columns))
    data = load(written(text), target="sold", ignore=ignored, validation_fraction=0.2, normalization="none")
    assert sorted(_all(data, lambda s: s.features)[:, 1]) == [row + 0.25 for row in range(10)]


def test_ignored_columns_are_not_even_read(written):
    text = _text(size=lambda row: row, note=lambda row: f"text {row}", sold=lambda row: row % 2)
    assert load(written(text), target="sold", ignore="note").columns == ("size",)
    path = written(text.replace("note", '"last, first"'))
    assert load(path, target="sold", ignore="last, first").columns == ("size",)
    path = written(text.replace("size,note", " size , note"))
    assert load(path, target="sold", ignore=" note").columns == (" size ",)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_quotes_where_they_belong_are_read(written, monkeypatch, end):
    # A line break within the last row, two quotes for one, an empty value, and quotes of a value without them.
    notes = ['""', '"say ""no"""', '5" pipe', ' "x"', '"one line\nand two"']
    text = "note,size,sold\n" + "\n".join(f"{notes[row % 5]},{row},{row % 2}" for row in range(_ROWS)) + end
    names = ('note= "x"', 'note=5" pipe', "note=one line\nand two", 'note=say "no"', "size")
    for size in (7, 2**18):  # Of the pieces in which quotes are counted.
        monkeypatch.setattr(csv_files, "_BYTES_AT_ONCE", size)
        for some in (text, text.replace('5" pipe', "pipe").replace(' "x"', "x")):
            data = load(written(some), target="sold", missing="zero")
            assert data.columns == names or some != text
            assert len(_all(data, lambda s: s.targets)) == _ROWS


def _changed(old, new):
    return _GOOD.replace(old, new, 1)


_REFUSED = {
    "no target": (_GOOD, {"target": ""}, r"data\.target is empty; .*size, colour, sold"),
    "target misspelt": (_GOOD, {"target": "solt"}, r"data\.target is 'solt'; did you mean sold\? allowed: the columns"),
    "ignore misspelt": (_GOOD, {"ignore": "color"}, r"data\.ignore is 'color'; did you mean colour\?"),
    "spaces around": (_changed("sold", " sold "), {}, r"data\.target is 'sold'; did you mean ' sold '\? allowed"),
    "target twice": (_GOOD, {"target": "size,size"}, "names one twice"),
    "target ignored": (_GOOD, {"ignore": "sold"}, "data.ignore is 'sold', which data.target names too"),
    "text among numbers": (_GOOD, {"target": "size,sold"}, "names 'sold' among others"),
    "text for numbers": (_GOOD, {"task": "numbers"}, "column 'sold' is text, such as 'no'"),
    "fractions for classes": (_GOOD, {"target": "size", "task": "classes"}, "column 'size' holds 0.5, no class"),
    "nothing left": (_GOOD, {"ignore": "size,colour"}, "no column is left"),
    "ragged": (_changed("\n2.5,", "\n\n2.5,,"), {}, r"row 6 \(line 8\) has 4 values where there are 3 columns"),
    "not UTF-8": (_changed("\n2.5,", "\n2.5,é").encode("latin-1"), {}, r"line 7 is not UTF-8 \(byte 0xe9\)"),
    "header not UTF-8": (_changed("colour", "größe").encode("latin-1"), {}, "line 1 is not UTF-8"),
    "UTF-16": (_GOOD.encode("utf-16"), {}, "line 1 is not UTF-8"),
    "empty": ("", {}, "which is empty"),
    "blank": ("\n \n", {}, "which is empty"),
    "no rows": ("size,sold\n", {}, "has no rows"),
    "no rows nor end": ("size,sold", {}, "has no rows"),
    "no header": (_GOOD.split("\n", 1)[1], {}, r"first line does not name the columns: it holds the number 0\.0"),
    "same name": (_changed("colour", "size"), {}, "two columns named 'size'"),
    "without a name": (_changed("size", ""), {}, "column 1 has no name"),
    "semicolons": (_GOOD.replace(",", ";"), {}, "not separated by commas"),
    "one class": (_GOOD.replace("no", "yes"), {}, "column 'sold' has the one class 'yes'"),
    "constant": (
        _text(a=lambda _: 3, sold=lambda row: row % 2),
        {},
        "column 'a' has the one value 3; leave it out: data",
    ),
    "constant text": (_text(a=lambda _: "u", sold=lambda row: row % 2), {}, "column 'a' has the one value 'u'"),
    "all missing": (_text(a=lambda _: "", sold=lambda row: row % 2), {"missing": "mean"}, "'a' has no value at all"),
    "missing": (_changed("\n2.5,", "\n\n,"), {}, r"column 'size' has no value in row 6 \(line 8\).*data\.missing"),
    "missing text": (_changed("2.5,blue", "2.5,"), {}, r"column 'colour' has no value in row 6 \(line 7\)"),
    "quoted NA": (
        _changed("2.5,blue", '2.5,"NA"'),
        {},
        r"'colour' has no value in row 6 .*; missing are empty cells and the texts NA, NaN, null,",
    ),
    "a target of NA": (
        _changed("2.5,blue,no", "2.5,blue,NA"),
        {},
        "'sold' .*; missing are empty cells and the texts NA",
    ),
    "missing target": (_changed("2.5,blue,no", "2.5,blue,"), {"missing": "mean"}, r"column 'sold' .* in row 6"),
    "infinite": (_changed("\n2.5,", "\n-inf,"), {"missing": "mean"}, r"column 'size' is -inf in row 6 \(line 7\)"),
    "too large": (_changed("\n2.5,", "\n1e39,"), {}, r"column 'size' is 1e\+39 in row 6 \(line 7\)"),
    "infinite target": (_changed("\n2.5,", "\ninf,"), {"target": "size"}, r"column 'size' is inf in row 6 \(line 7\)"),
    "misspelt number": (_changed("\n2.5,", "\n2.5x,"), {}, r"column 'size' is '2.5x' in row 6 \(line 7\) and numbers"),
    "dates": (_text(d=lambda r: f"20{r + 10}-01-01", sold=lambda r: r % 2), {}, r"'d' is of type date32.*data\.ignore"),
    "open quote": (_GOOD + '1,red,"no\n2,red,no\n', {}, r"line 42 has a quote that is not closed .*: '\"no'"),
    "open quote between": (
        'a,note,sold\n20,"m,p\n21,"m",q\n' + "1,u,p\n2,v,q\n" * 20,
        {},
        r"line 2 has a quote that is not closed .*: '\"m,p'",
    ),
    "open quote in an ignored column": (_GOOD + '1,"red,no\n2,"red",no\n', {"ignore": "colour"}, "line 42 has a quote"),
    "open quote in the header": (
        "\ufeff" + _changed("size", '"size'),
        {"target": "x"},
        "line 1 has a quote|line 1 .*quote",
    ),
    "text after a quote": (_changed("2.5,blue", '2.5,"bl"ue'), {}, r"line 7 has a quote that is not closed"),
    "after a quoted line": (
        _changed("0.0,red", '0.0,"r\ned"').replace("\n2.5,", "\ninf,"),
        {},
        r"column 'size' is inf in row 6 \(line 8\)",
    ),
    "finer than float32": (
        _text(time=lambda row: 1_700_000_000 + row, sold=lambda row: row % 2),
        {},
        "'time' varies by 39 around 1.7e.09, which float32 hardly tells; subtract 1.7e.09, or leave it out: data",
    ),
    "split unknown": (_GOOD, {"split_column": "colour"}, "data.split_column is 'colour', which holds 'blue'; allowed"),
    "split is target": (_GOOD, {"split_column": "sold"}, "data.split_column is 'sold', which data.target names too"),
    "group missing": (_changed("2.5,blue", "2.5,"), {"group_column": "colour"}, r"of data\.group_column has no value"),
    "unknown task": (_GOOD, {"task": "guess"}, r"data\.task is 'guess'; allowed: None, classes, numbers"),
    "unknown missing": (_GOOD, {"missing": "drop"}, r"data\.missing is 'drop'; allowed: refuse, mean, median, zero"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_refused_in_one_line_with_its_place(written, case):
    text, options, said = _REFUSED[case]
    with pytest.raises(UserError, match=said) as refused:
        load(written(text), **{"target": "sold", **options})
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("data.")


def test_text_of_many_values_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    for names, allowed in ((100, True), (101, False)):
        path.write_text("name,sold\n" + "".join(f"n{row % names},{row % 2}\n" for row in range(404)))
        if allowed:
            assert len(load(str(path), target="sold").columns) == names
        else:
            with pytest.raises(UserError, match=r"text of 101 different values, such as 'n0'; .*data\.ignore"):
                load(str(path), target="sold")


@pytest.mark.parametrize(("names", "rows", "allowed"), [(20, 39, False), (20, 40, True), (19, 20, True)])
def test_text_that_hardly_repeats_is_refused(written, names, rows, allowed):
    text = "share,size,sold\n" + "".join(f"{row % names}%,{row},{row % 2}\n" for row in range(rows))
    path = written(text + ",1,0\n" * 5)  # A missing value is none that repeats.
    if allowed:
        assert len(load(path, target="sold", missing="mean").columns) == names + 1
    else:
        with pytest.raises(
            UserError, match=r"column 'share' is text of 20 different values in 39 rows, .*data\.ignore"
        ):
            load(path, target="sold", missing="mean")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [[1, 2]] * _ROWS}, "column 'a' is of type list"),
        ({"a": [{"b": 1}] * _ROWS}, "column 'a' is of type struct"),
        ({"a": [b"x"] * _ROWS}, "column 'a' is of type binary"),
        ({"a": pa.nulls(_ROWS), "b": [*range(_ROWS)]}, "column 'a' has no value at all"),
        ({}, "no column is left"),
    ],
)
def test_columns_of_parquet_that_cannot_be_used(stored, columns, said):
    with pytest.raises(UserError, match=said):
        load(stored(**columns, sold=[row % 2 for row in range(_ROWS)]), target="sold")


@pytest.mark.parametrize("name", ["own.csv", "own.parquet", "own.npz"])
def test_files_that_cannot_be_read(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UserError, match="there is no such file"):
        load(str(path), target="sold")
    path.write_bytes(b"PAR1 no such thing \xff")
    with pytest.raises(UserError, match=r"cannot be read|can be read|not UTF-8"):
        load(str(path), target="sold")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="holds no arrays"):
        load(str(path), target="sold")


def test_files_of_other_kinds_are_refused_with_those_allowed(tmp_path):
    (tmp_path / "own.txt").write_text(_GOOD)
    with pytest.raises(UserError, match=r"of files allowed: \.csv, \.parquet and \.npz"):
        load(str(tmp_path / "own.txt"), target="sold")


def test_named_sets_refuse_what_only_own_data_can_be_told():
    with pytest.raises(UserError, match=r"data\.target is 'sold', but 'digits' is a set that knows it"):
        load("digits", target="sold")
    with pytest.raises(UserError, match=r"data\.missing is 'zero', but 'digits' is no table"):
        load("digits", missing="zero")
