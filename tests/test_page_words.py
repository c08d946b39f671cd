"""The words of the page stand in tables, one for each language, and nowhere else."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

PAGE = files("imd.web").joinpath("page")
MODULES = {
    entry.name: entry.read_text("utf-8") for entry in PAGE.iterdir() if entry.name.endswith(".js")
}
TABLES = {name: text for name, text in MODULES.items() if name.startswith("words_")}
CODE = {name: text for name, text in MODULES.items() if name not in TABLES}
_ENTRY = re.compile(r'^  "([\w.]+)":\s+"((?:[^"\\]|\\.)*)",$', re.MULTILINE)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`([^`]*)`')
#: What begins with a capital and is no word of the page: keys, names of browsers and systems.
NAMES = {"Enter", "Escape", "ArrowDown", "ArrowUp", "Home", "End", "Ctrl", "Alt", "Shift", "Esc"}
NAMES |= {"K", "OPR", "Opera", "Edg", "Edge", "Firefox", "Chrome", "Safari"}
NAMES |= {"Android", "Windows", "Mac", "Linux"}


def table(name: str) -> dict[str, str]:
    """The words of a language."""
    return dict(_ENTRY.findall(TABLES[name]))


ENGLISH = table("words_en.js")


def test_a_table_is_read_completely() -> None:
    for name, text in TABLES.items():
        assert len(table(name)) == len(re.findall(r'^  "[\w.]+":', text, re.MULTILINE)), name


@pytest.mark.parametrize("name", TABLES)
def test_all_languages_have_the_same_words_with_the_same_places(name: str) -> None:
    words = table(name)
    assert list(words) == list(ENGLISH)
    for key, value in words.items():
        assert value.strip(), key
        places = [sorted(re.findall(r"\{\w+\}", text)) for text in (value, ENGLISH[key])]
        assert places[0] == places[1], key


def test_chinese_is_chinese() -> None:
    same = {key for key, value in table("words_zh.js").items() if value == ENGLISH[key]}
    assert same == {"app.name", "app.title"}


def test_no_words_stand_in_the_code() -> None:
    for name, text in CODE.items():
        bare = re.sub(r"/\*.*?\*/|^\s*//.*$", "", text, flags=re.DOTALL | re.MULTILINE)
        for quoted, template in _STRING.findall(bare):
            said = quoted or re.sub(r"\$\{[^}]*\}", "", template)
            assert not re.search(r"[\u0080-\U0010ffff]", re.sub("[↑↓]", "", said)), (name, said)
            if re.match(r"[A-Z]", said) and not re.search(r"\d[a-zA-Z ]|\\", said):
                assert said in NAMES, (name, said)


def test_every_word_is_used_and_every_used_one_is_there() -> None:
    code = "\n".join(CODE.values())
    used = set(re.findall(r'"((?:[a-z]+)\.(?:[a-zA-Z_]+))"', code)) & set(ENGLISH)
    asked = set(re.findall(r'\bt\("([\w.]+)"', code))
    assert asked <= set(ENGLISH)
    made = {key for key in ENGLISH if f"`{key.split('.')[0]}.${{" in code}
    assert set(ENGLISH) == used | made


def test_nothing_makes_markup_or_code_of_text() -> None:
    for name, text in MODULES.items():
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, name
        for address in re.findall(r"https?://[^\s\"`]+", text):
            assert address == "http://www.w3.org/2000/svg" or "[" in address, (name, address)
