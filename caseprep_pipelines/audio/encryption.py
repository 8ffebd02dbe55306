"""Whether the sound is encrypted, by what the bytes say: pure functions. Nothing is ever decrypted here.

FFmpeg opens some such files and decodes noise, and calls others damaged; people must hear that a key is missing.
"""

from collections.abc import Iterator

from caseprep_pipelines.audio.stated_lengths import ebml_number, mp4_tracks, transport_packet
from caseprep_pipelines.audio.views import View

#: Sample entries of encrypted tracks: Common Encryption, Apple's and Audible's own.
_MP4_ENTRIES = frozenset({"enca", "drms", "aavd"})

_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
#: Content Encryption, Extended Content Encryption and Advanced Content Encryption objects.
_ASF_ENCRYPTION = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
    bytes.fromhex("b69b077aa4da124ea5ca91d38dc11a8d"),
)

#: Files that are encrypted as a whole.
_BEGINNINGS = {
    b"Salted__": "OpenSSL",
    b"-----BEGIN PGP MESSAGE": "OpenPGP",
    b"age-encryption.org/": "age",
    b"\x03enc": "an encrypted dictation (DS2)",
}

#: Packets of a transport stream that are looked at, and the largest header that is read.
_PACKETS = 20_000
_LARGEST_HEADER = 4 << 20


def encrypted(view: View) -> str | None:
    """What encrypts all audio of the file, in a few words; None where nothing says so."""
    head = view.at(0, 32)
    for beginning, name in _BEGINNINGS.items():
        if head.startswith(beginning):
            return name
    if head[4:8] == b"\x57\x90\x75\x36":
        return "an Audible file"
    if head[4:8] in (b"ftyp", b"moov", b"styp"):
        tracks = mp4_tracks(view)
        if tracks and all(track.format in _MP4_ENTRIES for track in tracks):
            return f"MP4 track {tracks[0].format}"
    if head.startswith(_ASF_HEADER):
        header = view.at(0, min(int.from_bytes(head[16:24], "little"), _LARGEST_HEADER))
        if any(guid in header for guid in _ASF_ENCRYPTION):
            return "Windows Media"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        audio = list(_matroska_audio(view))
        if audio and all(audio):
            return "Matroska"
    if head.startswith(b"ea3"):
        start = 10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
        header = view.at(start, 8)
        if header.startswith(b"EA3") and int.from_bytes(header[6:8], "big", signed=True) not in (-1, -128):
            return "OpenMG"
    return None


def scrambled(view: View) -> bool:
    """Whether most of a transport stream's packets are scrambled; its tables never are."""
    packet = transport_packet(view)
    if packet is None:
        return False
    size, at = packet
    data = view.at(0, size * _PACKETS)
    payload = clear = 0
    for offset in range(at, len(data) - 3, size):
        pid = (data[offset + 1] & 31) << 8 | data[offset + 2]
        if data[offset] == 0x47 and 0x20 <= pid < 0x1FFF and data[offset + 3] & 0x10:
            payload += 1
            clear += data[offset + 3] & 0xC0 == 0
    return payload > 0 and clear < payload / 2


def _matroska_audio(view: View) -> Iterator[bool]:
    """For each audio track whether it is encrypted."""
    for segment, start, end in _elements(view, 0, view.size):
        if segment != 0x18538067:
            continue
        for element, first, last in _elements(view, start, end):
            if element == 0x1654AE6B and last - first <= _LARGEST_HEADER:
                tracks = View(view.at(first, last - first))
                for track, begins, ends in _elements(tracks, 0, tracks.size):
                    if track == 0xAE:
                        inside = {name: (a, b) for name, a, b in _elements(tracks, begins, ends)}
                        kind = tracks.at(inside.get(0x83, (0, 0))[0], 1) if 0x83 in inside else b""
                        if kind == b"\x02":
                            yield 0x6D80 in inside and _encodes(tracks, *inside[0x6D80])
                return
        return


def _encodes(view: View, start: int, end: int) -> bool:
    return any(
        inner == 0x5035
        for name, first, last in _elements(view, start, end)
        if name == 0x6240
        for inner, _, _ in _elements(view, first, last)
    )


def _elements(view: View, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Elements side by side: name, and where contents begin and end; one of unknown length reaches to the end."""
    for _ in range(100_000):
        if start >= end:
            return
        name, after = ebml_number(view, start, keep=True)
        length, first = ebml_number(view, after)
        if name is None or first == after:
            return
        last = end if length is None else min(first + length, end)
        yield name, first, last
        start = last
