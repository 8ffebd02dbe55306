"""Encrypted media are called that, and not damaged."""

from pathlib import Path

import pytest

from caseprep_pipelines.audio.encryption import encrypted, scrambled
from caseprep_pipelines.audio.limits import Limits
from caseprep_pipelines.audio.probe import probe
from caseprep_pipelines.audio.views import View
from caseprep_pipelines.rejections import REMEDIES, Reason, RejectedRecording
from caseprep_pipelines_tests.audio.media import Audio, beeps, mux


def element(name: int, content: bytes) -> bytes:
    """A Matroska element; every length in eight bytes."""
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (1 << 56 | len(content)).to_bytes(8, "big") + content


def matroska(protected: bool) -> bytes:
    protection = element(0x6D80, element(0x6240, element(0x5033, b"\x01") + element(0x5035, b"")))
    track = element(0xD7, b"\x01") + element(0x83, b"\x02") + element(0x86, b"A_OPUS")
    tracks = element(0x1654AE6B, element(0xAE, track + (protection if protected else b"")))
    return element(0x1A45DFA3, element(0x4282, b"webm")) + element(0x18538067, tracks)


def protected_mp4(folder: Path, entry: bytes) -> Path:
    """As Common Encryption leaves it: the sample entry is renamed, the samples are noise."""
    path = mux(folder / "x.mp4", Audio(beeps(48_000, 5), 48_000, "aac"))
    data = bytearray(path.read_bytes())
    at = data.index(b"mp4a")
    data[at : at + 4] = entry
    path.write_bytes(data)
    return path


def scrambled_stream(folder: Path) -> Path:
    path = mux(folder / "x.ts", Audio(beeps(48_000, 5), 48_000, "mp2"), picture_seconds=5)
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 188):
        if (data[at + 1] & 31) << 8 | data[at + 2] >= 0x100:
            data[at + 3] |= 0x80
            data[at + 12 : at + 188] = bytes((byte * 7 + at) & 0xFF for byte in range(176))
    path.write_bytes(data)
    return path


def files(folder: Path) -> dict[str, Path]:
    def written(name: str, data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    asf = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + (200).to_bytes(8, "little") + bytes(6)
    return {
        "openssl": written("a.wav", b"Salted__" + bytes(range(256)) * 20),
        "pgp": written("b.mp3", b"-----BEGIN PGP MESSAGE-----\n\nhQEMA" + b"x" * 500),
        "dictation": written("c.ds2", b"\x03enc" + bytes(1000)),
        "matroska": written("d.mkv", matroska(protected=True)),
        "windows media": written("e.wma", asf + bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + bytes(400)),
        "mp4": protected_mp4(folder, b"enca"),
        "transport stream": scrambled_stream(folder),
    }


@pytest.mark.parametrize(
    "name", ["openssl", "pgp", "dictation", "matroska", "windows media", "mp4", "transport stream"]
)
def test_encrypted_media_say_that_they_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(RejectedRecording) as rejected:
        probe(files(tmp_path)[name], Limits())
    assert rejected.value.reason == Reason.ENCRYPTED
    assert "encrypted" in REMEDIES[Reason.ENCRYPTED]


@pytest.mark.parametrize(("name", "codec"), [("x.mp4", "aac"), ("x.mkv", "aac"), ("x.ts", "mp2")])
def test_clear_media_are_not(tmp_path: Path, name: str, codec: str) -> None:
    view = View(mux(tmp_path / name, Audio(beeps(48_000, 5), 48_000, codec), picture_seconds=5).read_bytes())
    assert encrypted(view) is None
    assert not scrambled(view)
    assert encrypted(View(matroska(protected=False))) is None
