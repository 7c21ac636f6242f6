"""The README tells the truth: its snippets run, its two commands are the ones that are checked."""

import re
import tomllib
from pathlib import Path

import pytest

from dask_coded.demo import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(language: str) -> list[tuple[int, str]]:
    """Bodies of the fences of one language, each with the number of its first line."""
    return [
        (TEXT.count("\n", 0, match.start("body")) + 1, match["body"])
        for match in FENCE.finditer(TEXT)
        if match["language"] == language
    ]


def commands() -> list[str]:
    return [line for _, body in fences("shell") for line in body.splitlines()]


def test_snippets_run_in_reading_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippets = fences("python")
    assert snippets
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, source in snippets:
        # Blank lines in front, so that a traceback points at the line of the README.
        exec(compile("\n" * (line - 1) + source, str(ROOT / "README.md"), "exec"), namespace)


def test_two_commands_each_install_and_run() -> None:
    demo, tests = commands()
    assert demo.startswith("pip install ")
    assert tests.startswith("pip install ")
    assert demo.endswith(" && python -m dask_coded demo")
    assert tests.endswith(" && pytest")


def test_ci_runs_the_test_command_word_for_word() -> None:
    _, tests = commands()
    assert tests in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_main_command_is_one_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, arguments = commands()[0].partition("python -m dask_coded ")
    with pytest.raises(SystemExit) as left:
        main([*arguments.split(), "--help"])
    assert left.value.code == 0
    assert arguments in capsys.readouterr().out


def test_commands_name_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra
        for group in re.findall(r"\[([\w,]+)\]", " ".join(commands()))
        for extra in group.split(",")
    }
    assert named
    assert named <= project["optional-dependencies"].keys()


def test_files_that_the_readme_links_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
