"""tinyvq data: which sets there are, and whether they can be had here."""

from pathlib import Path

import pytest
from cli.command_line import fails, succeeds
from data.emoji_font import disc, png, write_font

from tinyvq.data import CATALOG, _emoji, _photos


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the font of emoji is looked for; nothing else is installed."""
    monkeypatch.setattr(_emoji, "FONTS", (tmp_path / "emoji.ttf",))
    monkeypatch.setattr(_photos, "BACKGROUNDS", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TINYVQ_DATA", raising=False)
    return tmp_path / "emoji.ttf"


def listed(name: str) -> str:
    """The last line that `data list` prints about a set."""
    (about,) = (
        paragraph
        for paragraph in succeeds("data", "list").out.split("\n\n")
        if paragraph.startswith(f"{name}\n")
    )
    return about.splitlines()[-1].strip()


def test_data_list_names_every_set_with_its_licence() -> None:
    out = succeeds("data", "list").out
    assert list(CATALOG) == [p.split("\n")[0] for p in out.split("\n\n") if p]
    for known in CATALOG.values():
        assert f"  {known.what}\n  licence: {known.licence}\n" in out


def test_data_list_tells_what_can_be_built(font: Path) -> None:
    assert listed("emoji") == f"cannot be built: {_emoji.lacking()}"
    assert listed("photos") == f"cannot be built: {_photos.lacking()}"
    write_font(font, {(0x2600,): png(disc((1, 2, 3)))})
    can = "can be built from what is installed: tinyvq data fetch emoji"
    assert listed("emoji") == can


def test_data_fetch_builds_a_set_once(font: Path, tmp_path: Path) -> None:
    missing = fails("data", "fetch", "emoji")
    assert missing == f"error: cannot build emoji: {_emoji.lacking()}"
    write_font(font, {(0x2600,): png(disc((1, 2, 3)))})
    place = str(tmp_path / "cache/tinyvq/data/emoji")
    first, second = (succeeds("data", "fetch", "emoji") for _ in range(2))
    assert first.out == second.out == f"{place}\n"
    assert first.err.startswith(f"building emoji into {place}/emoji.npz")
    assert second.err == ""
    assert listed("emoji") == place


def test_data_fetch_leaves_what_the_user_has(
    font: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "emoji"
    own.mkdir(parents=True)
    (own / "emoji.npz").write_bytes(b"")
    monkeypatch.setenv("TINYVQ_DATA", str(tmp_path / "own"))
    assert succeeds("data", "fetch", "emoji").out == f"{own}\n"
    assert not (tmp_path / "cache").exists()


def test_data_fetch_of_what_is_shipped() -> None:
    place = succeeds("data", "fetch", "fashion-mnist-5k").out.strip()
    assert (Path(place) / "fashion-mnist-5k.npz").exists()
