"""Words by which reports state findings, beside the tissue classes: bilingual, by finding.

A term has a key and, where findings exclude each other, a value: a text that says "poorly
differentiated" where the reference says "well differentiated" contradicts it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One finding that can be stated or denied.

    Attributes:
        key: of the finding.
        value: where findings of one key exclude each other, else "".
        pattern: its words in both languages.
    """

    key: str
    value: str
    pattern: re.Pattern[str]


def _term(key: str, english: str, chinese: str, value: str = "") -> Term:
    words = rf"(?<![A-Za-z0-9])(?:{english})(?![A-Za-z0-9])|{chinese}"
    return Term(key, value, re.compile(words, re.IGNORECASE))


_INVASION = r"(?:invasion|infiltration|involvement|invaded)"

TERMS: tuple[Term, ...] = (
    _term(
        "differentiation", r"well(?:[\s-]to[\s-]moderately)?[\s-]differentiated", "高分化", "well"
    ),
    _term(
        "differentiation",
        r"moderate(?:ly)?[\s-]differentiat(?:ed|ion)",
        "(?<!未)中分化",
        "moderate",
    ),
    _term("differentiation", r"poor(?:ly)?[\s-]differentiat(?:ed|ion)", "低分化", "poor"),
    _term("differentiation", r"un[\s-]?differentiated", "未分化", "none"),
    _term("grade", r"G-?1|grade[\s-](?:1|I)|low[\s-]grade", "低级别|1级|Ⅰ级", "low"),
    _term("grade", r"G-?2|grade[\s-](?:2|II)|intermediate[\s-]grade", "中级别|2级|Ⅱ级", "middle"),
    _term("grade", r"G-?3|grade[\s-](?:3|III)|high[\s-]grade", "高级别|3级|Ⅲ级", "high"),
    _term("ductal", r"(?:intra)?ductal(?: carcinoma)?", "导管癌|导管内癌"),
    _term("lobular", r"lobular(?: carcinoma)?", "小叶癌"),
    _term("in_situ", r"in[\s-]situ|DCIS|LCIS", "原位癌"),
    _term("urothelial", r"urothelial|transitional cell", "尿路上皮癌?"),
    _term("clear_cell", r"clear cell(?:s)?", "透明细胞癌?"),
    _term("papillary", r"(?:micro)?papillary|papillae", "乳头状"),
    _term("mucinous", r"mucinous|colloid carcinoma", "黏液(?:性|腺)癌"),
    _term("signet_ring", r"signet[\s-]ring", "印戒"),
    _term("melanoma", r"melanomas?", "黑色素瘤"),
    _term("lymphoma", r"lymphomas?", "淋巴瘤"),
    _term("sarcoma", r"[a-z]*sarcomas?", "肉瘤"),
    _term("astrocytoma", r"astrocytomas?|astrocytic", "星形细胞瘤"),
    _term("oligodendroglioma", r"oligodendrogliomas?|oligodendroglial", "少突胶质"),
    _term("glioblastoma", r"glioblastomas?(?: multiforme)?|GBM", "胶质母细胞瘤"),
    _term("hepatocellular", r"hepatocellular", "肝细胞癌"),
    _term("thymoma", r"thymomas?", "胸腺瘤"),
    _term("mesothelioma", r"mesotheliomas?", "间皮瘤"),
    _term("germ_cell", r"seminomas?|germ cell|embryonal carcinoma", "精原细胞瘤|生殖细胞"),
    _term(
        "neuroendocrine",
        r"neuroendocrine|carcinoids?|small cell carcinoma",
        "神经内分泌|类癌|小细胞癌",
    ),
    _term("gist", r"gastrointestinal stromal|GISTs?", "间质瘤"),
    _term("mitoses", r"mitos[ei]s|mitotic(?: figures?| activity| rate)?", "核分裂象?|有丝分裂"),
    _term(
        "atypia",
        r"atypia|pleomorphi(?:sm|c)|anaplas(?:ia|tic)|hyperchroma(?:sia|tic)",
        "异型性?|多形性|间变|深染",
    ),
    _term("nucleoli", r"(?:prominent )?nucleol(?:i|us)", "核仁"),
    _term("keratin", r"kerati?n(?:i[sz](?:ation|ing|ed))?(?: pearls?)?", "角化珠?"),
    _term("intercellular_bridges", r"intercellular bridges?", "细胞间桥"),
    _term("glands", r"gland(?:s|ular)?(?: structures?| formation)?|acin(?:i|ar)", "腺体|腺管|腺样"),
    _term("cribriform", r"cribriform", "筛状"),
    _term("solid", r"solid (?:nests?|sheets?|growth|pattern)|sheets", "实性|片状"),
    _term(
        "vascular_invasion",
        rf"(?:lympho?[\s-]?vascular|angiolymphatic|vascular|venous|vessel) {_INVASION}|LVI",
        "脉管(?:内|侵犯|癌栓)|血管侵犯|癌栓",
    ),
    _term("perineural_invasion", rf"(?:peri)?neural {_INVASION}|PNI", "神经(?:侵犯|受侵|累及)"),
    _term("capsular_invasion", rf"capsular {_INVASION}", "包膜(?:侵犯|受累)"),
    _term(
        "stromal_invasion",
        rf"stromal {_INVASION}|(?:infiltrat|invad)(?:e|es|ing) the (?:surrounding )?strom[ae]l?",
        "间质浸润",
    ),
    _term("desmoplasia", r"desmoplas(?:ia|tic)", "促纤维"),
    _term(
        "inflammation",
        r"inflammat(?:ion|ory)(?: infiltrates?| cells?)?|lymphocytic(?: infiltrat(?:e|ion)s?)?|lymphocytes",
        "炎(?:症|性|细胞)|淋巴细胞浸润",
    ),
    _term("haemorrhage", r"ha?emorrhag(?:e|es|ic)", "出血"),
    _term("calcification", r"(?:micro)?calcifications?|psammoma bod(?:y|ies)", "钙化|砂粒体"),
    _term("ulceration", r"ulcerat(?:ion|ed)|ulcers?", "溃疡"),
    _term("oedema", r"o?edema(?:tous)?", "水肿"),
    _term("dysplasia", r"dysplas(?:ia|tic)", "不典型增生|异型增生|上皮内瘤变"),
    _term("hyperplasia", r"hyperplas(?:ia|tic)", "(?<!型)(?<!促)增生"),
    _term("metaplasia", r"metaplas(?:ia|tic)", "化生"),
    _term("margins", r"margins?", "切缘"),
    _term(
        "nodes_positive",
        r"(?:positive|involved|metastatic) (?:lymph )?nodes?|nodal (?:metastas[ie]s|involvement)",
        "淋巴结(?:转移|阳性)",
    ),
    _term("metastasis", r"(?:distant )?metastas[ie]s", "远处转移"),
    _term("viral", r"koilocyt(?:e|es|osis|ic)", "挖空细胞"),
)
"""Findings that claims are made of, beside `histology.CLASSES`; ours."""
