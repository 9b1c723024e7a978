"""Writes packages/evaluate/test/golden: made-up data sets of the built-in tasks, and what lm-evaluation-harness 0.4.13 gives on them for foldling.

    pip install lm-eval==0.4.13 torch transformers
    python tools/harness_golden.py
"""

import json
import random
import shutil
import tempfile
from pathlib import Path

import lm_eval
import torch
import transformers
from compare_with_lm_eval import KNOWN, ROOT, TASKS, local_task
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

OUT = ROOT / "packages/evaluate/test/golden"
rng = random.Random(11)
NAMES = ["Mara", "Tom", "Ann", "Bo", "Lina", "Jon"]
THINGS = ["apple", "red ball", "old boat", "small dog", "hat", "warm cake"]
PLACES = ["by the river", "in the garden", "at home", "under the tree", "near the mill"]


def story():
    name, thing, place = rng.choice(NAMES), rng.choice(THINGS), rng.choice(PLACES)
    return f"{name} found the {thing} {place}. {name} was happy and took the {thing} home."


def choices(count, pool):
    return rng.sample(pool, count)


def question():
    return f"What did {rng.choice(NAMES)} find {rng.choice(PLACES)}?"


def hub(stem, count):
    rows = []
    for index in range(count):
        n = 3 + index % 3
        labels = ["A", "B", "C", "D", "E"][:n] if index % 2 == 0 else ["1", "2", "3", "4", "5"][:n]
        rows.append({stem: question(), "choices": {"text": choices(n, THINGS), "label": labels}, "answerKey": rng.choice(labels)})
    return rows


def problem(last):
    blank = "The animal that was seen  _  ."
    options = choices(4, THINGS)
    return {"question": question() if last else rng.choice([question(), blank]), "answer": rng.choice("ABCD"), "options": options}


def sums(count):
    rows = []
    for _ in range(count):
        a, b = rng.randint(2, 30), rng.randint(2, 30)
        name, thing = rng.choice(NAMES), rng.choice(THINGS)
        rows.append(
            {
                "question": f"{name} has {a} {thing}s and finds {b} more. How many are there?",
                "answer": f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n#### {a + b:,}",
            }
        )
    return rows


def page():
    body = " ".join(f'{rng.choice(NAMES)} , who was {rng.randint(1, 9)} @.@ 5 years old , said : " {story()} " ( twice ) .' for _ in range(5))
    return {"page": f" = The {rng.choice(THINGS)} = \n \n {body} \n = = More = = \n {story()} \n"}


def subject(count):
    return [{"question": f" {question()}", "subject": "made up", "choices": choices(4, THINGS), "answer": rng.randint(0, 3)} for _ in range(count)]


def datasets():
    def several(make, count=4):
        return [make() for _ in range(count)]

    return {
        "piqa/validation": several(lambda: {"goal": question(), "sol1": rng.choice(THINGS), "sol2": rng.choice(PLACES), "label": rng.randint(0, 1)}),
        "ai2_arc/ARC-Easy/test": hub("question", 4),
        "ai2_arc/ARC-Challenge/test": hub("question", 4),
        "openbookqa/main/test": hub("question_stem", 4),
        "winogrande/winogrande_xl/validation": several(
            lambda: {"sentence": f"Mara gave Tom the {rng.choice(THINGS)} because _ was happy {rng.choice(PLACES)}.", "option1": "Mara", "option2": "Tom", "answer": rng.choice("12")}
        ),
        "hellaswag/validation": several(
            lambda: {
                "activity_label": "Walking [title] home",
                "ctx_a": f"{story()} [header] Then  it rained.",
                "ctx_b": rng.choice(["Mara", "the Dog", ""]),
                "endings": [f"{place} [step] {rng.choice(THINGS)}. " for place in choices(4, PLACES)],
                "label": rng.choice("0123"),
            }
        ),
        "super_glue/boolq/validation": several(lambda: {"passage": story(), "question": "is the dog happy", "label": rng.randint(0, 1)}),
        # The last one is longer than foldling's context.
        "race/high/test": [
            {"article": " ".join(story() for _ in range(size)), "problems": repr([problem(False), problem(False), problem(True)])}
            for size in [1, 2, 40]
        ],
        "lambada_openai/default/test": several(lambda: {"text": story().rstrip(".")}),
        "wikitext_document_level/wikitext-2-raw-v1/test": several(page, 2),
        "gsm8k/main/train": sums(20),
        "gsm8k/main/test": sums(2),
        "mmlu/anatomy/dev": subject(5),
        "mmlu/anatomy/test": subject(4),
        "mmlu/virology/dev": subject(5),
        "mmlu/virology/test": subject(2),
    }


def write_parquet():
    """Two pieces of a split as the hub has them, one packed by snappy and one by zstd."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"question": f"{name}?", "choices": {"text": [name, "é", "c"], "label": ["A", "B", "C"]}, "answerKey": "B", "id": index, "none": None}
        for index, name in enumerate(NAMES)
    ]
    folder = OUT / "parquet/ai2_arc/ARC-Easy"
    folder.mkdir(parents=True, exist_ok=True)
    for piece, (part, codec) in enumerate([(rows[:4], "snappy"), (rows[4:], "zstd")]):
        table = pyarrow.Table.from_pylist(part)
        pyarrow.parquet.write_table(table, folder / f"test-0000{piece}-of-00002.parquet", compression=codec)


def main():
    write_parquet()
    for name, rows in datasets().items():
        file = OUT / "data" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    # Without generation_config.json, whose max_new_tokens the harness would not know of.
    checkpoint = tempfile.mkdtemp()
    for file in (ROOT / "models/foldling/checkpoint").iterdir():
        if file.name != "generation_config.json":
            shutil.copy(file, checkpoint)
    model = HFLM(pretrained=checkpoint, device="cpu", dtype="float32", batch_size=1)
    tasks = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, place) in KNOWN.items():
            local_task(folder, name, TASKS / file, OUT / "data" / place)
        for one in ["anatomy", "virology"]:
            local_task(folder, f"mmlu_{one}", TASKS / f"mmlu/default/mmlu_{one}.yaml", OUT / "data/mmlu" / one)
        manager = TaskManager(include_path=folder)
        runs = [([name for name in KNOWN], None), (["mmlu_anatomy", "mmlu_virology"], 5), (["arc_easy", "piqa"], 2)]
        for names, fewshot in runs:
            # Examples are drawn from the split that is evaluated where there is no other: those of arc_easy and piqa.
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=[f"local_{name}" for name in names],
                task_manager=manager,
                num_fewshot=fewshot,
                log_samples=True,
            )
            for name in names:
                results = found["results"][f"local_{name}"]
                tasks[name if fewshot != 2 else f"{name}, 2 examples"] = {
                    "figures": {key: value for key, value in results.items() if "," in key},
                    "samples": [
                        {
                            **{key: sample[key] for key in ["doc_id", "filter", "doc_hash", "prompt_hash", "target_hash", "resps"]},
                            "values": {metric: sample[metric] for metric in sample["metrics"]},
                        }
                        for sample in found["samples"][f"local_{name}"]
                    ],
                }
    versions = {"lm_eval": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    (OUT / "foldling.json").write_text(json.dumps({"versions": versions, "tasks": tasks}, indent=1) + "\n")


if __name__ == "__main__":
    main()
