"""What a user sees of the encoders: the list, one card, and what is missing to run one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ruichat.cli import doctor_encoder
from ruichat.cli import main as cli
from ruichat.features.encoder import ENCODERS
from ruichat.features.slide_encoders.cards import SLIDE_ENCODERS


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights, no token, no GPU, but what a test brings."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(doctor_encoder, "_gpu", lambda: "")
    monkeypatch.delenv("RUICHAT_WEIGHTS", raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = cli.run(arguments)
    return code, capsys.readouterr().out


def checks(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict]]:
    code, out = run(capsys, "doctor", *arguments, "--json")
    report = json.loads(out)
    assert report["healthy"] == (code == 0)
    return code, {check["name"]: check for check in report["checks"]}


def weights_for(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / name / ENCODERS.get(name).files[0]
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setenv("RUICHAT_WEIGHTS", str(folder))
    return path


def test_the_list_shows_every_card(capsys) -> None:
    code, out = run(capsys, "features", "list-encoders")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert code == 0
    assert set(ENCODERS) <= set(lines)
    words = lines["uni2-h"].split()
    for word in ("1536", "256", "0.5", "681M", "missing", "gated", "CC-BY-NC-ND-4.0", "d517a8dd"):
        assert word in words
    assert "included" in lines["mini"] and "not pinned" in lines["gpfm"]
    assert set(SLIDE_ENCODERS) <= set(lines)
    assert lines["chief"].split()[1:6] == ["ctranspath", "768", "256", "1", "0.7M"]
    assert "included" in lines["mean"] and "missing" in lines["abmil"]


def test_the_list_is_json_too(capsys, tmp_path: Path, monkeypatch) -> None:
    path = weights_for("phikon", tmp_path, monkeypatch)
    (tmp_path / "uni").mkdir()
    for name in ("a.bin", "b.bin"):
        (tmp_path / "uni" / name).touch()
    _, out = run(capsys, "features", "list-encoders", "--json")
    both = json.loads(out)
    assert {item["name"] for item in both["slide_encoders"]} == set(SLIDE_ENCODERS)
    found = {item["name"]: item for item in both["encoders"]}
    assert (found["phikon"]["weights"], found["phikon"]["path"]) == ("here", str(path))
    assert found["uni"]["weights"] == "unclear"
    assert found["virchow2"]["dim"] == 2560 and found["virchow2"]["mean"] == [0.485, 0.456, 0.406]


def test_listing_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from ruichat.cli.main import run\n"
        "for words in (['features','list-encoders'], ['features','show-encoder','uni'],"
        "              ['doctor','--encoder','uni2-h']): run(words)\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_card_is_shown_whole(capsys) -> None:
    _, out = run(capsys, "features", "show-encoder", "prov-gigapath")
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert fields["resize_px"] == "256" and fields["crop_px"] == "224"
    assert fields["gated"] == "yes" and fields["num_parameters"] == "1,134,953,984"
    _, out = run(capsys, "features", "show-encoder", "gpfm", "--json")
    assert json.loads(out)["revision"] == ""


def test_a_slide_encoder_is_shown_and_checked_like_others(capsys, tmp_path, monkeypatch) -> None:
    _, out = run(capsys, "features", "show-encoder", "titan", "--json")
    assert json.loads(out)["tile_encoder"] == "conch-v1.5"
    code, found = checks(capsys, "--encoder", "chief")
    assert code == 3 and "bags of ctranspath" in found["encoder"]["found"]
    assert "CHIEF_pretraining.pth from its authors" in found["weights"]["hint"]
    code, found = checks(capsys, "--encoder", "abmil")
    assert code == 3 and "by training it" in found["weights"]["hint"]
    code, found = checks(capsys, "--encoder", "mean")
    assert code == 0 and found["weights"]["found"] == "none needed"
    (tmp_path / "chief").mkdir()
    (tmp_path / "chief" / "CHIEF_pretraining.pth").touch()
    monkeypatch.setenv("RUICHAT_WEIGHTS", str(tmp_path))
    assert checks(capsys, "--encoder", "chief")[0] == 0


def test_an_unknown_encoder_is_a_usage_error(capsys) -> None:
    assert cli.run(["doctor", "--encoder", "uni2h"]) == 2
    assert "uni2-h" in capsys.readouterr().err
    assert cli.run(["features", "show-encoder", "uni2h"]) == 2


def test_doctor_says_what_a_gated_encoder_lacks(capsys) -> None:
    code, found = checks(capsys, "--encoder", "uni2-h")
    assert code == 3
    assert found["torch"]["status"] == found["transformers"]["status"] == "ok"
    assert found["licence"]["status"] == "missing"
    assert "hf auth login" in found["licence"]["hint"]
    assert "$RUICHAT_WEIGHTS/uni2-h (not set)" in found["weights"]["found"]
    assert "--weights FILE" in found["weights"]["hint"]
    assert "2.7 GB" in found["disk"]["found"] and "4.2 GB needed" in found["memory"]["found"]
    assert found["device"]["status"] == "small"


def test_doctor_is_content_where_the_weights_are(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(doctor_encoder, "memory_bytes", lambda: 16_000_000_000)
    path = weights_for("uni2-h", tmp_path, monkeypatch)
    code, found = checks(capsys, "--encoder", "uni2-h")
    assert code == 0
    assert str(path) in found["weights"]["found"] and "d517a8dd" in found["weights"]["found"]
    assert "disk" not in found and found["licence"]["status"] == "ok"


def test_doctor_looks_past_the_gate_once_logged_in(capsys, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    code, found = checks(capsys, "--encoder", "uni2-h")
    assert code == 3 and found["licence"]["status"] == "ok"
    assert found["weights"]["status"] == "missing"


def test_doctor_weighs_memory_and_disk(capsys, monkeypatch) -> None:
    for there, status in ((3_000_000_000, "missing"), (5_000_000_000, "small"), (0, "ok")):
        monkeypatch.setattr(doctor_encoder, "memory_bytes", lambda there=there: there)
        _, found = checks(capsys, "--encoder", "h-optimus-0")
        assert found["memory"]["status"] == status
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(doctor_encoder.shutil, "disk_usage", lambda _: usage)
    _, found = checks(capsys, "--encoder", "h-optimus-0")
    assert found["disk"]["status"] == "missing" and "HF_HUB_CACHE" in found["disk"]["hint"]


def test_doctor_names_a_folder_that_holds_several(capsys, tmp_path: Path, monkeypatch) -> None:
    weights_for("uni", tmp_path, monkeypatch).rename(tmp_path / "uni" / "a.bin")
    (tmp_path / "uni" / "b.bin").touch()
    code, found = checks(capsys, "--encoder", "uni")
    assert code == 3 and "a.bin, b.bin" in found["weights"]["found"]


def test_mini_lacks_nothing(capsys) -> None:
    code, found = checks(capsys, "--encoder", "mini")
    assert code == 0 and "torch" not in found


def test_weights_arent_downloaded_for_what_brings_its_own(capsys, tmp_path: Path) -> None:
    slide = tmp_path / "slide.tif"
    slide.touch()
    assert cli.run(["features", "extract", str(slide), "--download"]) == 2
    assert "brings its own weights" in capsys.readouterr().err


def test_download_comes_before_the_slide(capsys, tmp_path: Path, monkeypatch) -> None:
    asked: list[str] = []

    def refuse(card: object, names: object) -> Path:
        from ruichat.errors import PrerequisiteError

        asked.append(card.name)  # type: ignore[attr-defined]
        raise PrerequisiteError("gated", hint="accept it")

    monkeypatch.setattr("ruichat.features.encoders.hub.download_first", refuse)
    words = ["features", "extract", str(tmp_path / "none.svs"), "--encoder", "uni2-h"]
    assert cli.run([*words, "--download"]) == 3
    assert asked == ["uni2-h"]


def test_a_package_outside_brings_an_encoder(capsys, tmp_path: Path) -> None:
    """A card through the entry point, found by a fresh process."""
    card = replace(ENCODERS.get("phikon"), name="guest", title="Guest")
    source = (
        "from dataclasses import replace\n"
        "from ruichat.features.encoders.cards_pathology import PHIKON\n"
        "def card(): return replace(PHIKON, name='guest', title='Guest')\n"
    )
    (tmp_path / "guest_encoder.py").write_text(source)
    info = tmp_path / "guest_encoder-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-encoder\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ruichat.encoders]\nguest = guest_encoder:card\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from ruichat.cli.main import run\n"
        "run(['features', 'show-encoder', 'guest', '--json'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    shown = json.loads(result.stdout)
    assert shown["title"] == card.title and shown["dim"] == card.dim
