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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from caseprep_pipelines.speech.flags import compression_ratio
from caseprep_pipelines.speech.languages import LANGUAGE_SECONDS, likeliest
from caseprep_pipelines.speech.transcriber import Clip, Heard, TranscribeOptions
from caseprep_pipelines.transcript.joining import continues, with_their_spaces, word_text

HOTWORD_TOKENS = 223
"""faster-whisper cuts the vocabulary after so many tokens, in the middle of a name if need be."""
MAX_CONTEXT = 448
LEAST_LIKELY = 0.001
"""Languages that are less likely are not told."""

# faster-whisper shortens a clip's first word or not by how long ago the words before it ended; none were
_LONG_AGO = -10.0
_BEFORE_WORDS, _AFTER_WORDS = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"

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
    beam_size: int = 5
    batch: BatchSize = field(default_factory=lambda: BatchSize(16))
    workers: int = 1
    """Batches that are worked on at the same time."""

    @property
    def device(self) -> str:
        return device_name(str(self.engine.model.device))

    @property
    def batch_size(self) -> int:
        return self.batch.clips

    @property
    def second_beam_size(self) -> int:
        """A second decoding searches otherwise: what both say is no artefact of one search."""
        return 1 if self.beam_size > 1 else 5

    def libraries(self) -> dict[str, str]:
        names = ("faster-whisper", "ctranslate2", "tokenizers", "onnxruntime", "numpy")
        return {name: version(name) for name in names}

    def settings(self, options: TranscribeOptions) -> DecodeSettings:
        known = self._known_languages
        for language in options.languages:
            if language not in known:
                raise ConfigurationError(
                    f"The model {self.identity.name} does not know the language {language!r}; "
                    "name another language or another model."
                )
        languages = options.languages if self.engine.model.is_multilingual else known
        kept, left_out = fitting_hotwords(options.hotwords, self._count_tokens)
        return DecodeSettings(
            language=languages[0] if len(languages) == 1 else None,
            languages=languages,
            preferred_languages=tuple(name for name in options.preferred_languages if name in known),
            beam_size=self.beam_size,
            second_beam_size=self.second_beam_size,
            temperature=0.0,
            hotwords=kept,
            hotwords_left_out=left_out,
            word_timestamps=True,
            without_timestamps=True,
            max_new_tokens=None,
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
            answers = self._said(heard)
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
        for (clip, _), answer in zip(heard, answers, strict=True):
            clip.deliver(answer, share * clip.seconds)

    def _fault(self, error: Exception) -> Fault:
        return Fault(f"Recognition failed on {self.engine.model.device}: {type(error).__name__}.")

    def _said(self, heard: Sequence[tuple[Clip, Any]]) -> list[Heard]:
        """What was said in clips that share hotwords and what is asked of them, given with their samples."""
        from faster_whisper.audio import pad_or_trim

        asked = heard[0][0]
        engine = self.engine
        frames = engine.feature_extractor.nb_max_frames
        if not asked.words:
            frames = min(frames, round(LANGUAGE_SECONDS * engine.frames_per_second))
        features = [engine.feature_extractor(samples)[..., :-1] for _, samples in heard]
        encoded = engine.encode(np.stack([pad_or_trim(feature, frames) for feature in features]))
        likely: list[dict[str, float]] = [{} for _ in heard]
        if any(len(clip.languages) != 1 for clip, _ in heard):
            likely = [
                {token[2:-2]: round(float(p), 4) for token, p in found if p >= LEAST_LIKELY}
                for found in engine.model.detect_language(encoded)
            ]
        if not asked.words:
            return [Heard(None, languages) for languages in likely]
        chosen = [
            clip.languages[0] if len(clip.languages) == 1 else likeliest(languages, clip.languages, clip.preferred)
            for (clip, _), languages in zip(heard, likely, strict=True)
        ]
        prompts = [
            engine.get_prompt(
                self._tokenizer(language), [], without_timestamps=True, hotwords=", ".join(asked.hotwords) or None
            )
            for language in chosen
        ]
        results = engine.model.generate(
            encoded,
            prompts,
            beam_size=self.second_beam_size if asked.again else self.beam_size,
            max_length=engine.max_length,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
            sampling_temperature=0.0,
        )
        # CTranslate2 says no more than this, whatever max_length leaves: half is the prompt's
        limit = min(engine.max_length // 2, engine.max_length - len(prompts[0]))
        return [
            Heard(
                to_segment(
                    self._words(language, result.sequences_ids[0], row(encoded, at), len(samples)),
                    clip.span,
                    language,
                    full=len(result.sequences_ids[0]) >= limit,
                ),
                languages,
            )
            for at, ((clip, samples), language, result, languages) in enumerate(
                zip(heard, chosen, results, likely, strict=True)
            )
        ]

    def _words(self, language: str, tokens: Sequence[int], encoded: Any, samples: int) -> list[dict[str, Any]]:
        """The words of a clip with their times in it, by faster-whisper's alignment."""
        engine = self.engine
        seconds = samples / SAMPLE_RATE
        segment = {"seek": 0, "start": 0.0, "end": seconds, "tokens": list(tokens)}
        engine.add_word_timestamps(
            [[segment]],
            self._tokenizer(language),
            encoded,
            [math.ceil(seconds) * engine.frames_per_second],
            _BEFORE_WORDS,
            _AFTER_WORDS,
            _LONG_AGO,
        )
        return segment["words"]  # type: ignore[return-value]

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self.engine.hf_tokenizer, self.engine.model.is_multilingual, "transcribe", language)

    @cached_property
    def _known_languages(self) -> tuple[str, ...]:
        # faster-whisper names those of the largest model whatever the model
        languages: list[str] = self.engine.supported_languages
        if not self.engine.model.is_multilingual:
            return tuple(languages)
        return tuple(name for name in languages if self.engine.hf_tokenizer.token_to_id(f"<|{name}|>") is not None)

    @cached_property
    def _suppressed(self) -> list[int]:
        # -1 stands for Whisper's usual list. Timestamps are suppressed as well: should the model say one unasked,
        # faster-whisper would drop what follows it.
        from faster_whisper.transcribe import get_suppressed_tokens

        ids = self.engine.hf_tokenizer.get_vocab(with_added_tokens=True)
        timestamps = sorted(number for token, number in ids.items() if _is_timestamp(token))
        return list(get_suppressed_tokens(self._tokenizer("en"), [-1, *timestamps]))

    def _count_tokens(self, text: str) -> int:
        return len(self.engine.hf_tokenizer.encode(text, add_special_tokens=False).ids)


def batches(clips: Iterable[Clip], size: Callable[[], int], workers: int = 1) -> Iterator[list[Clip]]:
    """All clips, in batches of at most `size()` of which the same is asked, sorted by length among some more. Few are
    dealt out evenly, so that no worker has the most of them while another has none."""
    pending = iter(clips)
    while pool := list(islice(pending, POOL_BATCHES * size())):
        pool.sort(key=lambda clip: (_asked(clip), clip.seconds))
        for _, alike in groupby(pool, key=_asked):
            waiting = list(alike)
            rounds = math.ceil(len(waiting) / size() / workers)
            share = math.ceil(len(waiting) / (rounds * workers))
            while waiting:
                taken = min(share, size())
                yield waiting[:taken]
                waiting = waiting[taken:]


def _asked(clip: Clip) -> tuple[bool, bool, tuple[str, ...]]:
    # prompts of one length: a language is one token whichever it is
    return clip.words, clip.again, clip.hotwords


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


def to_segment(said: Sequence[Mapping[str, Any]], clip: Span, language: str, full: bool = False) -> Segment | None:
    """faster-whisper's words, timed from the start of the clip, as a segment of the recording; None where none is left.

    Words lie within their clip and in order. What belongs to the word before goes to it: "-known" to "well". `full`:
    the decoder stopped at its limit.
    """
    words: list[Word] = []
    logarithms: list[float] = []
    texts = with_their_spaces((str(given["word"]) for given in said), language)
    for given, text in zip(said, texts, strict=True):
        if not text:
            continue
        start, end = (
            min(max(round(clip.start + float(given[at]), 3), clip.start), clip.end) for at in ("start", "end")
        )
        start = max(start, words[-1].start) if words else start
        probability = round(float(given["probability"]), 4)
        logarithms.append(math.log(max(float(given["probability"]), PROBABILITY_FLOOR)))
        if words and continues(words[-1].text, text, language):
            before = words.pop()
            words.append(
                Word(
                    text=before.text + text.strip(),
                    start=before.start,
                    end=max(before.end, end),
                    probability=min(before.probability, probability),
                )
            )
        else:
            words.append(
                Word(text=word_text(text, language), start=start, end=max(start, end), probability=probability)
            )
    if not words:
        return None
    return Segment(
        clip=0,
        language=language,
        start=words[0].start,
        end=max(word.end for word in words),
        words=tuple(words),
        average_log_probability=round(sum(logarithms) / len(logarithms), 4),
        compression_ratio=round(compression_ratio("".join(str(given["word"]) for given in said)), 4),
        flags=(Suspicion.TOKEN_LIMIT,) if full else (),
    )


def load_transcriber(
    path: Path,
    identity: ModelIdentity,
    *,
    device: str = "auto",
    compute_type: str = "auto",
    beam_size: int = 5,
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


def row(encoded: Any, at: int) -> Any:
    """One clip's encoder output out of a batch's."""
    import ctranslate2

    if encoded.device == "cpu":
        return ctranslate2.StorageView.from_array(np.asarray(encoded)[at : at + 1])
    import torch

    return ctranslate2.StorageView.from_array(torch.as_tensor(encoded, device="cuda")[at : at + 1].contiguous())


@cache
def _engine_class() -> Any:
    keep_private()
    import ctranslate2
    import faster_whisper

    class Engine(faster_whisper.WhisperModel):
        def encode(self, features: Any) -> Any:
            if self.model.device != "cpu" or features.ndim == 2 or len(features) == 1:
                return super().encode(features)
            return ctranslate2.StorageView.from_array(
                np.concatenate([np.asarray(super(Engine, self).encode(clip)) for clip in features])
            )

    return Engine


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _is_timestamp(token: str) -> bool:
    return token.startswith("<|") and token.endswith("|>") and token[2:-2].replace(".", "", 1).isdigit()
