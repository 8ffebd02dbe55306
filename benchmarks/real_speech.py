"""Real speech through real models: words, losses, inventions, speakers and speed against faster-whisper and WhisperX.

The starter models (`caseprep models fetch starter`), the same weights for all, int8, on more than an hour of speech
with known words in seventeen conditions, half an hour without speech and an hour with one word. faster-whisper is
called with its makers' defaults (beam search of five), file by file, sequentially and batched; WhisperX as its command
line has it, where it is installed. What is lost and invented is defined in `_real_measure`. Takes two hours on two
cores the first time; what faster-whisper said is kept by content in `out/real_speech`. `REAL_SPEECH_ONLY=call` takes
the recordings whose name or condition begins so, and leaves speed out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import Result, Unavailable
from benchmarks._peers import installed, versions
from benchmarks._real_baselines import WAYS, baselines
from benchmarks._real_corpus import RATE, Item, called, corpus
from benchmarks._real_measure import Score, measure, read_whisperx, score
from benchmarks.common import clean_environment, tool
from benchmarks.short_clips import normalized
from caseprep_pipelines import large_pages
from caseprep_pipelines.speech.engines import usable_cores

KEPT = Path(__file__).parents[1] / "out" / "real_speech"
ONLY = "REAL_SPEECH_ONLY"
MODELS = "STARTER_MODELS_DIRECTORY"
"""Where the starter models lie; by default where `caseprep models fetch` puts them."""
SHORT_CLIPS, LONG_MINUTES, ROUNDS = 300, 10, 3
SPEAKERS = ("call", "conversation", "overlap", "interpreted", "meeting")
"""Conditions in which speakers are told apart and scored."""

#: Decodes every file by itself in one warm process, batched, and prints its seconds and what was said.
BATCHED = """
import json, sys, time
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
model, threads, beam, *paths = sys.argv[1:]
whisper = BatchedInferencePipeline(WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=int(threads)))
audio = [decode_audio(path) for path in paths]
def hear(samples):
    segments, _ = whisper.transcribe(samples, beam_size=int(beam), word_timestamps=True)
    return "".join(segment.text for segment in segments)
hear(audio[0][:480000])
started = time.perf_counter()
said = [hear(samples) for samples in audio]
print(json.dumps([time.perf_counter() - started, said]))
"""
OURS = """
import json, sys, tempfile
from pathlib import Path
from benchmarks._real_ours import transcribe
from benchmarks.real_speech import as_item
model, diarization, *paths = sys.argv[1:]
with tempfile.TemporaryDirectory() as out:
    items = [as_item(Path(path)) for path in paths]
    seconds = transcribe(items, Path(paths[0]).parent, Path(model), Path(diarization), Path(out))
    said = []
    for item in items:
        (channel,) = json.loads((Path(out) / f"{item.name}.json").read_text())["channels"]
        said.append(" ".join(word["text"] for segment in channel["segments"] for word in segment["words"]))
print(json.dumps([seconds, said]))
"""


def run() -> Result:
    whisper, diarization = _models()
    only = os.environ.get(ONLY)
    items = corpus(KEPT / "corpus", called(only))
    if not items:
        raise Unavailable(f"no recording's name or condition begins with {only!r}")
    print(f"{len(items)} recordings, {sum(item.seconds for item in items) / 60:.0f} minutes", flush=True)
    baselines(items, KEPT / "corpus", whisper, KEPT / "baselines")
    ratios: dict[str, float] = {}
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as name, clean_environment(Path(name)) as environment:
        folder = Path(name)
        environment["OMP_NUM_THREADS"] = str(usable_cores())
        # which language is spoken is for everybody to find out
        del environment["CASEPREP_LANGUAGE"]
        figures |= _words(items, whisper, diarization, folder / "ours", environment)
        figures |= _whisperx(items, whisper, folder / "whisperx", environment)
        spoken = [item for item in items if item.condition in SPEAKERS]
        if spoken:
            more_ratios, more = _speakers(spoken, whisper, diarization, folder / "graph", environment)
            ratios |= more_ratios
            figures |= more
        if only is None:
            more_ratios, more = _speed(items, whisper, diarization, folder / "speed", environment)
            ratios |= more_ratios
            figures |= more
    return Result(ratios=ratios, figures=figures)


def _models() -> tuple[Path, Path]:
    from caseprep_pipelines.errors import ConfigurationError
    from caseprep_pipelines.models.directories import resolve_diarization, resolve_whisper
    from caseprep_pipelines.settings import read_settings

    directory = Path(os.environ.get(MODELS) or read_settings().models_directory)
    try:
        return resolve_whisper("starter", directory).path, resolve_diarization("starter", directory).path
    except ConfigurationError as missing:
        raise Unavailable(f"the starter models are not in {directory}: {missing}") from None


def _words(
    items: Sequence[Item], whisper: Path, diarization: Path, out: Path, environment: dict[str, str]
) -> dict[str, float | str]:
    """Errors, losses and inventions of ours and of faster-whisper's two ways, by condition and in all."""
    command = [sys.executable, "-m", "benchmarks._real_ours", str(KEPT / "corpus"), str(whisper), str(out),
               "--diarization", str(diarization)]  # fmt: skip
    if only := os.environ.get(ONLY):
        command += ["--only", only]
    _output(command, {**environment, large_pages.VARIABLE: large_pages.LARGE})
    scores, missing = measure(items, whisper, KEPT / "baselines", out)
    if missing:
        sys.exit(f"not compared: {', '.join(missing)}")
    figures: dict[str, float | str] = {
        "minutes": round(scores["all"].minutes, 1),
        "words_of_references": scores["all"].reference,
        "words_agreed": scores["all"].agreed,
    }
    for condition, own in scores.items():
        figures |= {f"{condition}_{what}": value for what, value in _of(own).items()}
    return figures


def _of(own: Score) -> dict[str, float | str]:
    figures: dict[str, float | str] = {}
    for who in ("ours", *WAYS):
        if (wer := own.wer(who)) is not None:
            figures[f"wer_percent_{who}"] = round(wer, 2)
    figures["words_lost"] = f"{own.lost} of {own.agreed}"
    figures["words_lost_percent"] = round(100 * own.lost / own.agreed, 2) if own.agreed else 0.0
    both = own.agreed_by_both
    figures["words_lost_of_both_ways"] = f"{own.lost_of_both} of {both}"
    figures["words_lost_of_both_ways_percent"] = round(100 * own.lost_of_both / both, 2) if both else 0.0
    figures["words_lost_unmarked"] = own.lost_unmarked
    figures["stretches_lost_unmarked"] = sum(not stretch.marked for stretch in own.stretches)
    figures["words_invented_ours"] = f"{own.invented}, {own.invented_unmarked} unmarked"
    figures |= {f"words_invented_{way}": own.invented_by[way] for way in WAYS}
    if own.language_f1 is not None:
        figures["language_f1"] = round(own.language_f1, 3)
        figures["words_in_another_language"] = own.other_language
    return figures


def _whisperx(items: Sequence[Item], whisper: Path, out: Path, environment: dict[str, str]) -> dict[str, float | str]:
    """Word error rates of WhisperX on the recordings with words, where it is installed."""
    peers = installed()
    if peers is None:
        return {"whisperx": "not installed"}
    spoken = [item for item in items if item.turns]
    command = [
        str(peers / "whisperx"), *(str(KEPT / "corpus" / item.file) for item in spoken), "--model", str(whisper),
        "--model_cache_only", "True", "--no_align", "--vad_method", "pyannote", "--device", "cpu", "--compute_type",
        "int8", "--threads", str(usable_cores()), "--output_format", "json", "--output_dir", str(out), "--verbose",
        "False",
    ]  # fmt: skip
    path = f"{peers}{os.pathsep}{environment.get('PATH', '')}"
    started = time.perf_counter()
    _output(command, {**environment, "PATH": path})
    figures: dict[str, float | str] = {
        "version_whisperx": versions()["whisperx"],
        "whisperx_seconds": round(time.perf_counter() - started, 1),
    }
    by: dict[str, Score] = {}
    for item in spoken:
        said = read_whisperx(out / f"{item.name}.json")
        # its own words twice stand where faster-whisper's would: only errors are asked for
        own = score(item, said, {way: {"words": said.words} for way in WAYS})
        for condition in (item.condition, "all"):
            by.setdefault(condition, Score()).add(own)
    return figures | {
        f"{condition}_wer_percent_whisperx": round(wer, 2)
        for condition, own in by.items()
        if (wer := own.wer("ours")) is not None
    }


def _speakers(
    items: Sequence[Item], whisper: Path, diarization: Path, folder: Path, environment: dict[str, str]
) -> tuple[dict[str, float], dict[str, float | str]]:
    """Speakers of the whole graph, scored by `caseprep evaluate`, and how fast it was."""
    references = folder / "references"
    for item in items:
        _write_reference(item, references / item.condition)
    files = [str(KEPT / "corpus" / item.file) for item in items]
    started = time.perf_counter()
    _output(
        [tool("caseprep"), "transcribe", *files, "--model", str(whisper), "--diarization", str(diarization),
         "--out", str(folder / "out"), "--json"], environment,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    said = _output(
        [tool("caseprep"), "evaluate", str(references), "--transcripts", str(folder / "out"), "--json"], environment
    )
    minutes = sum(item.seconds for item in items) / 60
    figures: dict[str, float | str] = {
        "graph_minutes": round(minutes, 1),
        "graph_seconds": round(seconds, 1),
    }
    for row in json.loads(said)["rows"]:
        if row["level"] in ("condition", "all"):
            name = f"speakers_{row['condition'] or 'all'}"
            for rate in ("cpwer", "tcpwer", "der", "jer"):
                if row[rate] is not None:
                    figures[f"{name}_{rate}_percent"] = round(100 * row[rate], 1)
    return {"graph_times_real_time": round(60 * minutes / seconds, 2)}, figures


def _write_reference(item: Item, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if item.turns:
        lines = [f"{item.name} 1 {turn.speaker} {turn.start} {turn.end} {turn.words}\n" for turn in item.turns]
        (folder / f"{item.name}.stm").write_text("".join(lines), encoding="utf-8")
    if item.speakers:
        rows = [
            f"SPEAKER {item.name} 1 {start} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
            for start, end, speaker in item.speakers
        ]
        (folder / f"{item.name}.rttm").write_text("".join(rows), encoding="utf-8")


def as_item(path: Path) -> Item:
    """A file of which only the name counts."""
    return Item(path.stem, "", (), path.name, normalized(path).duration_seconds, "", None, None)


def _speed(
    items: Sequence[Item], whisper: Path, diarization: Path, folder: Path, environment: dict[str, str]
) -> tuple[dict[str, float], dict[str, float | str]]:
    """Short clips and a long recording of clean speech, by turns, each in a warm process; a ratio counts only beside
    the words that both got wrong."""
    folder.mkdir(parents=True)
    ratios: dict[str, float] = {}
    figures: dict[str, float | str] = {"short_clips": SHORT_CLIPS, "long_minutes": LONG_MINUTES}
    for what, (files, spoken) in {"short_clips": _short(folder), "long": _long(items, folder)}.items():
        commands = {
            "ours": [sys.executable, "-c", OURS, str(whisper), str(diarization)],
            "batched": [sys.executable, "-c", BATCHED, str(whisper), str(usable_cores()), "5"],
            "batched_greedy": [sys.executable, "-c", BATCHED, str(whisper), str(usable_cores()), "1"],
        }
        seconds: dict[str, list[float]] = {who: [] for who in commands}
        for _ in range(ROUNDS):
            for who, command in commands.items():
                own = {large_pages.VARIABLE: large_pages.LARGE} if who == "ours" else {}
                took, said = json.loads(_output([*command, *map(str, files)], environment | own).splitlines()[-1])
                seconds[who].append(took)
                figures[f"{what}_wer_percent_{who}"] = _wer(spoken, said)
        for who, took in seconds.items():
            figures[f"{what}_seconds_{who}"] = round(median(took), 1)
            if who != "ours":
                pairs = [theirs / mine for theirs, mine in zip(took, seconds["ours"], strict=True)]
                ratios[f"{what}_vs_faster_whisper_{who}"] = round(median(pairs), 2)
    return ratios, figures


def _short(folder: Path) -> tuple[list[Path], list[str]]:
    """So many recorded prompts, each a file, with their words."""
    import soundfile

    from benchmarks._real_corpus import prompts

    clips = prompts("en")
    files = []
    # there are fewer with known words than clips: some come twice
    for number in range(SHORT_CLIPS):
        files.append(folder / f"clip-{number:03}.wav")
        soundfile.write(files[-1], clips[number % len(clips)].samples, RATE)
    return files, [clips[number % len(clips)].words for number in range(SHORT_CLIPS)]


def _long(items: Sequence[Item], folder: Path) -> tuple[list[Path], list[str]]:
    """Conversations one after the other."""
    import numpy as np
    import soundfile

    words, parts, length = [], [], 0.0
    talks = [item for item in items if item.condition == "conversation"]
    while length < LONG_MINUTES * 60:
        for item in talks:
            parts.append(soundfile.read(KEPT / "corpus" / item.file, dtype="float32")[0])
            words += [turn.words for turn in item.turns or ()]
            length += item.seconds
    path = folder / "long.wav"
    soundfile.write(path, np.concatenate(parts), RATE)
    return [path], [" ".join(words)]


def _wer(spoken: Sequence[str], said: Sequence[str]) -> float:
    import jiwer

    from caseprep_pipelines.evaluation.normalization import normalized as alike

    sides: list[list[str]] = [[" ".join(alike(text)) for text in texts] for texts in (spoken, said)]
    return round(100 * jiwer.wer(*sides), 2)


def _output(command: Sequence[str], environment: dict[str, Any]) -> str:
    # the benchmark's own modules, wherever the command runs
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
