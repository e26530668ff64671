"""Words of the modality guard, in both languages.

Latin words are bounded by ASCII letters and digits only, because Python counts a Chinese
character as a letter and would find no boundary in "ER阳性". Abbreviations that are also words or
syllables ("er", "met", "all") count only in capitals, or beside a word such as "positive".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ruichat.chat.guard import GuardTopic

Rule = tuple[re.Pattern[str], bool]
"""A pattern, and whether it relies on capitals."""


def _words(*alternatives: str) -> Rule:
    """Whole words, in any case."""
    body = "|".join(alternatives)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{body})(?![A-Za-z0-9])", re.IGNORECASE), False


def _capitals(*alternatives: str) -> Rule:
    """Whole words in the capitals given."""
    body = "|".join(alternatives)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{body})(?![A-Za-z0-9])"), True


def _chinese(*alternatives: str) -> Rule:
    return re.compile("|".join(alternatives)), False


def _beside(*alternatives: str) -> Rule:
    """Ambiguous abbreviations in any case, but only beside a word about a marker's result."""
    names = "|".join(alternatives)
    result = (
        r"(?:\+|-ve\b|\+ve\b|positiv\w*|negativ\w*|status|receptors?|expression|expressing"
        r"|stain\w*|阳性|阴性|表达|状态|受体)"
    )
    return (
        re.compile(
            rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])[\s/-]*(?:and\s+\w+\s+)?{result}"
            rf"|(?:status|expression|positiv\w*) (?:of|for) (?:{names})(?![A-Za-z0-9])",
            re.IGNORECASE,
        ),
        False,
    )


_S = r"[\s-]?"  # HER2, HER 2, HER-2

TOPICS: dict[GuardTopic, tuple[Rule, ...]] = {
    "ihc": (
        _words(
            r"immuno-?\s?histo-?\s?chemi\w*",
            r"immuno-?(?:stain|phenotyp|reactiv|cytochemi|peroxidase|marker|profile)\w*",
            r"immunofluorescen\w*",
            "IHC",
            rf"HER{_S}2(?:/neu)?",
            r"c-?erbB-?2",
            rf"Ki{_S}67",
            r"MIB-?1",
            rf"PD{_S}L{_S}[12]",
            rf"PD{_S}1",
            rf"TTF{_S}1",
            rf"CK{_S}(?:\d{{1,2}}|pan)(?:/\d{{1,2}})*",
            r"pan-?CK",
            r"cyto-?keratins?",
            r"p(?:16|40|53|63)(?:ink4a)?",
            r"CDX-?2",
            r"SOX-?10",
            rf"S{_S}100",
            r"GATA-?3",
            r"PAX-?[2358]",
            r"SATB-?2",
            r"napsin(?:[\s-]?A)?",
            r"synaptophysin",
            r"chromogranin(?:[\s-]?A)?",
            r"INSM-?1",
            r"vimentin",
            r"desmin",
            r"calretinin",
            r"WT-?1",
            r"HMB-?45",
            r"melan-?A",
            r"AE1(?:/AE3)?",
            r"E-?cadherin",
            r"AMACR|P504S",
            rf"CD{_S}\d{{1,3}}[abc]?",
            r"(?:o?estrogen|progesterone|androgen|hormone)[\s-]receptors?",
            r"marker (?:expression|status|positivity)",
            r"tumou?r proportion score|combined positive score",
            r"congo[\s-]red|masson(?:'s)?(?:[\s-]trichrome)?|alcian[\s-]blue|ziehl[\s-]neelsen",
            r"special stains?",
        ),
        _capitals("ER", "PR", "AR", "PgR", "TPS", "CPS", "PAS", "EMA", "SMA", "TRAP"),
        _beside("ER", "PR", "AR", "ER/PR", "CEA"),
        _chinese(
            r"免疫组(?:织)?化(?:学)?",
            "免疫(?:表型|荧光|染色|标记)",
            "(?:雌|孕|雄)激素受体",
            "激素受体",
            "细胞角蛋白",
            "增殖指数",
            "特殊染色",
            "刚果红",
            "抗酸染色",
        ),
    ),
    "molecular": (
        _words(
            "EGFR",
            "[KNH]-?RAS",
            "B-?RAF",
            r"BRCA(?:-?[12])?(?:/2)?",
            r"ROS-?1",
            r"NTRK[123]?",
            "PIK3CA",
            r"IDH-?[12]?",
            "TP53",
            "PTEN",
            r"CDKN2A",
            "FGFR[1234]?",
            "HPV",
            "EBV|EBER",
            "d?MMR",
            r"MSI(?:-?[HL])?|MSS",
            "TMB",
            "HRD",
            "MGMT",
            r"1p/?19q",
            r"micro-?satellite",
            r"mismatch[\s-]repair",
            r"luminal[\s-][AB]",
            r"triple[\s-]negative",
            r"mutations?|mutated|mutational|mutants?",
            r"genes?|genetics?|genom\w+|genotyp\w*|oncogenes?",
            r"transcriptom\w*|gene expression|proteom\w*",
            r"methylat\w*|epigenetic\w*",
            r"translocations?|copy[\s-]number",
            r"gene (?:fusion|rearrangement|amplification)s?",
            r"molecular",
            r"sequencing|NGS|PCR|DNA|RNA|karyotyp\w*",
            r"in[\s-]situ[\s-]hybridi[sz]ation",
            r"driver alterations?",
        ),
        _capitals("ALK", "MET", "RET", "FISH", "KIT", "AKT", "MYC", "BCL2", "BCL6"),
        _beside("ALK", "MET", "RET"),
        _words(r"(?:ALK|MET|RET)[\s-](?:fusion|rearrang\w*|amplifi\w*)"),
        _chinese(
            "基因",
            "突变",
            "分子(?:分型|亚型|病理|检测|特征|标志)",
            "微卫星",
            "错配修复",
            "甲基化",
            "测序",
            "融合(?:阳性|阴性|检测)",
            "原位杂交",
            "三阴",
            "腔面型",
            "肿瘤突变负荷",
            "染色体",
        ),
    ),
    "therapy": (
        _words(
            r"(?:respond|response|sensitiv\w*|resistan\w*|refractory) (?:to|of)\b.{0,40}?"
            r"(?:therap\w*|treatment|chemo\w*|radio\w*|immuno\w*|drugs?|inhibitor\w*|[a-z]+mab"
            r"|[a-z]+nib)",
            r"benefit from",
            r"(?:what|which|best|recommend\w*|suggest\w*|should|need\w*|require\w*|choose"
            r"|candidate for)"
            r"\b.{0,40}?(?:treatment|treated|therap\w*|chemo\w*|drugs?|regimen|surger\w*"
            r"|operat\w*)",
            r"(?:treatment|therapy|drug|dose) (?:plan|choice|option|recommendation|decision"
            r"|advice)s?",
            r"how (?:to|should \w+|would you|do (?:we|you|i)) treat",
            r"[a-z]{3,}(?:lizumab|tuzumab|limumab|tinib|platin)",
            r"prescri(?:be|ption)\w*",
        ),
        _chinese(
            "疗效",
            "治疗(?:方案|建议|选择|计划|方法|手段|敏感)",
            "(?:怎么|如何|怎样|应该|应当|该|需要|要不要|是否|适合|接受|建议).{0,8}(?:治疗|化疗|放疗|手术|用药|靶向)(?!后|前|相关|引起)",
            "(?:什么|哪种|哪些|何种).{0,4}(?:药|治疗|化疗|手术)",
            "对.{0,12}(?:治疗|化疗|放疗|药物|靶向药|抑制剂).{0,4}(?:敏感|有效|反应|耐药)",
            "耐药|获益",
            "靶向治疗|免疫治疗",
        ),
    ),
    "outcome": (
        _words(
            r"prognos\w*",
            r"surviv(?:al|e|es|or|ors)\b(?:\s+\w+)?",
            r"life expectancy",
            r"(?:clinical |patient |disease )?outcomes?",
            r"mortality",
            r"how long .{0,30}\bli(?:ve|fe)\b",
            r"(?:will|going to|likely to|chance|risk|probability|odds)\b.{0,40}?"
            r"(?:recur\w*|relaps\w*|metasta\w*|spread\w*|die[ds]?|dying|death|progress\w*"
            r"|cur(?:e|ed|able)|come back)",
            r"recurrence|relapse[sd]?",
            r"(?:disease|progression|recurrence)[\s-]free",
            r"time to (?:progression|death|recurrence)",
            r"(?:five|5|ten|10)[\s-]years?",
        ),
        _chinese(
            "预后",
            "生存",
            "存活",
            "(?:能|会|可以|还能|还可)(?:再)?活",
            "寿命",
            "死亡(?:率|风险|概率|时间|原因)|(?:会|患者|病人).{0,4}死亡",
            "复发",
            "转归",
            "(?:会不会|是否会|可能会|风险|概率).{0,6}(?:转移|扩散|进展)",
            "(?:转移|扩散|进展)(?:的)?(?:风险|概率|可能)",
            "治愈|能治好",
        ),
    ),
    "stage": (
        _words(
            r"(?:clinical|patholog\w+|tumou?r|cancer|disease|TNM|AJCC|UICC|FIGO"
            r"|dukes'?)[\s-]?stag(?:e|ing)",
            r"(?:what|which|early|late|advanced)[\s-]stage",
            r"stage (?:of|is|I{1,3}V?|IV|[0-4])[ABC]?",
            r"TNM",
            r"[yp]{0,2}[pc]?T[0-4][abc]?N[0-3][abc]?M?[01x]?",
        ),
        _chinese("分期", r"[早中晚]期"),
    ),
    "identity": (
        _words(
            r"(?:patient|person|donor|subject)(?:'?s)? (?:name|identity|id|age|sex|gender|race"
            r"|ethnicity"
            r"|address|number|history|date)",
            r"(?:name|identity|age|sex|gender|race|ethnicity) of (?:the |this )?(?:patient"
            r"|person|donor|subject|m[ae]n|wom[ae]n)",
            r"who(?:se)? (?:is|was|are) (?:the |this )?(?:patient|person|slide|case|sample)",
            r"whose (?:slide|case|sample|tissue|biopsy|specimen)",
            r"how old is (?:the |this )?(?:patient|person|donor|m[ae]n|wom[ae]n|he|she)",
            r"(?:male or (?:a )?female|m[ae]n or (?:a )?wom[ae]n|female or male)",
            r"(?:which|what) (?:hospital|institution|clinic|doctor|surgeon)",
            r"date of birth|medical record|social security|accession number",
            r"smok(?:er|ing|es|ed)",
        ),
        _chinese(
            "(?:患者|病人|病者|受检者|此人|他|她)(?:的)?(?:姓名|名字|年龄|性别|身份|电话|地址|住址|多大|几岁|叫什么|是谁|病史)",
            "(?:姓名|年龄|性别|身份证|住院号|病历号|病案号|门诊号|病理号|出生日期|民族)",
            "是谁的|谁的(?:切片|标本|组织)",
            "男(?:性)?还是女|女(?:性)?还是男|男女",
            "哪(?:家|个|所)医院|哪个医生|哪位医生",
            "吸烟",
        ),
    ),
    "other_test": (
        _words(
            r"MRIs?",
            r"magnetic resonance",
            r"x-?rays?",
            r"radiograph\w*|radiolog\w*",
            r"ultrasound|sonograph\w*|mammogra\w*",
            r"endoscop\w*|colonoscop\w*|bronchoscop\w*",
            r"(?:CT|PET)(?:[/-]CT)?[\s-](?:scans?|images?|findings?)",
            r"blood (?:test|count|level|work)s?",
            r"serum|plasma level|lab(?:oratory)? (?:test|value|result)s?",
            r"electron microscop\w*",
            r"flow cytometr\w*",
            r"cytolog\w*",
        ),
        _capitals("CT", "PET", "PSA", "AFP", "CEA", r"CA-?(?:125|19-9|15-3)"),
        _chinese(
            "影像(?:学)?",
            "核磁|磁共振",
            "超声|彩超|B超",
            "[Xx]光|[Xx]线|胸片",
            "内镜|胃镜|肠镜|支气管镜",
            "血(?:常规|清|检|液检查)",
            "肿瘤标志物|化验",
            "电镜|电子显微镜",
            "流式",
        ),
    ),
}
"""Per topic the rules that catch it; the first topic that matches names the reason."""

EXEMPT: tuple[re.Pattern[str], ...] = (
    # What was done before or is left out isn't what is asked.
    re.compile(
        r"(?<![A-Za-z])(?:without|before|after|prior to|ignoring|regardless of|pending"
        r"|instead of)\s+"
        r"(?:any |the |further |additional |neo-?adjuvant )*"
        r"(?:IHC|immunohistochemistry|immunostain\w*|special stains?|molecular (?:tests?|testing"
        r"|data)|sequencing|treatment"
        r"|therapy|chemotherapy|radiotherapy|chemoradi\w*|surgery)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:treatment|therapy|radiation|chemotherapy)[\s-](?:related|induced|effects?|changes?"
        r"|associated)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?:不做|不用|未做|无需|没有|不依赖|不考虑|除外|除了)(?:做)?(?:免疫组(?:织)?化(?:学)?"
        r"|基因检测|分子检测|特殊染色)"
    ),
    re.compile(r"(?:化疗|放疗|治疗|手术|新辅助(?:治疗|化疗)?)(?:后|前|相关|反应|引起|所致)"),
    re.compile(r"染色体外"),
)
"""Phrases taken out before matching, since they set the scene instead of asking."""

ASKS = re.compile(
    r"(?<![A-Za-z])(?:is|are|was|were|do|does|did|has|have|can|could|what|where|which|how|who"
    r"|why|any"
    r"|describe|show|list|tell|compare|find|name|give|summari[sz]e|point|locate"
    r"|identify)(?![A-Za-z])"
    r"|吗|么|什么|哪|多少|几[个处]|是否|有无|有没有|是不是|描述|概述|总结|比较|指出|列出|如何|怎",
    re.IGNORECASE,
)
"""Words that make a clause a question or a request."""
