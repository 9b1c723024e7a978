"""Judges `layerfold eval --tasks` by lm-evaluation-harness: the same documents, request by request.

The harness's own task files are run by the harness (model hf, float32, CPU) on local data, and the built-in ones by layerfold; or with --own-files its
files by both. Compared for every document: contexts and continuations, log-likelihoods, whether they are greedy, generated texts, the chosen answer and
every metric; and the figures of tasks and groups with their standard errors. Ends with 1 where something differs.

    pip install lm-eval==0.4.13 torch transformers
    python tools/compare_with_lm_eval.py MODEL --data FOLDER --limit 200 --tasks piqa,arc_easy

FOLDER holds the data sets as the hub has them, in JSON lines: SET/CONFIG/SPLIT.jsonl (see docs/evaluation.md).
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lm_eval
import yaml
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

ROOT = Path(__file__).resolve().parent.parent
TASKS = Path(lm_eval.__file__).parent / "tasks"
# The harness's file, and the folder of the data.
KNOWN = {
    "piqa": ("piqa/piqa.yaml", "piqa"),
    "arc_easy": ("arc/arc_easy.yaml", "ai2_arc/ARC-Easy"),
    "arc_challenge": ("arc/arc_challenge.yaml", "ai2_arc/ARC-Challenge"),
    "openbookqa": ("openbookqa/openbookqa.yaml", "openbookqa/main"),
    "winogrande": ("winogrande/default.yaml", "winogrande/winogrande_xl"),
    "hellaswag": ("hellaswag/hellaswag.yaml", "hellaswag"),
    "boolq": ("super_glue/boolq/default.yaml", "super_glue/boolq"),
    "race": ("race/race.yaml", "race/high"),
    "lambada_openai": ("lambada/lambada_openai.yaml", "lambada_openai/default"),
    "wikitext": ("wikitext/wikitext.yaml", "wikitext_document_level/wikitext-2-raw-v1"),
    "gsm8k": ("gsm8k/gsm8k.yaml", "gsm8k/main"),
}
SPLITS = ["train", "validation", "test", "dev"]


class Loader(yaml.SafeLoader):
    pass


Loader.add_constructor("!function", lambda loader, node: None)


def mmlu_subjects(data):
    return sorted(Path(f).parent.name for f in glob.glob(f"{data}/mmlu/*/test.jsonl"))


def local_task(folder, name, file, place):
    """A task file that is the harness's own with local data."""
    files = {split: str(place / f"{split}.jsonl") for split in SPLITS if (place / f"{split}.jsonl").exists()}
    lines = [f"include: {file}", f"task: local_{name}", "dataset_path: json", "dataset_name: null", "tag: null"]
    lines.append("dataset_kwargs: " + json.dumps({"data_files": files}))
    for field, split in [("training_split", "train"), ("validation_split", "validation")]:
        if split not in files:
            lines.append(f"{field}: null")
    (Path(folder) / f"local_{name}.yaml").write_text("\n".join(lines) + "\n")


def numbers(response):
    """[log-likelihood, greedy] of a response as the samples file has it."""
    return float(response[0]), str(response[1]) == "True"


class Differences:
    def __init__(self, tolerance):
        self.tolerance = tolerance
        self.found = []
        self.largest = 0.0
        self.requests = 0
        self.documents = 0

    def say(self, where, wanted, got):
        self.found.append(f"{where}: wanted {wanted!r:.120}, got {got!r:.120}")

    def likelihood(self, where, wanted, got, tolerance=None):
        difference = abs(wanted - got)
        self.largest = max(self.largest, difference)
        if not difference <= (tolerance or self.tolerance):
            self.say(where, wanted, got)


def compare_task(name, theirs, ours, tolerance):
    differences = Differences(tolerance)
    by_key = {(sample["doc_id"], sample["filter"]): sample for sample in ours}
    if len(by_key) != len(theirs):
        differences.say(f"{name}: samples", len(theirs), len(by_key))
    for wanted in theirs:
        got = by_key.get((wanted["doc_id"], wanted["filter"]))
        where = f"{name} document {wanted['doc_id']}"
        if got is None:
            differences.say(where, "a sample", None)
            continue
        differences.documents += 1
        for index, (arguments, response) in enumerate(zip(wanted["arguments"], wanted["resps"])):
            differences.requests += 1
            asked = got["arguments"][f"gen_args_{index}"]
            if asked["arg_0"] != arguments[0]:
                differences.say(f"{where} context", arguments[0][-120:], asked["arg_0"][-120:])
            answer = got["resps"][index][0]
            if isinstance(response[0], str):
                if response[0] != answer:
                    differences.say(f"{where} text", response[0], answer)
            elif isinstance(response[0], float):
                # A page of thousands of tokens: the tolerance is for each hundred.
                pieces = max(1.0, len(arguments[0]) / 400)
                differences.likelihood(where, response[0], float(answer), tolerance * pieces)
            else:
                if asked["arg_1"] != arguments[1]:
                    differences.say(f"{where} continuation", arguments[1], asked["arg_1"])
                likelihood, greedy = numbers(answer)
                differences.likelihood(where, response[0][0], likelihood)
                if bool(response[0][1]) != greedy:
                    differences.say(f"{where} greedy", response[0][1], greedy)
        for metric in wanted["metrics"]:
            mine, their = got[metric], wanted[metric]
            if isinstance(their, (int, float)) and abs(their - mine) > tolerance:
                differences.say(f"{where} {metric}", their, mine)
    return differences


def run_layerfold(options, names, folder):
    command = ["node", str(ROOT / "packages/cli/bin/layerfold.js"), "eval", options.model, "--tasks", ",".join(names)]
    command += ["--data", options.data, "--out", folder, "--log-samples", "--json"]
    if options.limit:
        command += ["--limit", str(options.limit)]
    if options.num_fewshot is not None:
        command += ["--num-fewshot", str(options.num_fewshot)]
    begun = time.time()
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    samples = {}
    for file in result["files"]:
        if file.endswith(".jsonl"):
            task = Path(file).name[len("samples_") :].rsplit("_", 1)[0]
            samples[task] = [json.loads(line) for line in open(file, encoding="utf-8")]
    return result, samples, time.time() - begun


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default=",".join([*KNOWN, "mmlu"]))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--num-fewshot", type=int)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--own-files", action="store_true", help="layerfold runs the harness's own files by path")
    options = parser.parse_args()
    data = Path(options.data).resolve()
    asked = options.tasks.split(",")
    paths = {name: str(TASKS / KNOWN[name][0]) for name in asked if name in KNOWN}
    with tempfile.TemporaryDirectory() as folder:
        for name in paths:
            local_task(folder, name, paths[name], data / KNOWN[name][1])
        tasks = list(paths)
        if "mmlu" in asked:
            for subject in mmlu_subjects(data):
                name = f"mmlu_{subject}"
                local_task(folder, name, TASKS / f"mmlu/default/{name}.yaml", data / "mmlu" / subject)
                tasks.append(name)
        manager = TaskManager(include_path=folder)
        model = HFLM(pretrained=options.model, device="cpu", dtype="float32", batch_size=options.batch_size)
        fewshot = options.num_fewshot if options.num_fewshot is not None else (5 if "mmlu" in asked else None)
        begun = time.time()
        theirs = lm_eval.simple_evaluate(
            model=model,
            tasks=[f"local_{name}" for name in tasks],
            task_manager=manager,
            limit=options.limit,
            num_fewshot=fewshot,
            log_samples=True,
        )
        harness_seconds = time.time() - begun
        names = [*(paths[name] if options.own_files else name for name in paths), *(["mmlu"] if "mmlu" in asked else [])]
        ours, samples, seconds = run_layerfold(options, names, folder)

    failed = False
    print("| task | documents | requests | largest difference of log-likelihoods | figures (harness = layerfold) |")
    print("| --- | ---: | ---: | ---: | --- |")
    for name in tasks:
        differences = compare_task(name, theirs["samples"][f"local_{name}"], samples[name], options.tolerance)
        figures = []
        for key, wanted in theirs["results"][f"local_{name}"].items():
            if "," not in key:
                continue
            got = ours["results"][name].get(key)
            if isinstance(wanted, (int, float)):
                if got is None or got == "N/A" or abs(got - wanted) > 1e-3 * max(1, abs(wanted)):
                    differences.say(f"{name} {key}", wanted, got)
                figures.append(f"{key.replace(',none', '')} {wanted:.4f}")
        print(f"| {name} | {differences.documents} | {differences.requests} | {differences.largest:.1e} | {', '.join(figures)} |")
        for line in differences.found[:5]:
            failed = True
            print(f"    {line}", file=sys.stderr)
    versions = f"lm-eval {lm_eval.__version__ if hasattr(lm_eval, '__version__') else ''}"
    print(f"\n{versions}: {harness_seconds:.0f} s, layerfold {seconds:.0f} s (both with opening the model)")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
