// Classes of tissue as ruichat/histology.py names them; findings keep the English name, as QuPath takes it.

/** Chinese names by English name. */
export const TISSUES_ZH = new Map([
  ["lung adenocarcinoma", "肺腺癌"],
  ["lung squamous cell carcinoma", "肺鳞状细胞癌"],
  ["normal lung", "正常肺组织"],
  ["oral squamous cell carcinoma", "口腔鳞状细胞癌"],
  ["normal oral mucosa", "正常口腔黏膜"],
  ["colorectal polyp", "结直肠息肉"],
  ["breast carcinoma", "乳腺癌"],
  ["lymph node metastasis", "淋巴结转移癌"],
  ["lymphoid tissue", "淋巴组织"],
  ["carcinoma nests", "癌巢"],
  ["malignant glands", "癌性腺体"],
  ["normal glands", "正常腺体"],
  ["fibrous stroma", "纤维间质"],
  ["fat", "脂肪组织"],
  ["necrosis", "坏死"],
  ["mucus", "黏液"],
]);
