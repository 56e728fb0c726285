"""Recipes of preprocessing and names of classes, as people write them."""

from __future__ import annotations

import json

import pytest

from snn_compile.errors import CompileError, UsageError
from snn_compile.options import CompileOptions
from snn_compile.options.class_names import read_class_names
from snn_compile.recipes import read_recipe
from snn_compile.recipes.published import OWN, _lines


@pytest.mark.parametrize("name", [*OWN, *sorted(_lines())[::97]])
def test_a_recipe_is_read_from_its_own_text(name):
    recipe = read_recipe(name)
    assert read_recipe(recipe.text) == recipe
    assert recipe.name == name
    assert name in recipe.described()


def test_published_recipes_are_those_of_the_libraries():
    recipe = read_recipe("torchvision:resnet50")
    assert (recipe.resize, recipe.crop, recipe.interpolation) == ((232,), (224, 224), "bilinear")
    assert read_recipe("torchvision:resnet50.IMAGENET1K_V1").resize == (256,)
    assert read_recipe("timm:resnet50").interpolation == "bicubic"
    assert recipe.mean_values == (123.675, 116.28, 103.53)
    assert recipe.scale_values == (58.395, 57.12, 57.375)
    assert read_recipe("imagenet crop=96 resize=96").mean == recipe.mean
    assert read_recipe("caffe").mean_values == (103.939, 116.779, 123.68)
    assert read_recipe("caffe").scale_values == (1.0,)
    assert read_recipe("raw").scale_values == (1.0,)


def test_a_file_says_the_same_as_words(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "imagenet"\nresize = [96, 80]\ncrop = 64\nmean = [0.5, 0.4, 0.3]\n')
    assert read_recipe(path) == read_recipe("imagenet resize=96,80 crop=64 mean=0.5,0.4,0.3")
    config = tmp_path / "c.toml"
    config.write_text('preprocess = "r.toml"\n')
    assert CompileOptions.from_sources(config, {}).mean_values == (127.5, 102.0, 76.5)


def test_everything_wrong_is_said_at_once():
    with pytest.raises(CompileError) as caught:
        read_recipe("imagenet mena=1 crop=0 std=0 interpolation=cubic range=2")
    assert len(caught.value.errors) == 5
    assert "did you mean mean?" in str(caught.value)
    for wrong in ("imagnet", "torchvision:resnet5", "imagenet crop=999", "unit x=1 x=2"):
        with pytest.raises(UsageError) as single:
            read_recipe(wrong)
        assert single.value.code == "bad-recipe"
        assert single.value.hint


def test_a_recipe_replaces_the_one_before_and_no_stated_value():
    options = CompileOptions(preprocess="imagenet").override({"preprocess": "unit"})
    assert options.scale_values == (255.0,)
    assert (
        CompileOptions.stated(
            {k: v["value"] for k, v in options.effective().items()}, options.origins
        )
        == options
    )
    with pytest.raises(UsageError, match="scale-values"):
        CompileOptions(preprocess="unit", scale_values=(2.0,))
    several = CompileOptions(preprocess="unit input=image layout=nhwc")
    assert several.scale_values == (("image", (255.0,)),)
    assert several.layout == "nhwc"


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\r\n a b \n\n",
        '["cat", "dog", "a b"]',
        '{"1": "dog", "0": "cat", "2": "a b"}',
        '{"cat": 0, "a b": 2, "dog": 1}',
        '{"id2label": {"0": "cat", "1": "dog", "2": "a b"}}',
        '{"0": ["n01", "cat"], "1": ["n02", "dog"], "2": ["n03", "a b"]}',
    ],
)
def test_names_of_classes_in_every_form(tmp_path, content):
    (tmp_path / "f").write_text(content)
    assert read_class_names(tmp_path / "f") == ("cat", "dog", "a b")


@pytest.mark.parametrize(
    "content", ["", "cat\n\ndog\n", "[1]", '{"0": "a", "2": "b"}', "{", "\xff", '{"x": "y"}']
)
def test_what_names_no_classes_is_refused(tmp_path, content):
    (tmp_path / "f").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        CompileOptions(labels=str(tmp_path / "f"))
    assert caught.value.code == "bad-class-names"
    assert str(caught.value.origin) == str(tmp_path / "f")
    assert json.dumps(caught.value.hint)
