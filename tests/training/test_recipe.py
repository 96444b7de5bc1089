import pytest

from stallwart.core.errors import ConfigError
from stallwart.training.members import HEADS
from stallwart.training.recipe import RECIPES, MemberRecipe, read_recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_that_ships_reads(name):
    assert all(member.kind == "lexical" or member.kind in HEADS for member in read_recipe(name).members)


def test_the_reference_is_the_network_of_the_literature():
    recipe = read_recipe("reference")
    (member,) = recipe.members
    assert (member.kind, member.width, member.output, member.gamma) == ("concat", 256, "softmax", 2.0)
    assert (recipe.encoders.text, recipe.encoders.photo) == (
        "transformers:albert-base-v2#pooler",
        "timm:efficientnet_b0",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "members"),
        ("members = [", "not valid TOML"),
        ("[[members]]\nkind = 'magic'\n", "kind"),
        ("[[members]]\nkind = 'concat'\nwidht = 3\n", "widht"),
        ("[[members]]\nkind = 'concat'\ngamma = -1\n", "gamma"),
        ("[[members]]\nkind = 'lexical'\n", "lexical"),
        ("[[members]]\nkind = 'concat'\nreads = []\n", "at least one part"),
        ("seed = -1\n[[members]]\nkind = 'concat'\n", "seed"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_field(tmp_path, content, said):
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_recipe(str(path))
    assert "mine.toml" in str(caught.value)


def test_an_unknown_name_answers_with_the_names_there_are():
    with pytest.raises(ConfigError, match="default, disguised, reference"):
        read_recipe("defualt")


def test_a_file_of_other_bytes_is_refused(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_recipe(str(tmp_path / "x.toml"))


@pytest.mark.parametrize("field", ["dropout", "modality_dropout", "mix"])
def test_shares_beyond_one_are_refused(field):
    with pytest.raises(ValueError, match=field):
        MemberRecipe(kind="concat", **{field: 1.5})
