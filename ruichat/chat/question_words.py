"""Words by which a message shows what it asks: of tissue, of the slide, of the program, or nothing.

Latin words are bounded by letters only, since Chinese characters may touch them.
"""

from __future__ import annotations

import re

ASKS = re.compile(
    r"(?<![A-Za-z])(?:is|are|was|were|do|does|did|has|have|can|could|what|where|which|how|who"
    r"|why|any"
    r"|describe|show|list|tell|compare|find|name|give|summari[sz]e|point|locate"
    r"|identify)(?![A-Za-z])"
    r"|吗|么|什么|哪|多少|几[个处]|是否|有无|有没有|是不是|描述|概述|总结|比较|指出|列出|如何|怎",
    re.IGNORECASE,
)
"""Words that make a clause a question or a request."""

NAMES_TISSUE = re.compile(
    r"tumou?r|cancer|carcinoma|malignan|benign|neoplas|lesion|metasta|tissue|necro|fat(?![a-z])"
    r"|adipose|stroma|fibro|gland|crypt|polyp|muc(?:us|in|osa)|lymph|inflam|nucle|mitos|cell"
    r"|epithel|vessel|invasi|artefact|artifact|focus|stain|slide|section"
    r"|肿瘤|癌|恶性|良性|病变|转移|组织|坏死|脂肪|间质|纤维|腺|息肉"
    r"|黏液|粘液|黏膜|淋巴|炎|核|细胞|上皮|血管|浸润|染色|切片|片子",
    re.IGNORECASE,
)
"""Words that say what a clause asks about; a bare "and where?" asks about what was caught."""

ABOUT_SLIDE = re.compile(
    r"(?<![A-Za-z])(?:regions?|areas?|fields?|tiles?|images?|pictures?|scan|specimen|biopsy|sample"
    r"|organ|diagnos\w*|d?dx|healthy|share|mets?|SCC|OSCC|LUAD|LUSC|lungs?|oral|breast|colon\w*|nod(?:es?|al)|adipo\w*"
    r"|components?|micro\w+|essentials|(?:ab)?normal|str[uc]+tures?|alveol\w*|parenchyma)"
    r"(?![A-Za-z])"
    r"|报告|看到|发现|区域|图|标本|活检|器官|部位|肺|口腔|乳|肠|结节|鳞|实质|胶原|结缔|正常|异常|成分|病灶|病理|扫描|倍数"
    r"|新生物|瘤|意见|考虑|像素|着色|LUAD|OSCC",
    re.IGNORECASE,
)
"""Words that, besides those for tissue, show that a question is about the slide at all."""

GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|thanks?(?: you)?|thank you|ok(?:ay)?"
    r"|bye|help|what can you do(?: for me)?|who are you|what are you|how do you work"
    r"|你好|您好|嗨|早上好|下午好|谢谢|多谢|再见|好的|帮助|你(?:能|会|可以)(?:做|干|回答)(?:些)?什么"
    r"|你是谁|你是什么|怎么用)(?: there| all)?\W*$",
    re.IGNORECASE,
)
"""The whole of a message that asks nothing about the slide but how to ask."""

FOLLOWS = re.compile(
    r"^\W*(?:and|so|then|but|what about|how about)(?![A-Za-z])"
    r"|^\W*(?:那|那么|还有)|呢\s*[？?]?\s*$",
    re.IGNORECASE,
)
"""How a question begins or ends that goes on from the one before."""

POINTS_BACK = re.compile(
    r"(?<![A-Za-z])(?:it|its|they|them|their|those|these|that)(?![A-Za-z])|它|其|那里|这些|那些",
    re.IGNORECASE,
)
"""Words for something that the question before named."""


def _note(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"^\W*(?:{pattern})\W*$", re.IGNORECASE)


SHORT_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_note("d?dx|diagnosis"), "What is the diagnosis?"),
    (_note("诊断"), "诊断是什么？"),
    (_note("benign/malignant|malignant|benign"), "Is it benign or malignant?"),
    (_note("良恶性?|良性还是恶性"), "是良性还是恶性？"),
    (_note("report|findings|summary|overview|write a report"), "Describe the slide."),
    (_note("(?:any )?(?:mets?|metastas[ei]s)"), "Is there lymph node metastasis?"),
    (_note("where"), "Where is the tumour?"),
    (_note("(?:在)?(?:哪里|哪儿|哪)"), "肿瘤在哪里？"),
    (_note("报告(?:一下)?|写(?:个|一份)?报告|(?:镜下)?所见"), "描述一下这张切片。"),
)
"""Notes as they are jotted down, and the questions they stand for."""
