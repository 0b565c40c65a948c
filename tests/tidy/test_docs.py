"""What the docs and deploy/ show exists: links, commands, options, settings."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from beacond.cli import cli
from beacond.config import SETTINGS
from beacond.spec.registration import parse_instance

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, *sorted(p for p in (ROOT / "deploy").rglob("*") if p.is_file())]
IDS = [str(path.relative_to(ROOT)) for path in PAGES]

FENCED = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
ENV = re.compile(r"\bBEACOND_[A-Z0-9_]*[A-Z0-9]\b")
KNOWN_ENV = {setting.env for setting in SETTINGS} | {"BEACOND_AGENT"}


def blocks(text: str, *languages: str) -> Iterator[str]:
    for indent, language, body in FENCED.findall(text):
        if language in languages:
            yield "\n".join(line.removeprefix(indent) for line in body.splitlines())


def anchors(text: str) -> set[str]:
    """The fragments a page's headings can be linked by, as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", h.lower()) for h in HEADING.findall(FENCED.sub("", text)))
    return {word.replace(" ", "-") for word in words}


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"{link}: no such file"
        elif fragment and target.suffix == ".md" and fragment not in anchors(target.read_text()):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    found = list(broken_links(page))
    assert not found, "\n".join(found)


def test_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c!\n[x](gone.md) [y](#a-b-c) [z](page.md#gone) [w](https://a.example)")
    assert [line.split(":")[0] for line in broken_links(page)] == ["gone.md", "page.md#gone"]


def command_lines(script: str) -> Iterator[list[str]]:
    """The arguments of each `beacond …` that a shell script or session calls."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";|&()<>"):
                words.append(word)
                continue
            if (called := beacond_in(words)) is not None:
                yield words[called + 1 :]
            words = []


def beacond_in(words: list[str]) -> int | None:
    """Where in a simple command our program stands: first, or after one that starts others."""
    starter = bool(words) and (words[0] in ("sudo", "exec", "env", "docker") or "=" in words[0])
    for i, word in enumerate(words if starter else words[:1]):
        # `sudo -u beacond`, `docker build -t beacond`: an option's value.
        if word.rpartition("/")[2] == "beacond" and not (i and words[i - 1].startswith("-")):
            return i
    return None


def usage_problem(arguments: list[str]) -> str | None:
    """What click would say of the words, without their values being looked at or anything run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="beacond", **cli.context_settings)
    while isinstance(command, click.Group):
        if not arguments or arguments[0].startswith("-"):
            break
        name, *arguments = arguments
        found = command.get_command(context, name)
        if found is None:
            return f"no command {name!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    try:
        values, rest, _ = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError as error:
        return error.format_message()
    if rest and not context.allow_extra_args:
        return f"unexpected {' '.join(rest)!r}"
    if any(values.get(str(p.name)) for p in command.get_params(context) if p.is_eager):
        return None
    for parameter in command.params:
        value = values.get(str(parameter.name))
        if parameter.required and not (value and isinstance(value, str | list | tuple)):
            return f"{parameter.human_readable_name} is missing"
    return None


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_shown_commands_parse(page: Path) -> None:
    lines = [
        a for s in blocks(page.read_text(), "", "sh", "bash", "console") for a in command_lines(s)
    ]
    found = [f"beacond {' '.join(a)}: {problem}" for a in lines if (problem := usage_problem(a))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "beacond registre web --port 80",
        "beacond register web --prot 80",
        "curl -s localhost | .venv/bin/beacond services --jsn",
        "sudo -u beacond beacond check-config",
        "x=1 beacond status extra words; echo done",
    ],
)
def test_command_that_does_not_parse_is_found(line: str) -> None:
    (arguments,) = command_lines(line)
    assert usage_problem(arguments)


@pytest.mark.parametrize(
    "line",
    [
        "beacond register web --port 8080 \\\n  --tag blue --check http:/health,interval=5s &",
        "$ beacond run --name web --port 9000 -- python3 -m http.server 9000  # a comment",
        "beacond agent --bus local:// --http off > log",
        "beacond --version",
        "beacond services --help",
    ],
)
def test_command_that_parses_is_not_found(line: str) -> None:
    (arguments,) = command_lines(line)
    assert usage_problem(arguments) is None


def test_other_mentions_of_beacond_are_no_commands() -> None:
    assert not list(
        command_lines("systemctl status beacond\njournalctl -u beacond -f\nls /beacond")
    )


def toml_problems(text: str) -> Iterator[str]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        yield str(error)
        return
    for number, instance in enumerate(table.pop("instance", [])):
        try:
            parse_instance(instance, default_address="192.0.2.1", allow_exec=True)
        except ValueError as error:
            yield f"instance {number}: {error}"
    keys = {setting.key for setting in SETTINGS}
    yield from (f"no setting {key!r}" for key in table if key not in keys)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_shown_configuration_has_known_keys(page: Path) -> None:
    found = [
        problem for text in blocks(page.read_text(), "toml") for problem in toml_problems(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    ["nodes = 'x'", "[[instance]]\nid = 'a'\nservice = 'a'\nport = 1\ncolour = 1", "x ="],
)
def test_wrong_configuration_is_found(text: str) -> None:
    assert list(toml_problems(text))


def test_right_configuration_is_not_found() -> None:
    text = "bus = ['local://']\n[[instance]]\nid = 'a'\nservice = 'a'\nport = 1"
    assert not list(toml_problems(text))


@pytest.mark.parametrize("path", TEXTS, ids=[str(path.relative_to(ROOT)) for path in TEXTS])
def test_named_environment_variables_are_settings(path: Path) -> None:
    assert set(ENV.findall(path.read_text())) <= KNOWN_ENV
