"""The root command: quick, light, and clear when something is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from drawn import draw_tissue, write_pyramid

from ruichat import __version__
from ruichat.cli import main as cli
from ruichat.errors import (
    ArtifactError,
    ConfigError,
    InputError,
    MissingMppError,
    ModelError,
    PrerequisiteError,
)
from ruichat.registry import require

HEAVY = ("torch", "transformers", "peft", "openslide", "openvino", "sentencepiece", "numpy", "rich")

PROBE = """
import sys
from ruichat.cli.main import run
try:
    code = run(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("\\n#", code, *sorted(set(sys.modules) & set({heavy!r})))
"""


def probe(*arguments: str) -> str:
    """Run in a process of its own; returns its last line: exit code and heavy modules."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], []])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = "2" if not arguments else "0"
    assert probe(*arguments) == f"# {code}"


def test_help_of_ask_loads_nothing_heavy() -> None:
    assert probe("ask", "--help") == "# 0"


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import ruichat, sys; print(*sorted(set(sys.modules) & {'numpy', 'torch', 'typer'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.skipif(os.name == "nt", reason="counts the processor time of children as POSIX does")
def test_help_takes_half_a_second_at_most() -> None:
    """Processor time, so that a busy machine doesn't fail the test."""
    import resource

    code = "from ruichat.cli.main import run; run(['--help'])"
    times: list[float] = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) <= 0.5


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.COMMANDS)


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    assert "Usage: ruichat " + name in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"ruichat {__version__}\n"


@pytest.mark.parametrize("arguments", [["bogus"], ["--bogus"], ["ask"], ["ask", "a.svs", "b.svs"]])
def test_usage_errors_give_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err or "Usage" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask", "{slide}", "tumour?", "--mpp", "0", "--no-overlay"], 4, "--mpp 0 is not a"),
        (["align", "mini", "--config", "{folder}"], 2, "can't be read"),
        (["align", "mini", "--threads", "-1"], 2, "--threads"),
        (["evaluate", "tiles", "{folder}", "--mpp", "-1"], 2, "mpp: Input should be greater"),
        (["phantom", "draw", "{folder}/a.tif", "--mpp", "7"], 2, "mpp: Input should be less"),
        (["phantom", "draw", "{folder}/a.tif", "--classes", "bone"], 2, "Classes are carcinoma"),
    ],
)
def test_wrong_values_are_named_and_no_bug(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide = write_pyramid(tmp_path / "slide.tif", draw_tissue(300, 300), mpp=0.5)
    filled = [item.format(slide=slide, folder=tmp_path) for item in arguments]
    assert cli.run(filled) == code
    err = capsys.readouterr().err
    assert words in err and "This is a bug" not in err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> object:
    """Replace `doctor` by a command that raises what it is told to."""

    def fail_with(error: BaseException) -> None:
        app = typer.Typer()

        @app.command()
        def doctor() -> None:
            raise error

        import ruichat.cli.doctor as module

        monkeypatch.setattr(module, "app", app)

    return fail_with


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("c", hint="h"), 2),
        (PrerequisiteError("p", hint="h"), 3),
        (ModelError("m", hint="h"), 3),
        (InputError("i", hint="h"), 4),
        (MissingMppError("i", hint="h"), 4),
        (ArtifactError("a", hint="h"), 4),
        (ValueError("bug"), 1),
        (KeyboardInterrupt(), 130),
        (typer.Exit(3), 3),
        (typer.Exit(0), 0),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    failing: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(failing)
    failing(error)
    assert cli.run(["doctor"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    if isinstance(error, InputError | ConfigError):
        assert captured.err == f"Error: {error.message}\nHint: h\n"


def test_messages_cannot_steer_the_terminal(
    failing: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(failing)
    failing(InputError("slide \x1b]0;gotcha\x07 \x1b[2J", hint="look\rhere"))
    cli.run(["doctor"])
    assert "\x1b" not in capsys.readouterr().err


def test_debug_shows_where_a_bug_is(failing: object, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(failing)
    failing(ValueError("bug"))
    assert cli.run(["doctor", "--debug"]) == 1
    assert "Traceback" in caplog.text


def test_debug_after_two_dashes_is_a_word() -> None:
    debug, rest = cli._take_debug(["ask", "--debug", "s", "--", "--debug"])
    assert debug
    assert rest == ["ask", "s", "--", "--debug"]


@pytest.mark.skipif(os.name == "nt", reason="no /dev/null reader of this kind on Windows")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = "from ruichat.cli.main import run; import sys; sys.exit(run(['doctor', '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read().decode()
    process.wait(timeout=60)
    assert "Traceback" not in error and "BrokenPipe" not in error


def test_doctor_reports_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.run(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    missing = [check for check in report["checks"] if check["status"] == "missing"]
    assert report["healthy"] == (not missing)
    assert code == (0 if report["healthy"] else 3)
    names = [check["name"] for check in report["checks"]]
    assert {"python", "torch", "openslide library", "weights", "cache", "cores", "memory"} <= set(
        names
    )
    assert all(check["hint"] for check in missing)


def test_doctor_looks_at_every_dependency() -> None:
    from ruichat.cli.doctor import NEEDED

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=~!\[; ]", item)[0] for item in project["dependencies"]]
    assert sorted(NEEDED.values()) == sorted(names)


def test_a_missing_package_is_named_with_what_brings_it() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        require("no_such_package")
    assert caught.value.hint == "Run: pip install ruichat"
    with pytest.raises(PrerequisiteError) as caught:
        require("no_such_package.part", extra="align")
    assert "ruichat[align]" in caught.value.hint


def test_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ruichat.cli import doctor

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RUICHAT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(doctor, "NEEDED", {"no_such_module": "no-such-package"})
    assert cli.run(["doctor"]) == 3
    text = capsys.readouterr().out
    assert "MISSING no-such-package" in text
    assert "pip install no-such-package" in text
    assert "MISSING cache" in text


def test_doctor_lists_plug_ins_that_are_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ruichat.cli import doctor
    from ruichat.features.encoder import ENCODERS
    from ruichat.registry import Broken

    broken = Broken("guest", "guest-encoder", "the plug-in 'guest:card' can't be loaded")
    monkeypatch.setattr(ENCODERS, "_broken", [broken])
    cli.run(["doctor"])
    text = capsys.readouterr().out
    assert re.search(r"BROKEN +plug-in guest +the plug-in 'guest:card' can't be loaded", text)
    assert "-> Update or uninstall the package guest-encoder" in text
    assert all(check.status != "missing" for check in doctor._plugins()), "the rest works"
