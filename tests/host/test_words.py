"""Everything a person reads in the page: help, both locales, and the pictures of the templates."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from devkit import help_pictures, records
from devkit.layout import REPO, WORKFLOWS

HELP = REPO / "web" / "docs"
NODE_IDS = sorted(json.loads(records.CONTRACT.read_text(encoding="utf-8")))
HEADINGS = {"en": ("Inputs", "Outputs", "Example"), "zh": ("输入", "输出", "示例")}
LOADERS = (
    "X2EditAdapterLoader",
    "X2EditAlignNetLoader",
    "X2EditDemoModels",
    "X2EditChatFromCLIP",
    "X2EditChatFromFolder",
)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# The page compiles every message but tooltips: these characters are its syntax for variables, links and plurals.
SYNTAX = re.compile(r"[{}@|]")


@pytest.fixture(scope="module")
def info(server):
    return records.ours(server)


def locale(language, name="nodeDefs"):
    return json.loads((records.LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


def help_text(node_id, language):
    path = HELP / f"{node_id}.md" if language == "en" else HELP / node_id / f"{language}.md"
    return path.read_text(encoding="utf-8")


def section(text, heading):
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading!r}"
    return found.group(1)


def pictures_of(node_id, language):
    return set(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", help_text(node_id, language)))


def first_column(table):
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def paths_of(words, above=()):
    """Every leaf of a nested dict as (path, text)."""
    for key, value in words.items():
        if isinstance(value, dict):
            yield from paths_of(value, (*above, key))
        else:
            yield (*above, key), value


def test_every_node_has_help_and_no_help_is_left_over(info):
    assert sorted(path.stem for path in HELP.glob("*.md")) == sorted(info)
    assert sorted(path.parent.name for path in HELP.glob("*/zh.md")) == sorted(info)


@pytest.mark.parametrize("language", HEADINGS)
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_help_explains_each_input_and_output_and_gives_an_example(info, node_id, language):
    text, (inputs, outputs, example) = help_text(node_id, language), HEADINGS[language]
    assert first_column(section(text, inputs)) == list(records.inputs_of(info[node_id]))
    assert first_column(section(text, outputs)) == info[node_id]["output_name"]
    assert len(section(text, example).split()) > 2
    title = text.splitlines()[0].removeprefix("# ")
    assert title == locale(language)[node_id]["display_name"]


@pytest.mark.parametrize("language", HEADINGS)
@pytest.mark.parametrize("node_id", LOADERS)
def test_help_of_loaders_speaks_of_licences(node_id, language):
    text = help_text(node_id, language)
    assert "docs/weights.md" in text or "Apache-2.0" in text


def test_help_names_other_nodes_as_the_page_does(info):
    """Bold names of ours are display names of that language."""
    for language, mark in (("en", "X2Edit|ICEdit"), ("zh", "X2Edit|ICEdit")):
        known = {words["display_name"] for words in locale(language).values()}
        known |= {path.stem for path in WORKFLOWS.glob("*.json")}
        for node_id in info:
            named = re.findall(rf"\*\*([^*\n]*(?:{mark})[^*\n]*)\*\*", help_text(node_id, language))
            unknown = [name for name in named if name not in known and not any(k.startswith(name) for k in known)]
            assert unknown == [], f"{language} help of {node_id}"


def test_pictures_of_help_exist_and_are_small(server):
    """The page looks for a relative picture below docs/, wherever the text that names it lies."""
    named = {(node_id, language): pictures_of(node_id, language) for node_id in NODE_IDS for language in HEADINGS}
    assert [page for page, pictures in named.items() if not pictures] == []
    used = set().union(*named.values())
    others = [path for path in HELP.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert {path.relative_to(HELP).as_posix() for path in others} == used
    assert [name for name in used if (HELP / name).stat().st_size > help_pictures.LARGEST] == []
    for name in used:
        assert server.request(f"/extensions/x2edit/docs/{name}") == (HELP / name).read_bytes()


def test_english_words_are_those_of_the_schemas(info):
    assert locale("en") == records.english(info), f"run: {records.COMMAND}"


def test_chinese_words_cover_the_same_keys_and_are_chinese(info):
    english, chinese = dict(paths_of(records.english(info))), dict(paths_of(locale("zh")))
    assert sorted(chinese) == sorted(english)
    untranslated = [path for path, text in chinese.items() if path[-1] != "name" and not CHINESE.search(text)]
    assert untranslated == []
    names = Counter(words["display_name"] for words in locale("zh").values())
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("language", HEADINGS)
def test_words_survive_the_pages_message_compiler(language):
    words = [pair for name in ("main", "nodeDefs") for pair in paths_of(locale(language, name))]
    assert [path for path, text in words if path[-1] != "tooltip" and SYNTAX.search(text)] == []


@pytest.mark.parametrize("language", HEADINGS)
def test_every_category_has_a_name(info, language):
    assert set(locale(language, "main")["nodeCategories"]) == records.categories(info)


def test_the_host_serves_help_and_words(server, info):
    served = server.get_json("/i18n")
    for language in HEADINGS:
        assert served[language]["nodeDefs"] == locale(language)
    for node_id in info:
        assert server.request(f"/extensions/x2edit/docs/{node_id}.md").decode() == help_text(node_id, "en")
        assert server.request(f"/extensions/x2edit/docs/{node_id}/zh.md").decode() == help_text(node_id, "zh")


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.json")), ids=lambda path: path.stem)
def test_every_template_has_a_small_picture(path):
    from PIL import Image

    picture = path.with_suffix(".jpg")
    assert picture.stat().st_size <= 40_000
    with Image.open(picture) as opened:
        assert opened.format == "JPEG"
        assert min(opened.size) >= 200


def test_no_picture_without_its_template():
    assert {path.stem for path in WORKFLOWS.glob("*.jpg")} == {path.stem for path in WORKFLOWS.glob("*.json")}


@pytest.mark.parametrize("language", ["README.md", "README.zh.md"])
def test_readme_names_every_template(language):
    text = (REPO / language).read_text(encoding="utf-8")
    assert [path.stem for path in WORKFLOWS.glob("*.json") if path.stem not in text] == []


def test_both_readmes_have_the_same_parts():
    english, chinese = ((REPO / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    for pattern in (r"^#+ ", r"^```", r"^\|", r"!\[[^\]]*\]\([^)]*\)"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE)), (
            pattern
        )
    assert "README.zh.md" in english and "README.md" in chinese
