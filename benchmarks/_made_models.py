"""Models of real size with made weights: the arithmetic of real ones where none can be fetched.

Whisper "base" says a fixed number of tokens in every clip and then ends, whoever decodes it: its positions push towards
the end of text from there on and away from it before. The diarization pipeline has community-1's architectures
(PyanNet, WeSpeaker ResNet34); who speaks when is answered by the demo's small segmentation network beside the large
one, so that as many voices are heard as in speech.
"""

import json
import shutil
from pathlib import Path
from typing import Any

TOKENS = 60
"""Said in every clip of up to thirty seconds: some 45 words."""

_TEXT_TOKENS = 50_257
_LANGUAGES = 99


def make_whisper(folder: Path) -> None:
    """A faster-whisper directory of the size of Whisper base, multilingual, int8."""
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(1)
    config = WhisperConfig(
        vocab_size=51_865,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        decoder_start_token_id=_TEXT_TOKENS + 1,
    )
    whisper = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        decoder = whisper.model.decoder
        push = torch.randn(512)
        push = 40 * (push - push.mean()) / push.norm()
        decoder.embed_tokens.weight[_TEXT_TOKENS] = push / 4
        # of the positions after the prompt of four tokens
        decoder.embed_positions.weight[: 4 + TOKENS] -= push
        decoder.embed_positions.weight[4 + TOKENS :] += push
    work = folder.with_name(folder.name + ".work")
    whisper.generation_config = GenerationConfig(
        suppress_tokens=[],
        begin_suppress_tokens=[],
        alignment_heads=[[5, head] for head in range(8)],
        no_timestamps_token_id=_TEXT_TOKENS + 106,
        lang_to_id={"<|en|>": _TEXT_TOKENS + 2},
        is_multilingual=True,
        max_length=448,
    )
    whisper.save_pretrained(work)
    tokenizer = _tokenizer()
    tokenizer.save(str(work / "tokenizer.json"))
    (work / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    features = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "sampling_rate": 16_000,
                "hop_length": 160, "n_fft": 400, "chunk_length": 30, "n_samples": 480_000,
                "nb_max_frames": 3000}  # fmt: skip
    (work / "preprocessor_config.json").write_text(json.dumps(features))
    # transformers 5 writes this key and then, on reading, forgets the alignment heads without a word
    path = work / "generation_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "_from_model_config"}))
    converter = TransformersConverter(str(work), copy_files=["tokenizer.json", "preprocessor_config.json"])
    converter.convert(str(folder), quantization="int8", force=True)
    shutil.rmtree(work)


def _tokenizer() -> Any:
    """Token numbers as multilingual Whisper has them; its texts are made up."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = [f"Ġ{chr(97 + n // 676 % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}{n}" for n in range(_TEXT_TOKENS)]
    vocabulary = [*letters, *made][:_TEXT_TOKENS]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in _LANGUAGE_CODES[:_LANGUAGES]),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
    ]
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.add_tokens([AddedToken(f"<|{tick * 0.02:.2f}|>", normalized=False) for tick in range(1501)])
    return tokenizer


def make_diarization(folder: Path) -> None:
    """A pyannote.audio pipeline directory of the size of community-1, with agglomerative clustering."""
    import torch
    import yaml
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    from benchmarks._made_networks import LargeSegmentation
    from caseprep_pipelines.models.directories import resolve_diarization
    from models.demo.diarization_networks import save

    torch.manual_seed(1)
    segmentation = LargeSegmentation()
    shipped = resolve_diarization("demo", folder / "none").path
    demo = torch.load(shipped / "segmentation" / "pytorch_model.bin", map_location="cpu", weights_only=False)
    segmentation.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        min_duration=10.0,
        warm_up=(0.0, 0.0),
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    segmentation.setup()
    segmentation.load_state_dict(demo["state_dict"], strict=False)
    embedding = WeSpeakerResNet34()
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=10.0, min_duration=0.5, classes=[]
    )
    save(segmentation, folder / "segmentation" / "pytorch_model.bin")
    save(embedding, folder / "embedding" / "pytorch_model.bin")
    shutil.copytree(shipped / "plda", folder / "plda")
    config = {
        "dependencies": {"pyannote.audio": "4.0.0"},
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "clustering": "AgglomerativeClustering",
                # not used by this clustering, but the stock pipeline asks the hub for one where none is named
                "plda": "$model/plda",
                "segmentation": "$model/segmentation",
                "segmentation_batch_size": 32,
                "embedding": "$model/embedding",
                "embedding_batch_size": 32,
                "embedding_exclude_overlap": True,
            },
        },
        "params": {
            "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7},
            "segmentation": {"min_duration_off": 0.0},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
