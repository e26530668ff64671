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
            r"p(?:16|40|53|63)(?:ink4a)?",
            r"CDX-?2",
            r"SOX-?10",
            rf"S{_S}100",
            r"GATA-?3",
            r"PAX-?[2358]",
            r"SATB-?2",
            r"napsin(?:[\s-]?A)?",
            r"chromogranin(?:[\s-]?A)?",
            r"INSM-?1",
            r"vimentin|desmin|calretinin|synaptophysin|AMACR|P504S|pan-?CK|cyto-?keratins?",
            r"WT-?1",
            r"HMB-?45",
            r"melan-?A",
            r"AE1(?:/AE3)?",
            r"E-?cadherin",
            rf"CD{_S}\d{{1,3}}[abc]?",
            r"(?:o?estrogen|progesterone|androgen|hormone)[\s-]receptors?",
            r"marker (?:expression|status|positivity)",
            r"tumou?r proportion score|combined positive score",
            r"congo[\s-]red|masson(?:'s)?(?:[\s-]trichrome)?|alcian[\s-]blue|ziehl[\s-]neelsen",
            r"special stains?",
            r"MLH-?1|MSH-?[26]|PMS-?2",
        ),
        _capitals("ER", "PR", "AR", "PgR", "TPS", "CPS", "PAS", "EMA", "SMA", "CgA", "Syn", "TRAP"),
        _beside("ER", "PR", "AR", "ER/PR", "CEA"),
        _chinese(
            r"免疫组(?:织)?化(?:学)?",
            "免疫(?:表型|荧光|染色|标记)",
            "(?:雌|孕|雄)激素受体",
            "激素受体",
            "角蛋白|波形蛋白|结蛋白|突触素|嗜铬(?:素|粒蛋白)",
            "增殖指数",
            "特殊染色",
            "刚果红",
            "抗酸染色",
        ),
    ),
    "molecular": (
        _words(
            r"EGFR\d{0,2}",
            r"[A-Z]\d{2,4}[A-Z]",
            r"homologous recombination",
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
        _words(r"(?:ALK|MET|RET|MYC)[\s-](?:fusion|rearrang\w*|amplifi\w*)"),
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
            "染色体|外显子|拷贝数|同源重组",
            "EB病毒",
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
            r"prescri(?:be|ption)\w*|medications?|irradiat(?:e|ed)",
            r"(?:treatment|therapy) responses?",
        ),
        _chinese(
            "疗效",
            "治疗(?:方案|建议|选择|计划|方法|手段|敏感)",
            "(?:怎么|如何|怎样|应该|应当|该|需要|要不要|是否|适合|接受|建议).{0,8}(?:治疗|化疗|放疗|手术|用药|靶向)(?!后|前|相关|引起)",
            "(?:什么|哪种|哪些|何种).{0,4}(?:药|治疗|化疗|手术)",
            "对.{0,12}(?:治疗|化疗|放疗|药物|靶向药|抑制剂).{0,4}(?:敏感|有效|反应|耐药)",
            "耐药|获益|治疗反应",
            "(?:怎么|如何|怎样|该|要).{0,3}(?:治|处理)(?!后|前|过)",
            "(?:什么|哪种|何种|推荐).{0,4}方案",
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
            r"outlook|(?:chances?|odds|hope) of (?:recovery|cure|healing)",
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
            "治愈|治好|痊愈|康复",
        ),
    ),
    "stage": (
        _words(
            r"stage[ds]?|staging",
            r"y?p?TNM",
            r"[yp]{0,2}[pc]?T[0-4][abc]?N[0-3][abc]?M?[01x]?",
            r"(?:how many|number of) (?:positive |involved |metastatic )?(?:lymph )?nodes",
            r"(?:distant|liver|brain|bone) metastas[ie]s",
        ),
        _capitals(r"p?T[1-4][abc]?"),
        _chinese(
            "分期|TNM",
            "[早中晚IV]期|第?几期",
            "T几",
            "(?:几个|多少个?)淋巴结",
            "(?:远处|肝|脑|骨)转移",
        ),
    ),
    "clinical": (
        _words(
            r"(?:clinical|medical|patient'?s?|family) (?:histor(?:y|ies)|presentation|findings?"
            r"|features)",
            r"symptoms?",
            r"smok(?:es?|ed|er|ers|ing)|drink(?:s|ing)? alcohol",
            r"(?:gross|macroscopic)(?:al|ally)? (?:appearance|findings?|examination|look"
            r"|description)",
            r"how (?:was|were) (?:the |this )?(?:specimen|sample|biopsy|tissue|slide) (?:taken"
            r"|obtained)",
            r"(?:during|at) (?:the )?(?:surgery|operation)|intra-?operative\w*",
        ),
        _chinese(
            "病史|症状|临床(?:表现|资料|所见)",
            "吸烟|抽烟|喝酒|饮酒",
            "大体(?!上)|肉眼|术中|手术(?:情况|所见|怎么|如何|方式)",
            "标本(?:的)?大小",
        ),
    ),
    "identity": (
        _words(
            r"(?:patient|person|donor|subject)(?:'?s)? (?:name|identity|id|age|sex|gender|race"
            r"|ethnicity"
            r"|address|number|history|date)",
            r"(?:name|identity|age|sex|gender|race|ethnicity) of (?:the |this )?(?:patient"
            r"|person|donor|subject|m[ae]n|wom[ae]n)",
            r"who(?:se)? (?:is|was|are) (?:the |this )?(?:patient|person|slide|case|sample)",
            r"whose (?:is )?(?:the |this )?(?:slide|case|sample|tissue|biopsy|specimen)",
            r"who is (?:the |this )?(?:slide|case|sample|tissue|biopsy|specimen) from",
            r"ethnic\w*|(?:is )?(?:the |this )?patient (?:a )?(?:m[ae]n|wom[ae]n|male|female"
            r"|young|old)",
            r"when (?:was|were) (?:the |this )?(?:slide|case|sample|tissue|biopsy|specimen|image"
            r"|scan)",
            r"how old is (?:the |this )?(?:patient|person|donor|m[ae]n|wom[ae]n|he|she)",
            r"(?:male or (?:a )?female|m[ae]n or (?:a )?wom[ae]n|female or male)",
            r"(?:which|what) (?:hospital|institution|clinic|doctor|surgeon)",
            r"date of birth|medical record|social security|accession number",
        ),
        _chinese(
            "(?:患者|病人|病者|受检者|此人|他|她)(?:的)?(?:姓名|名字|年龄|性别|身份|电话|地址|住址|多大|几岁|叫什么|是谁|病史)",
            "(?:姓名|年龄|性别|身份证|住院号|病历号|病案号|门诊号|病理号|出生日期|民族)",
            "是谁(?:的|做)|谁的(?:切片|标本|组织)",
            "(?:患者|病人).{0,3}(?:男|女|姓什么|多少岁|岁数)",
            "(?:什么时候|何时|哪天|哪一天).{0,3}(?:取|做|制|采|手术)",
            "男(?:性)?还是女|女(?:性)?还是男|男女",
            "哪(?:家|个|所)医院|哪个医生|哪位医生",
        ),
    ),
    "other_test": (
        _words(
            r"MRIs?",
            r"magnetic resonance",
            r"x-?rays?",
            r"radiograph\w*|radiolog\w*",
            r"ultrasound|sonograph\w*|mammogra\w*",
            r"endoscop\w*|colonoscop\w*|bronchoscop\w*|dermoscop\w*",
            r"fundus|ECG|EKG|electrocardiogra\w*|(?:bone|PET) scans?|blood smears?",
            r"(?:CT|PET)(?:[/-]CT)?[\s-](?:scans?|images?|findings?)",
            r"blood (?:test|count|level|work)s?",
            r"serum|plasma level|lab(?:oratory)? (?:test|value|result)s?",
            r"electron microscop\w*|electron micrographs?",
            r"flow cytometr\w*",
            r"cytolog\w*",
        ),
        _capitals("CT", "PET", "PSA", "AFP", "CEA", r"CA-?(?:125|19-9|15-3)"),
        _chinese(
            "影像(?:学)?",
            "核磁|磁共振",
            "超声|彩超|B超",
            "[Xx]光|[Xx]线|胸片",
            "内镜|胃镜|肠镜|支气管镜|皮肤镜",
            "心电图|眼底|血涂片|钼靶|骨扫描",
            "血(?:常规|清|检|液检查)",
            "肿瘤标志物|化验",
            "电镜|电子显微镜",
            "流式",
        ),
    ),
    "untrained": (
        _words(
            r"mitos[ei]s|mitotic\w*",
            r"grad(?:e|es|ed|ing)",
            r"(?:well|poorly|moderately|highly|un)[\s-]?differentiated|differentiation",
            r"dysplas\w*|(?<!without )atypia|atypical(?! malignant)|pleomorphi\w*|anaplas\w*",
            r"margins?|resection edges?",
            r"R[012](?=\s+(?:resection|status))",
            r"(?:perineural|neural|lymphovascular|vascular|venous|lymphatic|capsular|stromal|nerve"
            r"|vessel) (?:invasion|infiltration|involvement)",
            r"(?:invade|infiltrate|reach)[sd]? (?:the|into|to|any)|in[\s-]situ|micro-?invasive"
            r"|superficial(?:ly)?",
            r"(?:depth|level) of invasion|how deep(?:ly)?",
            r"how many (?:\w+ )?(?:cells?|nuclei|glands|lymphocytes|vessels|figures)",
            r"(?:number|count) of (?:\w+ )?(?:cells?|nuclei|glands|lymphocytes|vessels|figures)",
            r"(?:cell|nuclear|gland) (?:count|size|density)|TILs?|cellularity|purity",
            r"(?:the|a) primary(?: site| tumou?r| known|[?]|$)|metastas\w+ comes? from",
            r"infections?|infect\w*|virus\w*|bacteri\w*|fung(?:us|al|i)|parasit\w*|helicobacter"
            r"|H\.? ?pylori|tubercul\w*|mycobacteri\w*",
            r"inflam\w*|granuloma\w*|ulcer\w*|abscess\w*|eosinophil\w*|neutrophil\w*"
            r"|plasma cells?|macrophages?|giant cells?|mast cells?",
            r"calcif\w*|thromb\w*|h(?:a)?emorrhag\w*|bleed\w*|oedema|edema|amyloid\w*"
            r"|cirrhosis|infarct\w*|apopto\w*",
            r"lymphomas?|sarcomas?|melanomas?|gliomas?|thymomas?|seminomas?|mesotheliomas?"
            r"|carcinoids?|neuroendocrine",
            r"gleason|nottingham|bloom|fuhrman|clark|breslow|tumou?r budding|keratin\w*"
            r"|lepidic|micro-?papillary|cribriform",
            r"(?:least|most|how) (?:certain|sure|confident|uncertain|reliable)|uncertain\w*",
        ),
        _capitals("PNI", "LVI", "EMVI", "HPF", "DCIS", "CIS", "PIN", "VIN", "CIN"),
        _chinese(
            "核分裂|有丝分裂|分裂象",
            "分级|级别|几级|[高中低]级别|[高中低]分化|未分化|分化(?:程度|如何|怎么|好|差|是|的|$|？)",
            "(?<!无)(?<!没有)异型|不典型|非典型|异常增生|上皮内瘤变|多形性|间变",
            "切缘|断端|断缘",
            "(?:脉管|血管|神经|淋巴管|包膜|肌层|浆膜|胸膜|静脉)(?:侵犯|浸润|受累|受侵|内癌栓)",
            "(?:侵犯|累及|浸润|侵及)(?:到|了)?(?:血管|神经|肌|浆膜|包膜|脂肪|胸膜|哪|多深)"
            "|(?:浸润|侵犯)(?:的)?(?:深度|程度|层次)|癌栓|原位|微浸润",
            "多少个?(?:肿瘤|癌|淋巴)?(?:细胞|核|腺体)|(?:细胞|核|腺体)(?:数|计数|密度|大小)|数(?:一下|一数|数)?(?:肿瘤|癌|淋巴)?(?:细胞|核|腺体)",
            "原发(?:灶|部位|在|来源|是)|继发|从哪里转移|转移.{0,3}来自",
            "感染|病毒|细菌|真菌|寄生虫|幽门螺(?:旋)?杆菌|结核",
            "炎症|炎性|炎(?:细胞)?(?:明显|活动|程度)|肉芽肿|溃疡|脓肿|嗜酸|中性粒|浆细胞|巨噬|巨细胞",
            "钙化|血栓|出血|水肿|淀粉样|硬化|梗死|凋亡",
            "淋巴瘤|肉瘤|黑色素瘤|胶质瘤|间皮瘤|类癌|神经内分泌",
            "出芽|角化|乳头状|筛状|贴壁",
            "(?:最|多)(?:有把握|没把握|不确定|可靠)|把握(?:多大|最)|不确定",
        ),
    ),
}
"""Per topic the rules that catch it; the first topic that matches names the reason.

`untrained` is what H&E may show but the model never learned; see `ruichat.truth.dialogues`.
"""

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
    re.compile(r"(?:化疗|放疗|治疗|手术|新辅助(?:治疗|化疗)?)(?:后|前|相关|引起|所致)"),
    re.compile(r"at (?:this|the|that) stage|染色体外", re.IGNORECASE),
)
"""Phrases taken out before matching, since they set the scene instead of asking."""
