"""The demo recordings that a real Whisper understands, made anew: `python -m models.demo.spoken_recordings`.

As those of `recordings`, but with neural voices and real sentences: what is said in each stands below, and goes with
its times into a reference. The people do not exist, nor do their cases. Run it in the environment that
`neural_voices` describes; lines once spoken are kept in `build/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.demo.neural_voices import GONGITSUNE, HEART, JOE, KUMO, NEZUMI, RATE, Samples, say

SEED = 1_906
SHIPPED = Path(__file__).resolve().parents[2] / "caseprep_pipelines" / "demo"
KEPT = Path("build") / "spoken"

Line = tuple[str, str]

DEPOSITION: tuple[Line, ...] = (
    ("examiner", "We are back on the record. Would you please state your full name?"),
    ("witness", "My name is Margaret Ellen Doyle."),
    ("examiner", "Thank you. Where were you standing when the two cars collided?"),
    ("witness", "I was waiting at the bus stop, right across from the bank."),
    ("examiner", "Could you see the traffic light from there?"),
    ("witness", "Yes, I could see it very clearly. It had just turned red."),
    ("examiner", "And the delivery truck, did it stop?"),
    ("defending counsel", "Objection. That calls for speculation."),
    ("examiner", "You may answer the question, if you know."),
    ("witness", "No, it did not stop. The driver never even slowed down."),
    ("examiner", "I am handing you what has been marked as exhibit four. Do you recognize this photograph?"),
    ("witness", "I do. It shows the corner of Lincoln Avenue and Third Street."),
    ("examiner", "Did you take that photograph yourself?"),
    ("witness", "No, I did not. My sister took it the following morning."),
    ("examiner", "Were you wearing your glasses that day?"),
    ("witness", "I was not. I only need them for reading."),
    (
        "defending counsel",
        "One moment, please. Let the record reflect that the witness is looking at the police report, which we have "
        "not been shown before today.",
    ),
    ("examiner", "Did anyone from the insurance company contact you after the accident?"),
    ("witness", "A man called me twice. I told him that I did not want to talk about it."),
    ("examiner", "Why not?"),
    ("witness", "Because I was afraid of losing my job."),
    ("examiner", "Thank you. I have no further questions at this time."),
    (
        "defending counsel",
        "We will reserve our questions for trial. I would also like a copy of the transcript, with all of the exhibits "
        "attached.",
    ),
)
JAIL_CALL: tuple[Line, ...] = (
    ("inmate", "Hey, it's me. Did you get my letter?"),
    ("caller", "I got it yesterday. I read it three times."),
    ("inmate", "Listen, do not talk about the car on this phone. They record everything."),
    ("caller", "I know. I wasn't going to say anything."),
    ("inmate", "Did you speak to the lawyer?"),
    ("caller", "Yes. She said the hearing was moved to next Friday, at ten in the morning."),
    ("inmate", "That's good. Did she say anything about bail?"),
    ("caller", "She thinks the judge will lower it, but she can't promise."),
    ("inmate", "Tell my mother that I am doing fine, and tell her not to worry."),
    ("caller", "I will. The kids miss you. They ask about you every night."),
    ("inmate", "I miss them too. I have to go, my time is almost up."),
    ("caller", "Okay. I love you. Call me on Sunday."),
    ("inmate", "I will. I love you too."),
)
COURTROOM: tuple[Line, ...] = (
    ("judge", "Please be seated. Counsel, you may call your next witness."),
    ("prosecutor", "Thank you, Your Honor. The State calls Officer Rebecca Turner."),
    (
        "judge",
        "Please raise your right hand. Do you swear to tell the truth, the whole truth, and nothing but the truth?",
    ),
    ("witness", "I do."),
    ("prosecutor", "Officer, what did you find when you entered the apartment?"),
    ("witness", "The back door was broken, and there was glass all over the kitchen floor."),
    ("defending counsel", "Objection, Your Honor. Lack of foundation."),
    ("judge", "The objection is overruled. You may continue."),
    ("witness", "We found the defendant's jacket on the stairs."),
    ("prosecutor", "Was anyone else in the building?"),
    ("witness", "No, there was nobody else."),
    ("defending counsel", "Your Honor, may we approach the bench?"),
    ("judge", "You may. We will take a short recess."),
)
PHONE_INTERVIEW: tuple[Line, ...] = (
    ("interviewer", "Good afternoon. This call is being recorded. Is that all right with you?"),
    ("caller", "That's fine."),
    ("interviewer", "Please tell me what you remember about the night of the fire."),
    ("caller", "I woke up because I smelled smoke. It must have been around two in the morning."),
    ("interviewer", "Did you hear the alarm?"),
    ("caller", "No. The alarm never went off."),
    ("interviewer", "Who else was in the house?"),
    ("caller", "Only my brother. He was asleep upstairs, and I had to carry him out."),
    ("interviewer", "Had you noticed any problem with the wiring?"),
    ("caller", "We complained to the landlord twice. He never sent anyone to fix it."),
    ("interviewer", "Do you still have those letters?"),
    ("caller", "I have copies of both of them."),
    ("interviewer", "Thank you. That is very helpful."),
)
ROADSIDE: tuple[Line, ...] = (
    ("officer", "Good evening. Do you know why I stopped you tonight?"),
    ("driver", "No, officer. Was I driving too fast?"),
    ("officer", "You went through the stop sign back there. License and registration, please."),
    ("driver", "I'm sorry. I didn't see it. My license is in my bag."),
    ("officer", "Have you had anything to drink this evening?"),
    ("driver", "I had one glass of wine with dinner, about three hours ago."),
    ("officer", "I'm going to ask you to step out of the car, please."),
    ("driver", "Do I have to?"),
    ("officer", "Yes, you do. Please stand over here, by the lights."),
)


def spoken(voice: str, text: str) -> Samples:
    """As `neural_voices.say`, once for every line."""
    file = KEPT / f"{hashlib.sha256(f'{voice} {text}'.encode()).hexdigest()[:16]}.npy"
    if not file.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        np.save(file, say(voice, text))
    return np.asarray(np.load(file), dtype=np.float32)


def converse(
    random: Random, lines: tuple[Line, ...], voices: dict[str, str], overlaps: int = 0
) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    """What each speaker says, a channel a speaker in the order of `voices`, and who said which words from when to when.

    `overlaps` times somebody begins before the other has ended.
    """
    people = list(voices)
    placed: list[tuple[int, int, Samples, str]] = []
    clock = 0.8
    early = sorted(random.sample(range(3, len(lines)), overlaps))
    for number, (speaker, text) in enumerate(lines):
        sound = spoken(voices[speaker], text)
        gap = -0.3 if number in early else random.uniform(0.35, 0.9)
        clock += gap if number else 0.0
        placed.append((people.index(speaker), round(clock * RATE), sound, text))
        clock += len(sound) / RATE
    alone = np.zeros((len(people), round((clock + 0.8) * RATE)), dtype=np.float32)
    for channel, first, sound, _ in placed:
        alone[channel, first : first + len(sound)] += sound
    truth = [
        {
            "speaker": people[channel],
            "words": text,
            "start_time": round(first / RATE, 3),
            "end_time": round((first + len(sound)) / RATE, 3),
        }
        for channel, first, sound, text in placed
    ]
    return alone, truth


def mixed(alone: NDArray[np.float32], gains: list[float]) -> NDArray[np.float32]:
    """One microphone for all."""
    return np.asarray((alone * np.array(gains, dtype=np.float32)[:, None]).sum(0, keepdims=True))


def with_noise(random: Random, samples: NDArray[np.float32], snr: float) -> NDArray[np.float32]:
    """A room's noise, less of it the higher it sounds, that many decibels below speech; another on each channel."""
    generator = np.random.default_rng(random.getrandbits(32))
    spectrum = np.fft.rfft(generator.standard_normal(samples.shape))
    tilt = np.sqrt(np.maximum(np.fft.rfftfreq(samples.shape[1], 1 / RATE), 60.0))
    noise = np.fft.irfft(spectrum / tilt, samples.shape[1])
    noise *= 0.08 * 10 ** (-snr / 20) / np.sqrt(np.mean(np.square(noise)))
    return np.asarray(samples + noise, dtype=np.float32)


def make(out: Path) -> None:
    """Write the recordings, their references and `spoken.json`, the manifest, below `out`."""
    from scipy.signal import butter, resample_poly, sosfiltfilt

    from models.demo.recordings_media import write_audio, write_video

    entries: list[dict[str, Any]] = []
    folder = out / "spoken"
    folder.mkdir(parents=True, exist_ok=True)

    def enter(name: str, matter: str, channels: int, truth: list[dict[str, Any]]) -> None:
        file = folder / name
        reference = folder / f"{file.stem}.json"
        parts = [{"session_id": file.stem, **part} for part in sorted(truth, key=lambda part: part["start_time"])]
        reference.write_text("[\n" + ",\n".join(map(json.dumps, parts)) + "\n]\n", encoding="utf-8")
        entries.append(
            {
                "file": f"spoken/{name}",
                "matter": matter,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "expected": {"status": "done", "reason": None},
                "channels": channels,
                "speakers": len({part["speaker"] for part in truth}),
                "seconds": round(max(part["end_time"] for part in truth) + 0.8, 1),
                "reference": f"spoken/{reference.name}",
            }
        )

    random = Random(SEED)
    voices = {"examiner": JOE, "witness": HEART, "defending counsel": KUMO}
    alone, truth = converse(random, DEPOSITION, voices, overlaps=1)
    sound = with_noise(random, mixed(alone, [1.0, 0.8, 0.9]), 30)
    write_audio(folder / "deposition-of-margaret-doyle.m4a", sound, RATE, "aac", 32_000)
    enter("deposition-of-margaret-doyle.m4a", "demo-2026-001", 1, truth)

    alone, truth = converse(random, JAIL_CALL, {"inmate": JOE, "caller": HEART}, overlaps=1)
    write_audio(
        folder / "call-from-the-jail.mp3", with_noise(random, alone, 28), RATE, "libmp3lame", 48_000,
        {"joint_stereo": "0"},
    )  # fmt: skip
    enter("call-from-the-jail.mp3", "demo-2026-002", 2, truth)

    voices = {"judge": JOE, "witness": GONGITSUNE, "defending counsel": HEART, "prosecutor": KUMO}
    alone, truth = converse(random, COURTROOM, voices)
    sound = with_noise(random, alone + 0.03 * (alone.sum(0, keepdims=True) - alone), 30)
    write_audio(folder / "courtroom-four-microphones.mka", sound, RATE, "libopus", 64_000)
    enter("courtroom-four-microphones.mka", "demo-2026-001", 4, truth)

    alone, truth = converse(random, PHONE_INTERVIEW, {"interviewer": NEZUMI, "caller": JOE})
    line = butter(4, [300, 3_400], "bandpass", fs=RATE, output="sos")
    narrow = resample_poly(sosfiltfilt(line, with_noise(random, mixed(alone, [1.0, 0.8]), 24)[0]), 1, 2)
    write_audio(
        folder / "interview-by-telephone.wav", np.asarray(narrow[None], dtype=np.float32), RATE // 2, "pcm_mulaw"
    )
    enter("interview-by-telephone.wav", "demo-2026-003", 1, truth)

    alone, truth = converse(random, ROADSIDE, {"officer": KUMO, "driver": GONGITSUNE})
    sound = with_noise(random, mixed(alone, [1.0, 0.7]), 24)
    write_video(folder / "traffic-stop.mp4", sound, sound.shape[1] / RATE)
    enter("traffic-stop.mp4", "demo-2026-003", 1, truth)

    (out / "spoken.json").write_text(json.dumps({"schema_version": 1, "recordings": entries}, indent=2) + "\n")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=SHIPPED, help="where spoken/ and spoken.json go")
    make(arguments.parse_args().out)


if __name__ == "__main__":
    main()
