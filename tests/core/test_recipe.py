"""Recipes: strict, typed, and errors that name the line, the field and the nearest name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from lapilli.core import recipe as recipes
from lapilli.core.errors import UsageError
from lapilli.core.recipe import as_dict, dump, find_recipe, read_recipe


@dataclass(frozen=True)
class Source:
    file: Path
    images: Path | None = None


@dataclass(frozen=True)
class Recipe:
    stage: Literal["align", "instruct"]
    data: Source
    name: str = "run"
    learning_rate: float = 1e-3
    epochs: float = 1.0
    max_steps: int | None = None
    shuffle: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    layers: list[int] = field(default_factory=list)
    extra: tuple[Source, ...] = ()

    def __post_init__(self):
        if self.epochs <= 0:
            raise ValueError(f"epochs: {self.epochs} is not above 0")


TEXT = "stage: align\ndata:\n  file: rows.json\n"


@pytest.fixture
def read(tmp_path):
    def reading(text=TEXT, *overrides, into=Recipe):
        file = tmp_path / "recipe.yaml"
        file.write_text(text)
        return read_recipe(file, overrides, into)

    return reading


def test_defaults_and_given_values_of_every_kind(read):
    assert read() == Recipe(stage="align", data=Source(Path("rows.json")))
    text = TEXT + (
        "  images: null\nname: two words\nlearning_rate: 2.0e-5\nepochs: 3\nmax_steps: 7\nshuffle: false\n"
        "betas: [0.8, 1]\nlayers:\n  - 1\n  - 2\nextra: [{file: a}, {file: b, images: c}]\n"
    )
    assert read(text) == Recipe(
        stage="align",
        data=Source(Path("rows.json"), None),
        name="two words",
        learning_rate=2e-5,
        epochs=3.0,
        max_steps=7,
        shuffle=False,
        betas=(0.8, 1.0),
        layers=[1, 2],
        extra=(Source(Path("a")), Source(Path("b"), Path("c"))),
    )
    assert type(read(text).epochs) is float


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "0.001", "1E-3", "+1.e-3"])
def test_a_small_number_may_be_written_in_any_usual_way(read, written):
    assert read(TEXT + f"learning_rate: {written}\n").learning_rate == 1e-3


@pytest.mark.parametrize("written", ["2024", "no", "2024-13-45", "1e3", "'null'", "~/data"])
def test_text_and_paths_stay_as_written(read, written):
    got = read(TEXT + f"name: {written}\n  ".rstrip(" "), f"data.images={written}")
    assert (got.name, got.data.images) == (written.strip("'"), Path(written.strip("'")))


@pytest.mark.parametrize("written", ["010", "1:30", "-1:30:00", "0_7", "1:30.5"])
def test_a_number_that_means_another_one_in_old_yaml_is_none(read, written):
    with pytest.raises(UsageError, match=f"learning_rate: a number expected, {written} found"):
        read(TEXT, f"learning_rate={written}")


def test_overrides_are_typed_and_the_last_one_counts(read):
    got = read(TEXT, "max_steps=5", "shuffle=false", "epochs=2", "data.images=pics", "max_steps=6", "layers=[3, 4]")
    assert (got.max_steps, got.shuffle, got.epochs) == (6, False, 2.0)
    assert (got.data.images, got.layers) == (Path("pics"), [3, 4])
    assert read(TEXT + "max_steps: 5\n", "max_steps=null").max_steps is None
    assert read("stage: align\n", "data.file=x").data.file == Path("x")


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("learning_rat: 1\n", r"recipe.yaml:4: learning_rat: no such field; did you mean learning_rate\?"),
        ("extra: [{fil: x}]\n", r"recipe.yaml:4: extra\[0\].fil: no such field; did you mean file\?"),
        ("  zzz: x\n", "recipe.yaml:4: data.zzz: no such field; there are file, images"),
        ("epochs: many\n", "recipe.yaml:4: epochs: a number expected, many found"),
        ("epochs: true\n", "recipe.yaml:4: epochs: a number expected, true found"),
        ("epochs: .nan\n", "recipe.yaml:4: epochs: a number expected, .nan found"),
        ("max_steps: 1.5\n", "recipe.yaml:4: max_steps: a whole number expected, 1.5 found"),
        ("max_steps: true\n", "recipe.yaml:4: max_steps: a whole number expected, true found"),
        ("shuffle: 1\n", "recipe.yaml:4: shuffle: true or false expected, 1 found"),
        ("name:\n", "recipe.yaml:4: name: text expected, nothing found"),
        ("name: [a]\n", "recipe.yaml:4: name: text expected, a list found"),
        ("name: {a: b}\n", "recipe.yaml:4: name: text expected, fields found"),
        ("layers: 3\n", "recipe.yaml:4: layers: a list expected, 3 found"),
        ("layers:\n- 1\n- x\n", r"recipe.yaml:6: layers\[1\]: a whole number expected, x found"),
        ("betas: [0.9]\n", "recipe.yaml:4: betas: 2 entries expected, 1 found"),
        ("epochs: -1\n", "recipe.yaml:4: epochs: -1.0 is not above 0"),
        ("stage: instruct\n", "recipe.yaml:4: stage: given twice"),
        ("name: 'x\n", "recipe.yaml:5: not YAML: found unexpected end of stream"),
        ("name: !x y\n", "recipe.yaml:4: not YAML: could not determine a constructor for the tag '!x'"),
        ("name: \x07\n", "recipe.yaml: not YAML: "),
    ],
)
def test_an_error_names_the_line_the_field_and_the_remedy(read, added, message):
    with pytest.raises(UsageError, match=message) as caught:
        read(TEXT + added)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {file: x}\n", "recipe.yaml:1: stage: missing, and it has no default"),
        ("stage: align\ndata:\n  images: x\n", "recipe.yaml:3: data.file: missing"),
        ("stage: algin\ndata: {file: x}\n", "recipe.yaml:1: stage: one of align, instruct expected, algin found"),
        ("stage: align\ndata: rows.json\n", "recipe.yaml:2: data: fields of its own expected, rows.json found"),
        ("", "recipe.yaml: a recipe is a list of `field: value` lines"),
        ("- stage\n", "recipe.yaml:1: a recipe is a list"),
    ],
)
def test_what_a_recipe_must_have(read, text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.fiel=x", r"--set data.fiel=x: data.fiel: no such field; did you mean file\?"),
        ("max_steps=x", "--set max_steps=x: max_steps: a whole number expected, x found"),
        ("epochs=-1", "--set epochs=-1: epochs: -1.0 is not above 0"),
        ("name.deep=x", "--set name.deep=x: name: text expected, fields found"),
        ("name", "--set name: write it as field=value"),
        ("=x", "--set =x: write it as field=value"),
        ("data..file=x", "--set data..file=x: write it as field=value"),
        ("layers=[1", r"--set layers=\[1: not YAML: "),
    ],
)
def test_a_wrong_override_is_named_as_it_was_typed(read, override, message):
    with pytest.raises(UsageError, match=message):
        read(TEXT, override)


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"recipe.yaml: cannot be read: 'utf-8' codec"):
        read_recipe(tmp_path / "recipe.yaml", [], Recipe)


def test_a_schema_that_recipes_cannot_express_is_a_mistake_of_ours(read):
    @dataclass(frozen=True)
    class Odd:
        when: complex

    with pytest.raises(TypeError, match=r"when: recipes have no fields of type <class 'complex'>"):
        read("when: 1\n", into=Odd)


def test_what_is_dumped_reads_back_equal(read):
    recipe = Recipe(
        stage="instruct",
        data=Source(Path("2024"), Path("no")),
        name="1e-3: 'é'",
        learning_rate=1e-05,
        layers=[1],
        extra=(Source(Path("a")),),
    )
    assert read(dump(recipe)) == recipe
    assert yaml.safe_load(dump(recipe)) == as_dict(recipe)
    assert as_dict(recipe)["data"] == {"file": "2024", "images": "no"}
    assert list(as_dict(recipe))[:3] == ["stage", "data", "name"]


def test_a_recipe_is_found_as_a_path_and_then_in_the_package(tmp_path, monkeypatch):
    package = tmp_path / "installed" / "lapilli"
    (package / "recipes").mkdir(parents=True)
    (package / "recipes" / "align.yaml").write_text("shipped")
    monkeypatch.setattr(recipes, "__file__", str(package / "core" / "recipe.py"))
    monkeypatch.chdir(tmp_path)
    name = Path("recipes/align.yaml")
    assert find_recipe(name).read_text() == "shipped"
    with pytest.raises(UsageError, match=r"recipes/x.yaml: no such recipe; .*: recipes/align.yaml"):
        find_recipe(Path("recipes/x.yaml"))
    Path("recipes").mkdir()
    name.write_text("mine")
    assert find_recipe(name).read_text() == "mine"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (BOMB, "more than 10,000 values, aliases written out"),
        ("extra: &a [*a]\n", "more than 10,000 values"),
        ("extra: &a {file: *a}\n", "more than 10,000 values"),
        ("name: " + "[" * 100_000, "nested too deeply"),
        ("name: " + "{a: " * 3_000, "nested too deeply"),
        ("x:\n" + "- a\n" * 60_000, "more than 200,000 bytes"),
        ("max_steps: !!int foo\n", "recipe.yaml:4: 'foo' is no int"),
        ("max_steps: !!int ''\n", "recipe.yaml:4: '' is no int"),
        ("epochs: !!float x\n", "recipe.yaml:4: 'x' is no float"),
        ("shuffle: !!bool x\n", "recipe.yaml:4: 'x' is no bool"),
        ("name: !!timestamp x\n", "recipe.yaml:4: a value of type timestamp"),
        ("name: !!binary x\n", "recipe.yaml:4: a value of type binary"),
        ("? [a]\n: b\n", "recipe.yaml:4: a field has a name"),
        ("? {a: b}\n: c\n", "recipe.yaml:4: a field has a name"),
        ("max_steps: " + "9" * 5_000, "a number of 5,000 characters"),
        ("max_steps: 1" + ":59" * 5_000, "a number of 15,001 characters"),
        ('name: "\\ud800"\n', "recipe.yaml:4: .* half a character"),
        ('name: "a\\0b"\n', "recipe.yaml:4: .* a zero byte"),
    ],
)
def test_what_is_made_to_do_harm_is_refused_at_once(read, added, message):
    with pytest.raises(UsageError, match=message):
        read(TEXT + added)
    if "\n" not in added.rstrip("\n") and "?" not in added:
        field, _, value = added.rstrip("\n").partition(": ")
        with pytest.raises(UsageError):
            read(TEXT, f"{field}={value}")


def test_an_alias_stands_for_what_it_names(read):
    assert (
        read(TEXT + "name: &a x\n  ".rstrip(" ") + "extra: [{file: *a}, {file: *a}]\n").extra
        == (Source(Path("x")),) * 2
    )


def test_what_is_dumped_can_be_printed(read):
    recipe = Recipe(stage="align", data=Source(Path("a\u202eb")), name="\x1b[31m")
    assert dump(recipe).replace("\n", "").isprintable()
    assert read(dump(recipe)) == recipe


def test_a_path_longer_than_any_files(read):
    with pytest.raises(UsageError, match="no such recipe"):
        read_recipe(Path("x" * 5_000), [], Recipe)
