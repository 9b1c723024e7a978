"""Reads one JSON job per line from standard input and answers each with one line, by llama-cpp-python: {kind: greedy, file, prompt, count} gives
the ids that llama.cpp cuts the prompt into, the logits behind it, and its continuation by the most probable tokens, keys and values remembered in float32.
{kind: perplexity, file, windows} gives exp of the mean loss, each window's first
token unscored. {kind: quantize, file, out, type} lets llama.cpp quantise a file. {kind: version} says who answers.    pip install llama-cpp-python"""
import json
import math
import os
import sys

import llama_cpp
import numpy as np

THREADS = int(os.environ.get("LAYERFOLD_THREADS", "1"))  # more than there are free cores is slow: llama.cpp's threads wait busily


def open_model(file, context):
    return llama_cpp.Llama(file, n_ctx=context, n_batch=context, n_ubatch=context, logits_all=True, n_threads=THREADS, n_threads_batch=THREADS,
                           type_k=0, type_v=0, verbose=False)


def greedy(file, prompt, count):
    model = open_model(file, 256)
    ids = model.tokenize(prompt.encode(), add_bos=True, special=True)
    model.eval(ids)
    logits = np.array(model.scores[model.n_tokens - 1])
    tokens = []
    while True:
        tokens.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        if len(tokens) == count:
            break
        model.eval(tokens[-1:])
    return dict(ids=ids, tokens=tokens, logits=[float(x) for x in logits])


def perplexity(file, windows):
    model = open_model(file, max(map(len, windows)))
    loss, count = 0.0, 0
    for ids in windows:
        model.reset()
        model.eval(ids)
        scores = np.array(model.scores[:len(ids) - 1], dtype=np.float64)
        top = scores.max(-1)
        total = top + np.log(np.exp(scores - top[:, None]).sum(-1))
        loss += float((total - scores[np.arange(len(ids) - 1), ids[1:]]).sum())
        count += len(ids) - 1
    return dict(perplexity=math.exp(loss / count), tokens=count, bytes=os.path.getsize(file))


def quantize(file, out, type):
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = type
    parameters.nthread = THREADS
    failed = llama_cpp.llama_model_quantize(file.encode(), out.encode(), parameters)
    return dict(failed=failed)


def version():
    return dict(version=llama_cpp.__version__)


# What llama.cpp prints of itself goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
if not os.environ.get("LAYERFOLD_VERBOSE"):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
for line in sys.stdin:
    job = json.loads(line)
    kind = job.pop("kind")
    try:
        answer = dict(greedy=greedy, perplexity=perplexity, quantize=quantize, version=version)[kind](**job)
    except Exception as error:
        answer = dict(error=f"{type(error).__name__}: {error}")
    print(json.dumps(answer), file=answers, flush=True)
