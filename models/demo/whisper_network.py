"""The tiny Whisper as a network: its shape, what it is taught besides the text, and its way to a CTranslate2 directory.

Whisper's encoder always sees thirty seconds. A model that hears at most `CLIP_SECONDS` would have to learn to ignore
the silence behind them, at several times the cost. Instead two of the encoder's dimensions and one of each head's are
kept free in training, and `write_weights` puts a marker in them: positions behind the clip carry it, and every query
turns from keys that do. Attention over 1,500 positions then gives exactly what it gave over training's short window.
Data and the training loop belong elsewhere.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from models.demo import language
from models.demo.whisper_clips import CLIP_SECONDS, PHONES
from models.demo.whisper_tokenizer import Numbers, numbers

WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 128, 4, 4, 2
PHONE_LAYER = 2
"""Phones are learnt after this many encoder layers, words after all of them."""
WINDOW = CLIP_SECONDS * 50 + 16
"""Encoder positions that the finished model hears; the rest of Whisper's 1,500 is masked."""
MARKER, AVERSION = 1_000.0, 40.0

WORDS = tuple(sorted({" ".join(language.normal(word)) for word in language.vocabulary()}))


class Network(nn.Module):
    """Whisper, and two linear layers on its encoder that name the phone and the word of every frame."""

    def __init__(self, known: Numbers) -> None:
        super().__init__()
        config = WhisperConfig(
            vocab_size=known.size,
            num_mel_bins=80,
            d_model=WIDTH,
            encoder_layers=ENCODER_LAYERS,
            decoder_layers=DECODER_LAYERS,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=4 * WIDTH,
            decoder_ffn_dim=4 * WIDTH,
            max_source_positions=1_500,
            max_target_positions=448,
            dropout=0.0,
            pad_token_id=known.end,
            bos_token_id=known.end,
            eos_token_id=known.end,
            decoder_start_token_id=known.start,
            suppress_tokens=[],
            begin_suppress_tokens=[known.blank],
            attn_implementation="sdpa",
        )
        self.whisper = WhisperForConditionalGeneration(config)
        self.phone = nn.Linear(WIDTH, len(PHONES) + 2)
        self.word = nn.Linear(WIDTH, len(WORDS) + 1)
        self.attention: dict[str, Tensor] = {}
        guided = self.whisper.model.decoder.layers[-1].encoder_attn
        guided.q_proj.register_forward_hook(lambda _, __, out: self.attention.__setitem__("queries", out))
        guided.k_proj.register_forward_hook(lambda _, __, out: self.attention.__setitem__("keys", out))
        self.reserve()

    def encode(self, mel: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
        """(batch, 80, 2 × positions) to what the decoder reads and what the phones are told from."""
        encoder = self.whisper.model.encoder
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        hidden = hidden + encoder.embed_positions.weight[offset : offset + hidden.shape[1]]
        middle = hidden
        for number, layer in enumerate(encoder.layers, 1):
            hidden = layer(hidden, None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            middle = hidden if number == PHONE_LAYER else middle
        return encoder.layer_norm(hidden), middle

    def forward(self, mel: Tensor, tokens: Tensor, offset: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Decoder states (batch, tokens, width), phone and word scores (batch, positions, classes)."""
        encoded, middle = self.encode(mel, offset)
        decoder = self.whisper.model.decoder
        states = decoder(input_ids=tokens, encoder_hidden_states=encoded, use_cache=False).last_hidden_state
        return states, self.phone(F.layer_norm(middle, (WIDTH,))), self.word(encoded)

    def scores(self, states: Tensor) -> Tensor:
        """Token scores of decoder states."""
        return F.linear(states, self.whisper.model.decoder.embed_tokens.weight)

    def straying(self, guides: Tensor) -> Tensor:
        """How little the alignment head looks where the word of a token is: mean negative log of the attention that
        falls on its frames. `guides` is (rows, 4): batch, token, first frame, frame after the last."""
        size = WIDTH // HEADS
        queries, keys = self.attention["queries"][..., :size], self.attention["keys"][..., :size]
        spread = (queries @ keys.transpose(1, 2) * size**-0.5).log_softmax(-1)
        rows = spread[guides[:, 0], guides[:, 1]]
        frames = torch.arange(rows.shape[1])[None]
        outside = (frames < guides[:, 2:3]) | (frames >= guides[:, 3:4])
        return -rows.masked_fill(outside, -1e9).logsumexp(-1).mean()

    @torch.no_grad()
    def reserve(self) -> None:
        """Keep free what `write_weights` needs. After every step: cheaper than shapes of our own."""
        size = WIDTH // HEADS
        encoder = self.whisper.model.encoder
        encoder.embed_positions.weight[:, -2:] = 0
        attentions = [layer.encoder_attn for layer in self.whisper.model.decoder.layers]
        silent: list[nn.Module] = [encoder.conv2]
        for layer in encoder.layers:
            silent += [layer.self_attn.out_proj, layer.fc2]
            attentions.append(layer.self_attn)
            _even(layer.self_attn_layer_norm)
            _even(layer.final_layer_norm)
        _even(encoder.layer_norm)
        for module in silent:
            module.weight[-2:] = 0  # type: ignore[index]
            module.bias[-2:] = 0  # type: ignore[index]
        for attention in attentions:
            attention.q_proj.weight[size - 1 :: size] = 0
            attention.q_proj.bias[size - 1 :: size] = 1
            attention.k_proj.weight[size - 1 :: size] = 0
            attention.k_proj.weight[:, -2:] = 0


def _even(norm: Any) -> None:
    norm.weight[-2:] = 1
    norm.bias[-2:] = 0


@torch.no_grad()
def _mask(whisper: Any) -> None:
    """Positions behind the window get the marker, keys with the marker become repulsive."""
    size = WIDTH // HEADS
    positions = whisper.model.encoder.embed_positions.weight
    positions[WINDOW:] = 0
    positions[WINDOW:, -2], positions[WINDOW:, -1] = -MARKER, MARKER
    attentions = [layer.self_attn for layer in whisper.model.encoder.layers]
    attentions += [layer.encoder_attn for layer in whisper.model.decoder.layers]
    for attention in attentions:
        attention.k_proj.weight[size - 1 :: size, -2] = AVERSION
        attention.k_proj.weight[size - 1 :: size, -1] = -AVERSION


def write_weights(weights: dict[str, Tensor], tokenizer: Tokenizer, folder: Path, quantization: str = "int8") -> None:
    """Turn a network's weights into a directory that faster-whisper loads as it is. `folder` is replaced."""
    from ctranslate2.converters import TransformersConverter

    known = numbers(tokenizer)
    network = Network(known)
    network.load_state_dict(weights)
    whisper = network.whisper.eval()
    _mask(whisper)
    settings = whisper.generation_config
    settings.suppress_tokens = []
    settings.begin_suppress_tokens = [known.blank]  # not the end: nothing is the right answer to silence
    settings.alignment_heads = [[DECODER_LAYERS - 1, 0]]
    settings.no_timestamps_token_id = known.plain
    settings.lang_to_id = {"<|en|>": known.english}
    settings.is_multilingual = False
    settings.max_length = 448
    work = folder.with_name(folder.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    whisper.save_pretrained(work)
    tokenizer.save(str(work / "tokenizer.json"))
    (work / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (work / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "feature_extractor_type": "WhisperFeatureExtractor",
                "feature_size": 80,
                "sampling_rate": 16_000,
                "hop_length": 160,
                "n_fft": 400,
                "chunk_length": CLIP_SECONDS,
                "n_samples": CLIP_SECONDS * 16_000,
                "nb_max_frames": CLIP_SECONDS * 100,
            },
            indent=2,
        )
    )
    # transformers 5 writes this key and then, on reading, forgets the alignment heads without a word
    path = work / "generation_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "_from_model_config"}))
    converter = TransformersConverter(str(work), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(folder), quantization=quantization, force=True)
    shutil.rmtree(work)
