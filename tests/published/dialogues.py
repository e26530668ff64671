"""Small files as other projects publish them: the layouts are theirs, the words are ours."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

SLIDE = "TCGA-21-1076-01Z-00-DX1.533CA070-93E0-4D49-8770-8F42F341CA38"
OTHER = "TCGA-66-2758-01Z-00-DX1.23611C66-BD21-47D1-ABB0-2F3DA38C377F"


def talk(*words: str) -> list[dict[str, str]]:
    """Human and gpt by turns."""
    return [{"from": ("human", "gpt")[at % 2], "value": said} for at, said in enumerate(words)]


def slide_instruction() -> list[dict[str, Any]]:
    return [
        {
            "id": "1",
            "image": [f"./LUSC/{SLIDE}.csv"],
            "conversations": talk(
                "Describe the slide.\n<image>", "Nests of keratinising cells.", "Grade?", "G2."
            ),
        },
        {
            "id": "2",
            "image": [f"./LUSC/{OTHER}.csv"],
            "conversations": talk("<image>\nIs there necrosis?", "Yes."),
        },
    ]


def wsi_bench() -> list[dict[str, Any]]:
    question = "<image>\nWhich grade (IDH1 R132H) is it? A) Well B) Poorly   C) Moderately"
    return [
        {
            "id": f"{SLIDE}-1",
            "image": f"TCGA-LUSC/{SLIDE}.pt",
            "conversations": talk(question, "C"),
        },
        {
            "id": f"{SLIDE}-2",
            "image": f"TCGA-LUSC/{SLIDE}.pt",
            "conversations": talk("<image>\nWhat is the N.S.A.B.P. grade?", "Grade 2 of 3."),
        },
    ]


def wsi_bench_test() -> list[dict[str, Any]]:
    return [
        {
            "question_id": f"Subtype_{SLIDE}-1_1",
            "image": f"TCGA-LUSC/{SLIDE}.pt",
            "question": "Which type is it?",
            "T-answer": "Squamous cell carcinoma.",
            "metadata": "Subtype",
        }
    ]


def wsi_vqa() -> list[dict[str, Any]]:
    return [
        {
            "Id": "TCGA-LD-A74U",
            "Question": "what was the grade?",
            "Choice": ["grade 1", "grade 2", "grade 3"],
            "Answer": "grade 2",
        },
        {"Id": "TCGA-LD-A74U", "Question": "what is the type?", "Answer": "ductal"},
    ]


def path_vqa() -> list[dict[str, Any]]:
    return [
        {"image": "train_0422.jpg", "question": "is a nerve present?", "answer": "yes"},
        {"image": "train_0422.jpg", "question": "what is seen?", "answer": "fat necrosis"},
    ]


def quilt_instruct() -> list[dict[str, Any]]:
    return [
        {
            "id": "7",
            "image": "iJWJ1Kw0Gzo_image_22.jpg",
            "conversations": talk("<image>\nWhat is shown?", "A sweat gland."),
        }
    ]


def quilt_vqa() -> list[dict[str, Any]]:
    return [
        {
            "image": "k99-3_image_8.jpg",
            "question": "Are there granulomas?",
            "answer": "Yes, several.",
            "answer_type": "CLOSED",
            "context": "Here we see granulomas.",
        }
    ]


def histgen() -> dict[str, Any]:
    def one(name: str, split: str) -> dict[str, Any]:
        return {"id": name, "report": "Tumour cells.", "image_path": [f"{name}.pt"], "split": split}

    return {"train": [one(SLIDE, "train")], "val": [], "test": [one(OTHER, "test")]}


def path_gen() -> list[dict[str, Any]]:
    caption = "Fibrous stroma."
    return [
        {"wsi_id": SLIDE, "position": ["35136", "33344"], "caption": caption, "file_id": "bff"},
        {"WSI_id": OTHER, "position": ["41024", "35104"], "caption": caption},
    ]


def slide_bench() -> str:
    header = "ID,Slide,Tumor,Broad Category,Narrow Category,Question,A,B,C,D,Answer"
    return table(
        header.split(","),
        ["0", SLIDE, "LUSC", "Text", "Grade", "Which grade?", "G1", "G2", "G3", "G4", "B"],
        ["1", SLIDE, "LUSC", "Diagnosis", "Type", "Type, if any?", "one", "", "two", "", "C"],
    )


def multi_path_qa() -> str:
    names = (
        "benchmark_name,benchmark_id,image_path,answer,options,image_exists,patch_exists,"
        "is_valid,metric_type,file_id,prompt"
    )
    end = ["True", "True", "True", "accuracy", "f"]
    organs = "['Liver', 'Lung']"
    return table(
        names.split(","),
        ["tcga_slidebench", "a1", f"{SLIDE}.svs", "2", "['2', '3']", *end, "Gleason?"],
        ["gtex", "b1", "GTEX-1.tiff", "Lung", organs, *end, "Of {options}?"],
        ["panda", "c1", "0ab.tiff", "3", "", *end, "Which ISUP grade?"],
    )


def table(*rows: list[str]) -> str:
    """Rows as CSV with the line ends that Python writes."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def lines(records: list[dict[str, Any]]) -> str:
    """One JSON object to a line."""
    return "".join(f"{json.dumps(record)}\n" for record in records)


def reports() -> str:
    """A table of a hospital's own, with a report of several lines and one in Chinese."""
    return (
        "slide,patient,report\n"
        'S-17-2.svs,P0042,"Moderately differentiated adenocarcinoma.\nMargins are free."\n'
        "S-17-3.svs,P0043,中分化腺癌，切缘未见癌。\n"
    )


PUBLISHED: dict[str, tuple[str, str]] = {
    "slideinstruction": ("SlideInstruct_train.json", json.dumps(slide_instruction(), indent=2)),
    "wsi-bench": ("Grading_train.json", json.dumps(wsi_bench())),
    "wsi-vqa": ("WsiVQA_train.json", json.dumps(wsi_vqa())),
    "pathvqa": ("pathvqa.json", json.dumps(path_vqa())),
    "quilt-instruct": ("quilt_instruct_107k.json", json.dumps(quilt_instruct())),
    "quilt-vqa": ("quiltvqa_test_w_ans.json", json.dumps(quilt_vqa())),
    "histgen": ("annotation.json", json.dumps(histgen())),
    "pathgen": ("PathGen-1.6M.json", json.dumps(path_gen(), indent=1)),
    "slidebench": ("SlideBench-VQA-TCGA.csv", slide_bench()),
    "multipathqa": ("MultiPathQA.csv", multi_path_qa()),
    "reports": ("reports.csv", reports()),
}
"""File name and text by format."""
