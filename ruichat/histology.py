"""The tissue classes RuiChat's embedded model knows, with their names in both languages.

One list, in one order: the tile classifier's outputs, the phantoms' masks and the dialogues all
index into `CLASSES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Behaviour = Literal["malignant", "benign", "normal", "other"]


@dataclass(frozen=True, slots=True)
class TissueClass:
    """One kind of tissue that a tile can show.

    Attributes:
        key: identifier in files and code.
        en: English name, lower case, without article.
        zh: Chinese name.
        behaviour: "malignant" classes count as tumour; "other" is neither normal nor tumour.
        organ: site the class implies, or None where it occurs anywhere.
        color: RGB for overlays and charts.
    """

    key: str
    en: str
    zh: str
    behaviour: Behaviour
    organ: str | None
    color: tuple[int, int, int]

    def name(self, language: Language) -> str:
        """The class's name in that language."""
        return self.zh if language == "zh" else self.en


CLASSES: tuple[TissueClass, ...] = (
    TissueClass(
        "lung_adenocarcinoma", "lung adenocarcinoma", "肺腺癌", "malignant", "lung", (214, 39, 40)
    ),
    TissueClass(
        "lung_squamous_carcinoma",
        "lung squamous cell carcinoma",
        "肺鳞状细胞癌",
        "malignant",
        "lung",
        (174, 20, 90),
    ),
    TissueClass("normal_lung", "normal lung", "正常肺组织", "normal", "lung", (44, 160, 44)),
    TissueClass(
        "oral_squamous_carcinoma",
        "oral squamous cell carcinoma",
        "口腔鳞状细胞癌",
        "malignant",
        "oral cavity",
        (230, 85, 13),
    ),
    TissueClass(
        "normal_oral_mucosa",
        "normal oral mucosa",
        "正常口腔黏膜",
        "normal",
        "oral cavity",
        (116, 196, 118),
    ),
    TissueClass(
        "colorectal_polyp",
        "colorectal polyp",
        "结直肠息肉",
        "benign",
        "colorectum",
        (253, 174, 107),
    ),
    TissueClass(
        "breast_carcinoma", "breast carcinoma", "乳腺癌", "malignant", "breast", (200, 60, 160)
    ),
    TissueClass(
        "nodal_metastasis",
        "lymph node metastasis",
        "淋巴结转移癌",
        "malignant",
        "lymph node",
        (140, 30, 30),
    ),
    TissueClass("lymphoid_tissue", "lymphoid tissue", "淋巴组织", "normal", None, (31, 119, 180)),
    TissueClass("carcinoma_nests", "carcinoma nests", "癌巢", "malignant", None, (250, 70, 70)),
    TissueClass(
        "carcinoma_glands", "malignant glands", "癌性腺体", "malignant", None, (250, 120, 60)
    ),
    TissueClass("normal_glands", "normal glands", "正常腺体", "normal", None, (70, 180, 90)),
    TissueClass("stroma", "fibrous stroma", "纤维间质", "normal", None, (247, 182, 210)),
    TissueClass("fat", "fat", "脂肪组织", "normal", None, (255, 221, 87)),
    TissueClass("necrosis", "necrosis", "坏死", "other", None, (0, 0, 72)),
    TissueClass("mucus", "mucus", "黏液", "other", None, (148, 203, 255)),
)

KEYS: tuple[str, ...] = tuple(item.key for item in CLASSES)
BY_KEY: dict[str, TissueClass] = {item.key: item for item in CLASSES}
MALIGNANT: frozenset[str] = frozenset(c.key for c in CLASSES if c.behaviour == "malignant")
