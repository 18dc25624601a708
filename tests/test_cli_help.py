"""What `--help` says: short, true, and made of the dataclass that the command is."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
import tyro

from samreg import plugins
from samreg.cli import BUILT_IN, command_names, main
from samreg.cli.arguments import Argument, arguments_of
from samreg.cli.help import PAGES, full_page, short_page
from samreg.cli.parse import parse
from samreg.cli.register import Register
from samreg.errors import InputError


def found(name: str) -> list[Argument]:
    return arguments_of(plugins.load("commands", name, BUILT_IN))


def test_register_fits_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    for word in ("-o, --out RUN", "--preset", "--config FILE", "--json", "--help-all", "samreg register ed.nii.gz"):
        assert word in text
    assert "--flow-roi-weight" not in text


def test_help_all_has_every_option_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register", "--help-all"]) == 0
    text = capsys.readouterr().out
    for argument in found("register"):
        for flag in argument.flags:
            assert len(re.findall(rf"^ +(?:\S+, )?{flag}\b(?!-)", text, re.MULTILINE)) == 1, flag


@pytest.mark.parametrize("name", sorted(command_names()))
def test_every_argument_is_explained(name: str) -> None:
    for argument in found(name):
        assert argument.text, argument.name


@pytest.mark.parametrize("name", sorted(command_names()))
def test_a_switch_that_is_on_says_what_its_opposite_does(name: str) -> None:
    for argument in found(name):
        if argument.switch and argument.default is True:
            assert f"--no-{argument.flags[-1][2:]}" in argument.text
        if argument.switch:
            assert not argument.flags[-1].startswith("--no-"), "its opposite would be --no-no-..."


def test_a_page_names_only_arguments_that_exist() -> None:
    for name, page in PAGES.items():
        known = {argument.name for argument in found(name)}
        assert {member for _, names in page.groups for member in names} <= known
        for line in page.examples:
            assert line.startswith(f"samreg {name}")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_examples_can_be_given(name: str) -> None:
    command = plugins.load("commands", name, BUILT_IN)
    for line in PAGES[name].examples:
        words = line.partition(">")[0].split()[2:]
        if "--config" in words:  # a file that is not here
            at = words.index("--config")
            del words[at : at + 2]
        parse(command, f"samreg {name}", [word for word in words if word != "--json"])


@dataclass(frozen=True)
class Inner:
    """Of the inside."""

    depth: tuple[int, ...] = (1, 2)
    """How deep."""
    kind: Literal["short", "considerably-longer"] = "short"
    """Which."""


@dataclass(frozen=True)
class Outer(Inner):
    """Do a thing: well.

    More about it.
    """

    at: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PLACE")] = "here"
    """Where."""
    sure: bool = True
    """Be sure; --no-sure is not."""
    inner: Annotated[Inner | None, tyro.conf.arg(name="")] = None
    """Unused."""
    settings: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=lambda: Inner(depth=(7,)))


class TestPages:
    def test_arguments_of_base_classes_and_of_settings(self) -> None:
        arguments = arguments_of(Outer)
        assert [a.name for a in arguments] == ["depth", "kind", "at", "sure", "inner", "depth", "kind"]
        assert arguments[0].text == "How deep."
        assert arguments[0].metavar == "N ..."
        assert (arguments[5].default, arguments[5].group) == ((7,), "Of the inside.")
        assert arguments[1].text == "Which. One of short, considerably-longer."

    def test_defaults_are_those_of_the_instance(self) -> None:
        text = full_page(Outer, "do", dataclasses.replace(Outer(), settings=Inner((5, 6))), 80)
        assert "(default: 5 6)" in text
        assert "[PLACE]" in text
        assert "--sure, --no-sure" in text
        assert "More about it." in text

    def test_a_narrow_terminal(self) -> None:
        assert max(map(len, short_page(Register, "register", None, 70).splitlines()[:40])) <= 70


def test_both_forms_of_a_switch_can_be_given() -> None:
    """`--preset paper` turns verify off; the option that says so as well was refused then."""
    base = ["a", "b", "-o", "c"]
    assert parse(Register, "samreg register", [*base, "--preset", "paper", "--verify"]).config.match.verify
    for more in ([], ["--preset", "paper"]):
        assert not parse(Register, "samreg register", [*base, *more, "--no-verify"]).config.match.verify


def test_a_long_path_stays_whole_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/data/" + "/".join(f"study [{i}] of  ward-{i}" for i in range(12)) + ".nii.gz"
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(InputError) as caught:
        parse(Register, "samreg register", ["a", "b", "-o", "c", "--frame", path])
    message = str(caught.value)
    assert re.sub(" +", " ", path) in re.sub(" +", " ", message)
    assert message.endswith(": give a whole number; see samreg register --help")
