"""The recordings that ship with the project, made anew: `python -m models.demo.recordings`.

Seven small files as they come from a court reporter, a jail's telephone system, a courtroom recorder, a telephone, a
camera and two careless senders; what was said in each, by whom and when; and a manifest of what `caseprep demo` must
make of them. Speech is synthetic, of voices that no demo model was trained on (of one the recogniser heard the variant
with another accent, see `README.md`), and the people do not exist. Codecs are in `recordings_media`; sentences and
voices come from `language` and `synthesis`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.demo import language
from models.demo.diarization_voices import RATE, Placed, Speaker, mix, noise, speak

SEED = 1_851
SHIPPED = Path(__file__).resolve().parents[2] / "caseprep_pipelines" / "demo"


PEOPLE = (
    Speaker("en-us+f3", 0, 160, 1.0),
    Speaker("en-us+m2", -8, 158, 1.0),
    Speaker("en-us+m7", 16, 165, 1.0),
    Speaker("en-us+f5", 22, 162, 1.0),
)
"""Voices unseen in training, as unlike each other as there are, at an unhurried speed."""


def converse(random: Random, cast: Sequence[Speaker], kind: str, seconds: float, overlaps: int = 0) -> list[Placed]:
    """One after the other, everybody for at least five seconds in all; `overlaps` times somebody comes in too early."""
    while True:
        placed: list[Placed] = []
        clock, early = 0.8, overlaps
        lines = iter(language.conversation(random, len(cast), kind, test=True))
        while clock < seconds - 1.5:
            line = next(lines, None)
            if line is None:
                lines = iter(language.conversation(random, len(cast), kind, test=True))
                continue
            spoken = speak(cast[line.speaker], line.text, random)
            gap = random.uniform(0.35, 0.9) if random.random() < 0.85 else random.uniform(1.2, 2.2)
            if early and len(placed) > 3 and placed[-1].speaker != line.speaker and random.random() < 0.3:
                gap, early = -0.4, early - 1
            clock += gap
            placed.append(Placed(line.speaker, line.text, clock, spoken))
            clock += len(spoken.samples) / RATE
        heard = [sum(len(p.spoken.samples) for p in placed if p.speaker == s) / RATE for s in range(len(cast))]
        if clock < seconds + 3 and min(heard) > 5:
            return placed


def channels(placed: list[Placed], count: int, bleed: float) -> NDArray[np.float32]:
    """One speaker on each channel, and a little of each in the others' microphones."""
    alone = np.stack([mix(placed, [1.0 if s == channel else 0.0 for s in range(count)]) for channel in range(count)])
    return np.asarray(alone + bleed * (alone.sum(0, keepdims=True) - alone), dtype=np.float32)


def with_noise(random: Random, samples: NDArray[np.float32], snr: float) -> NDArray[np.float32]:
    """Room noise that many decibels below speech, another one on each channel."""
    level = np.float32(0.08 * 10 ** (-snr / 20))
    return np.stack([channel + level * noise(random, len(channel)) for channel in np.atleast_2d(samples)])


def reference(session: str, placed: list[Placed], names: list[str]) -> list[dict[str, Any]]:
    """SegLST: who said which words from when to when, in seconds; and each word's times, which SegLST does not know."""
    return [
        {
            "session_id": session,
            "speaker": names[p.speaker],
            "words": p.text,
            "start_time": round(p.start + p.spoken.words[0][0], 3),
            "end_time": round(p.start + p.spoken.words[-1][1], 3),
            "word_times": [[round(p.start + start, 3), round(p.start + end, 3)] for start, end in p.spoken.words],
        }
        for p in sorted(placed, key=lambda p: p.start)
    ]


def make(out: Path) -> None:
    """Write every recording, its reference and the manifest below `out`."""
    from scipy.signal import butter, resample_poly, sosfiltfilt

    from models.demo.recordings_media import write_audio, write_video

    entries: list[dict[str, Any]] = []
    for folder in ("recordings", "references"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    def enter(
        name: str, matter: str, channel_count: int, placed: list[Placed], names: list[str], reason: str | None
    ) -> None:
        file = out / "recordings" / name
        entry: dict[str, Any] = {
            "file": f"recordings/{name}",
            "matter": matter,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "expected": {"status": "rejected" if reason else "done", "reason": reason},
        }
        if reason is None:
            stem = Path(name).stem
            truth = reference(stem, placed, names)
            (out / "references" / f"{stem}.json").write_text("[\n" + ",\n".join(map(json.dumps, truth)) + "\n]\n")
            entry["channels"] = channel_count
            entry["speakers"] = len(names)
            entry["seconds"] = round(max(t["end_time"] for t in truth) + 0.8, 1)
            entry["reference"] = f"references/{stem}.json"
        entries.append(entry)

    def say(number: int, kind: str, names: list[str], seconds: float, overlaps: int = 0) -> tuple[Random, list[Placed]]:
        random = Random(SEED + number)
        return random, converse(random, PEOPLE[: len(names)], kind, seconds, overlaps)

    def path(name: str) -> Path:
        return out / "recordings" / name

    names = ["examiner", "witness", "defending counsel"]
    random, placed = say(1, "deposition", names, 75, overlaps=1)
    write_audio(
        path("deposition-of-a-witness.m4a"), with_noise(random, mix(placed, [1.0, 0.8, 0.9]), 28), RATE, "aac", 32_000
    )
    enter("deposition-of-a-witness.m4a", "demo-2026-001", 1, placed, names, None)

    names = ["inmate", "caller"]
    random, placed = say(2, "jail_call", names, 40, overlaps=1)
    sound = with_noise(random, channels(placed, 2, 0.0), 26)
    write_audio(path("jail-call.mp3"), sound, RATE, "libmp3lame", 48_000, {"joint_stereo": "0"})
    enter("jail-call.mp3", "demo-2026-002", 2, placed, names, None)

    names = ["judge", "witness", "defending counsel", "prosecutor"]
    random, placed = say(3, "court", names, 42, overlaps=1)
    sound = with_noise(random, channels(placed, 4, 0.03), 30)
    write_audio(path("courtroom-excerpt.mka"), sound, RATE, "libopus", 80_000)
    enter("courtroom-excerpt.mka", "demo-2026-001", 4, placed, names, None)

    names = ["interviewer", "caller"]
    random, placed = say(4, "interview", names, 45)
    line = butter(4, [300, 3_400], "bandpass", fs=RATE, output="sos")
    narrow = resample_poly(sosfiltfilt(line, with_noise(random, mix(placed, [1.0, 0.8]), 18)[0]), 1, 2)
    write_audio(path("phone-interview.wav"), np.asarray(narrow[None], dtype=np.float32), RATE // 2, "pcm_mulaw")
    enter("phone-interview.wav", "demo-2026-003", 1, placed, names, None)

    names = ["officer", "driver"]
    random, placed = say(5, "interview", names, 30)
    sound = with_noise(random, mix(placed, [1.0, 0.7]), 22)
    write_video(path("roadside-camera.mp4"), sound, sound.shape[1] / RATE)
    enter("roadside-camera.mp4", "demo-2026-003", 1, placed, names, None)

    path("voicemail.mp3").write_text("This is a note about a voicemail, saved under the wrong ending.\n" * 20)
    enter("voicemail.mp3", "demo-2026-002", 0, [], [], "not-media")
    write_video(path("hallway-camera-without-sound.mp4"), None, 5.0)
    enter("hallway-camera-without-sound.mp4", "demo-2026-003", 0, [], [], "no-audio-stream")

    matters = {
        "demo-2026-001": "Demo matter: a collision at an intersection",
        "demo-2026-002": "Demo matter: calls from a jail",
        "demo-2026-003": "Demo matter: interviews",
        "demo-2026-004": "Demo matter: a telephone call",
    }
    manifest = {"schema_version": 1, "matters": matters, "recordings": entries}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--out", type=Path, default=SHIPPED, help="where recordings/, references/ and manifest.json go"
    )
    make(arguments.parse_args().out)


if __name__ == "__main__":
    main()
