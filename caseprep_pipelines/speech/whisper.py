"""faster-whisper as a `Transcriber`.

Each clip is decoded by itself, batched with others of any recording, without Whisper's own timestamps (decoding with
them drops what follows the last one), at temperature 0. Two steps are not batched:

- Encoding on a CPU: batches are slower there than one clip at a time on several threads.
- Alignment anywhere: CTranslate2 normalizes attention over the padding of the batch's shorter texts too, so the times
  of words would depend on their neighbours in the batch (OpenNMT/CTranslate2 issue 1494).

So the clips that share a batch leave no trace in each other's results, but for the order in which the decoder's scores
are summed; hence nothing is kept of its scores: probabilities are the alignment's. A batch holds clips with prompts of
one length, as CTranslate2 wants it, and of similar length, so that few wait for the longest.

Where speech is belongs in `voice_activity`, judgement of the result in `flags`, what becomes of a recording's clips in
`transcription`.
"""

import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from caseprep_pipelines.audio.reading import SAMPLE_RATE, read_span
from caseprep_pipelines.errors import ConfigurationError, Fault
from caseprep_pipelines.models.identity import ModelIdentity
from caseprep_pipelines.speech import voice_activity
from caseprep_pipelines.speech.documents import DecodeSettings, Segment, Span, Suspicion, Word
from caseprep_pipelines.speech.engines import device_name, gpu_bytes, keep_private, usable_cores
from caseprep_pipelines.speech.features import on_device
from caseprep_pipelines.speech.transcriber import Clip, TranscribeOptions

MAX_NEW_TOKENS = 220
"""What Whisper's context of 448 tokens leaves beside the longest prompt; it was trained to say 224 in 30 s."""
HOTWORD_TOKENS = 223
"""faster-whisper cuts the vocabulary after so many tokens, in the middle of a name if need be."""
MAX_CONTEXT = 448
LANGUAGE_CLIPS = 4
"""The language is the likeliest on average over so many of the longest clips."""
UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""faster-whisper tells words apart by characters there, elsewhere by spaces."""

# Clips lie apart in the buffer that is handed over, and begin at whole seconds: faster-whisper shortens a clip's first
# word or not by how long ago the clip before it ended, and places clips to the centisecond, rounded down.
_BUFFER_GAP_SECONDS = 3


POOL_BATCHES = 8
"""Clips are sorted by length among so many batches of them."""
PROBABILITY_FLOOR = 1e-6


class BatchSize:
    """How many clips are decoded together now: halved when the device's memory does not hold them."""

    def __init__(self, clips: int) -> None:
        self.clips = clips

    def halve(self, tried: int) -> None:
        self.clips = max(1, min(self.clips, tried // 2))


@dataclass(frozen=True)
class WhisperTranscriber:
    """A loaded Whisper model. `load_transcriber` makes it."""

    identity: ModelIdentity
    engine: Any
    """`faster_whisper.WhisperModel`, as `_engine_class` bends it."""
    beam_size: int = 1
    batch: BatchSize = field(default_factory=lambda: BatchSize(16))
    workers: int = 1
    """Batches that are worked on at the same time."""

    @property
    def device(self) -> str:
        return device_name(str(self.engine.model.device))

    @property
    def batch_size(self) -> int:
        return self.batch.clips

    def libraries(self) -> dict[str, str]:
        names = ("faster-whisper", "ctranslate2", "tokenizers", "onnxruntime", "numpy")
        return {name: version(name) for name in names}

    def settings(self, options: TranscribeOptions) -> DecodeSettings:
        if options.language is not None and options.language not in self.engine.supported_languages:
            raise ConfigurationError(
                f"The model {self.identity.name} does not know the language {options.language!r}; "
                "name another language or another model."
            )
        kept, left_out = fitting_hotwords(options.hotwords, self._count_tokens)
        return DecodeSettings(
            language=options.language,
            beam_size=self.beam_size,
            temperature=0.0,
            hotwords=kept,
            hotwords_left_out=left_out,
            word_timestamps=True,
            without_timestamps=True,
            max_new_tokens=MAX_NEW_TOKENS,
            compute_type=str(self.engine.model.compute_type),
            clip_seconds=self.identity.clip_seconds,
            speech_threshold=voice_activity.SPEECH_THRESHOLD,
            silence_threshold=voice_activity.SILENCE_THRESHOLD,
            min_silence_seconds=voice_activity.MIN_SILENCE_SECONDS,
            speech_pad_seconds=voice_activity.SPEECH_PAD_SECONDS,
            max_pause_seconds=round(self.identity.clip_seconds * voice_activity.MAX_PAUSE_SHARE, 3),
        )

    def recognise(self, clips: Iterable[Clip]) -> Iterator[None]:
        with ThreadPoolExecutor(self.workers, thread_name_prefix="whisper") as pool:
            running: deque[Future[None]] = deque()
            try:
                for batch in batches(clips, lambda: self.batch.clips, self.workers):
                    running.append(pool.submit(self._decode, batch))
                    # one batch lies ready for whichever worker is done first
                    while len(running) > self.workers:
                        running.popleft().result()
                        yield
                while running:
                    running.popleft().result()
                    yield
            finally:
                for future in running:
                    future.cancel()

    def language(self, channel: Path, clips: Sequence[Span], given: str | None) -> tuple[str, float | None]:
        if given is not None:
            return given, None
        if not self.engine.model.is_multilingual:
            return "en", None
        longest = sorted(clips, key=lambda clip: (clip.start - clip.end, clip.start))[:LANGUAGE_CLIPS]
        total: dict[str, float] = {}
        for clip in longest:
            try:
                _, _, likely = self.engine.detect_language(read_span(channel, clip.start, clip.end))
            except (RuntimeError, MemoryError) as error:
                raise self._fault(error) from error
            for language, probability in likely:
                total[language] = total.get(language, 0.0) + probability / len(longest)
        language = max(sorted(total), key=lambda name: total[name])
        return language, round(total[language], 4)

    def _decode(self, batch: Sequence[Clip]) -> None:
        """Recognises and delivers; raises nothing."""
        heard: list[tuple[Clip, Any]] = []
        for clip in batch:
            try:
                heard.append((clip, read_span(clip.channel, clip.span.start, clip.span.end)))
            except Exception as error:
                clip.deliver(error, 0.0)
        for first in range(0, len(heard), self.batch.clips):
            self._decode_heard(heard[first : first + self.batch.clips])

    def _decode_heard(self, heard: Sequence[tuple[Clip, Any]]) -> None:
        started = time.monotonic()
        try:
            segments = self._said(heard)
        except Exception as error:
            if len(heard) > 1 and _out_of_memory(error):
                self.batch.halve(len(heard))
                middle = len(heard) // 2
                self._decode_heard(heard[:middle])
                self._decode_heard(heard[middle:])
                return
            # CTranslate2 has no other kind; its messages are about devices and memory, but hold no text
            fault = self._fault(error) if isinstance(error, RuntimeError | MemoryError) else error
            for clip, _ in heard:
                clip.deliver(fault, 0.0)
            return
        share = (time.monotonic() - started) / sum(clip.seconds for clip, _ in heard) / self.workers
        for (clip, _), segment in zip(heard, segments, strict=True):
            clip.deliver(segment, share * clip.seconds)

    def _fault(self, error: Exception) -> Fault:
        return Fault(f"Recognition failed on {self.engine.model.device}: {type(error).__name__}.")

    def _said(self, heard: Sequence[tuple[Clip, Any]]) -> list[Segment | None]:
        """What was said in clips that share language and hotwords, given with their samples."""
        from faster_whisper import BatchedInferencePipeline

        asked = heard[0][0]
        places, length = [], _BUFFER_GAP_SECONDS
        for _, samples in heard:
            places.append(length)
            length += -(-len(samples) // SAMPLE_RATE) + _BUFFER_GAP_SECONDS
        buffer = np.zeros(length * SAMPLE_RATE, dtype=np.float32)
        for (_, samples), place in zip(heard, places, strict=True):
            buffer[place * SAMPLE_RATE : place * SAMPLE_RATE + len(samples)] = samples
        said, _ = BatchedInferencePipeline(self.engine).transcribe(
            buffer,
            language=asked.language,
            beam_size=self.beam_size,
            temperature=0.0,
            without_timestamps=True,
            word_timestamps=True,
            max_new_tokens=MAX_NEW_TOKENS,
            suppress_tokens=self._suppressed,
            hotwords=", ".join(asked.hotwords) or None,
            vad_filter=False,
            clip_timestamps=[
                # half a sample more: faster-whisper rounds down, and would leave the last one out here and there,
                # depending on the place in the buffer, hence on the clip's neighbours
                {"start": place, "end": place + (len(samples) + 0.5) / SAMPLE_RATE}
                for place, (_, samples) in zip(places, heard, strict=True)
            ],
            batch_size=len(heard),
        )
        return [
            to_segment(given, clip.number, clip.span, place, asked.language)
            for (clip, _), place, given in zip(heard, places, said, strict=True)
        ]

    @cached_property
    def _suppressed(self) -> list[int]:
        # -1 stands for Whisper's usual list. Timestamps are suppressed as well: should the model say one unasked,
        # faster-whisper would drop what follows it.
        ids = self.engine.hf_tokenizer.get_vocab(with_added_tokens=True)
        return [-1, *sorted(number for token, number in ids.items() if _is_timestamp(token))]

    def _count_tokens(self, text: str) -> int:
        return len(self.engine.hf_tokenizer.encode(text, add_special_tokens=False).ids)


def batches(clips: Iterable[Clip], size: Callable[[], int], workers: int = 1) -> Iterator[list[Clip]]:
    """All clips, in batches of at most `size()` that share language and hotwords, sorted by length among some more.
    Few are dealt out evenly, so that no worker has the most of them while another has none."""
    pending = iter(clips)
    while pool := list(islice(pending, POOL_BATCHES * size())):
        pool.sort(key=lambda clip: (clip.language, clip.hotwords, clip.seconds))
        for _, alike in groupby(pool, key=lambda clip: (clip.language, clip.hotwords)):
            waiting = list(alike)
            rounds = math.ceil(len(waiting) / size() / workers)
            share = math.ceil(len(waiting) / (rounds * workers))
            while waiting:
                taken = min(share, size())
                yield waiting[:taken]
                waiting = waiting[taken:]


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def fitting_hotwords(hotwords: Sequence[str], count_tokens: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that the prompt has room for, taken by priority, and the rest; `count_tokens(text)` is the model's own."""
    kept: list[str] = []
    left_out: list[str] = []
    for word in dict.fromkeys(word.strip() for word in hotwords if word.strip()):
        if count_tokens(" " + ", ".join([*kept, word])) <= HOTWORD_TOKENS:
            kept.append(word)
        else:
            left_out.append(word)
    return tuple(kept), tuple(left_out)


def to_segment(given: Any, index: int, clip: Span, place: float, language: str) -> Segment | None:
    """faster-whisper's segment, said of audio at `place` seconds of a buffer, as ours; None where it has no words.

    Words lie within their clip and in order. What has no space before it belongs to the word before ("well" and
    "-known"), in languages that have spaces.
    """
    words: list[Word] = []
    logarithms: list[float] = []
    for said in given.words:
        if not said.word.strip():
            continue
        start, end = (
            min(max(round(clip.start + float(at) - place, 3), clip.start), clip.end) for at in (said.start, said.end)
        )
        start = max(start, words[-1].start) if words else start
        probability = round(float(said.probability), 4)
        logarithms.append(math.log(max(float(said.probability), PROBABILITY_FLOOR)))
        if words and not said.word.startswith(" ") and language not in UNSPACED_LANGUAGES:
            before = words.pop()
            words.append(
                Word(
                    text=before.text + said.word.strip(),
                    start=before.start,
                    end=max(before.end, end),
                    probability=min(before.probability, probability),
                )
            )
        else:
            words.append(Word(text=said.word.strip(), start=start, end=max(start, end), probability=probability))
    if not words:
        return None
    return Segment(
        clip=index,
        start=words[0].start,
        end=max(word.end for word in words),
        words=tuple(words),
        average_log_probability=round(sum(logarithms) / len(logarithms), 4),
        compression_ratio=round(float(given.compression_ratio), 4),
        flags=(Suspicion.TOKEN_LIMIT,) if len(given.tokens) >= MAX_NEW_TOKENS else (),
    )


def load_transcriber(
    path: Path,
    identity: ModelIdentity,
    *,
    device: str = "auto",
    compute_type: str = "auto",
    beam_size: int = 1,
    batch_size: int = 16,
    memory_fraction: float | None = None,
) -> WhisperTranscriber:
    """The model in a directory, whose digest the caller has checked; a process loads it once and keeps it.

    `auto` is CUDA with float16, else CPU with int8. `memory_fraction` is the share of a GPU's memory that batches are
    made for. Raises `ConfigurationError` where the model or the device cannot
    be used.
    """
    device = _device(device)
    cores = usable_cores()
    workers = 2 if device == "cuda" else min(4, cores)
    threads = max(1, cores // workers)
    if compute_type == "auto":
        compute_type = "float16" if device == "cuda" else "int8"
    with _loading:
        engine = _load(_Key(identity.digest, device, compute_type, workers, threads, path))
    if memory_fraction is not None and device == "cuda":
        left = gpu_bytes(memory_fraction) - (path / "model.bin").stat().st_size
        # heads that align are in the decoder's last layers; large models have thirty-two
        heads = json.loads((path / "config.json").read_text()).get("alignment_heads") or [[31, 0]]
        layers = 1 + max(layer for layer, _ in heads)
        batch_size = fitting_batch(batch_size, left // workers, clip_bytes(engine, layers, beam_size))
    return WhisperTranscriber(identity, engine, beam_size, BatchSize(batch_size), workers)


def fitting_batch(asked: int, memory: int, clip: int) -> int:
    """So many clips as `memory` holds at `clip` bytes each, at most those asked for; one in any case."""
    return max(1, min(asked, memory // clip))


def clip_bytes(engine: Any, layers: int, beam_size: int) -> int:
    """About what a clip takes of a GPU's memory at most: the encoder's attention and hidden layer, one layer at a time
    in float32, and what the decoder's layers keep of it in float16."""
    silence = np.zeros((1, engine.model.n_mels, engine.feature_extractor.nb_max_frames), dtype=np.float32)
    _, frames, width = engine.encode(silence).shape
    # an attention head of any Whisper is 64 wide
    encoder = 4 * (width // 64 * frames**2 + 2 * frames * 4 * width)
    return int(encoder + 2 * 2 * layers * (frames + MAX_CONTEXT * beam_size) * width)


@dataclass(frozen=True)
class _Key:
    digest: str
    device: str
    compute_type: str
    workers: int
    threads: int
    path: Path = field(compare=False)


_loading = Lock()


@cache
def _load(key: _Key) -> Any:
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (key.path / name).is_file()]
    if missing:
        # without its tokenizer.json faster-whisper would ask a hub for another model's
        raise ConfigurationError(f"The model directory {key.path} lacks {', '.join(missing)}.")
    logging.getLogger("faster_whisper").setLevel(logging.ERROR)
    try:
        engine = _engine_class()(
            str(key.path),
            device=key.device,
            compute_type=key.compute_type,
            cpu_threads=key.threads,
            num_workers=key.workers if key.device == "cpu" else 1,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"The model in {key.path} cannot be used on {key.device} as {key.compute_type}: {error}"
        ) from error
    if key.device == "cuda":
        engine.feature_extractor = on_device(engine.feature_extractor, key.device)
    return engine


@cache
def _engine_class() -> Any:
    keep_private()
    import ctranslate2
    import faster_whisper

    def row(batch: Any, at: int) -> Any:
        if batch.device == "cpu":
            return ctranslate2.StorageView.from_array(np.asarray(batch)[at : at + 1])
        import torch

        return ctranslate2.StorageView.from_array(torch.as_tensor(batch, device="cuda")[at : at + 1].contiguous())

    class Engine(faster_whisper.WhisperModel):
        def encode(self, features: Any) -> Any:
            if self.model.device != "cpu" or features.ndim == 2 or len(features) == 1:
                return super().encode(features)
            return ctranslate2.StorageView.from_array(
                np.concatenate([np.asarray(super(Engine, self).encode(clip)) for clip in features])
            )

        def find_alignment(
            self, tokenizer: Any, text_tokens: Any, encoder_output: Any, num_frames: Any, median_filter_width: int = 7
        ) -> list[Any]:
            return [
                alignment
                for at, (tokens, frames) in enumerate(zip(text_tokens, num_frames, strict=True))
                for alignment in super(Engine, self).find_alignment(
                    tokenizer, [tokens], row(encoder_output, at), [frames], median_filter_width
                )
            ]

    return Engine


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _is_timestamp(token: str) -> bool:
    return token.startswith("<|") and token.endswith("|>") and token[2:-2].replace(".", "", 1).isdigit()
