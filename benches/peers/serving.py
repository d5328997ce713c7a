"""Our server beside that of llama-cpp-python under the load of many clients: same random weights, same
machine, one run.

    python benches/peers/serving.py                             # 8 and 32 clients, q8 and q4
    python benches/peers/serving.py --rounds 1 --seconds 10     # a first look

Both are asked by `fulgurite bench --serve`: every client has one connection and asks again as soon as it
is answered. Medians over the rounds go to stdout, all else to stderr.
"""

import argparse
import contextlib
import json
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

import inference
from inference import ROOT, binary, call, cpu, once, python, say

# Ours, and what llama.cpp calls the same number of bits.
PAIRS = {"bf16": "bf16", "q8": "q8_0", "q4": "q4_0"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", default="q8,q4", help="ours, with commas between: q8,q4")
    add("--streams", default="8,32", help="numbers of clients: 8,32")
    add("--prompt-bytes", type=int, default=256, help="of each prompt")
    add("--decode-tokens", type=int, default=64, help="of each answer")
    add("--seconds", type=int, default=30, help="that requests are begun for")
    add("--shape", type=pathlib.Path, default=inference.HERE / "shape-1b.json", help="the model's config")
    add("--work", type=pathlib.Path, default=ROOT / "target" / "peers", help="5 GB of checkpoints")
    inference.add_common(add)
    return parser.parse_args()


def tokenizer(size):
    """A `tokenizer.json` of so many tokens: bytes, and of visible ASCII twos, then threes, so that
    nearly every token is text of its own."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    # What stands for a byte in files of this kind.
    letter = {byte: chr(byte) for byte in visible}
    letter |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    plain = [letter[byte] for byte in range(33, 127)]
    merges = [(a, b) for a in plain for b in plain]
    merges += [(a + b, c) for a, b in merges for c in plain][: max(0, size - 256 - len(merges))]
    merges = merges[: size - 256]
    tokens = [*letter.values(), *(a + b for a, b in merges)]
    assert len(tokens) == size, f"{len(tokens)} tokens, expected {size}"
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{a} {b}" for a, b in merges],
        },
    }


def files(args, fulgurite, kinds):
    """The folder and the GGUF files of a model that reads text."""
    work = args.work / f"{args.shape.stem}-served"

    def make(folder):
        call([fulgurite, "init", args.shape, folder, "--seed", 1])
        size = json.loads(args.shape.read_text())["vocab_size"]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer(size)))

    folder = once(work / "model", make)
    convert = lambda kind: lambda to: call([fulgurite, "convert", folder, to, "--type", kind])
    return folder, {kind: once(work / f"{kind}.gguf", convert(kind)) for kind in kinds}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def llama_server(args, file):
    """llama-cpp-python's server of a file, once it answers."""
    port = free_port()
    command = [*args.prefix, python(), "-m", "llama_cpp.server", "--model", file, "--port", port]
    # A request that arrives while another is answered waits; by default it would end the other.
    command += ["--n_threads", args.threads, "--n_threads_batch", args.threads, "--n_ctx", 2048]
    command += ["--interrupt_requests", "False", "--verbose", "False"]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"error: llama-cpp-python's server of {file} did not start")
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{url}/v1/models", timeout=5).read()
                break
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


def measured(args, fulgurite, more):
    """Rows of `fulgurite bench --serve`, one for each number of clients."""
    command = [*args.prefix, fulgurite, "bench", "--json", "--serve", *more]
    command += ["--streams", args.streams]
    command += ["--prompt-bytes", args.prompt_bytes, "--decode-tokens", args.decode_tokens]
    command += ["--seconds", args.seconds, "--threads", args.threads]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"error: `{shlex.join(map(str, command))}` ended with {done.returncode}")
    rows = json.loads(done.stdout)
    for row in rows:
        failed = f", failed: {row['failed']}" if row["failed"] else ""
        say(f"  {row['streams']} clients: {row['tokens_per_second']:.1f} tokens/s{failed}")
    return rows


def main():
    args = arguments()
    weights = [word for word in args.weights.split(",") if word]
    if not weights or not all(word in PAIRS for word in weights):
        sys.exit(f"error: --weights is `{args.weights}`, expected some of {', '.join(PAIRS)}")
    fulgurite = binary(args)
    folder, ggufs = files(args, fulgurite, [PAIRS[word] for word in weights])
    samples = {}
    for i in range(args.rounds):
        for word in weights:
            say(f"round {i + 1} of {args.rounds}: fulgurite {word}")
            # The address is left out: a server of its own.
            ours = measured(args, fulgurite, ["--model", folder, "--weights", word])
            say(f"round {i + 1} of {args.rounds}: llama-cpp-python {PAIRS[word].upper()}")
            with llama_server(args, ggufs[PAIRS[word]]) as url:
                theirs = measured(args, fulgurite, [url])
            for program, rows in [("ours", ours), ("theirs", theirs)]:
                for row in rows:
                    samples.setdefault((word, row["streams"]), {}).setdefault(program, []).append(row)
    rows = []
    for (word, streams), found in samples.items():
        median = lambda program, get: statistics.median(get(row) for row in found[program])
        speed = lambda row: row["tokens_per_second"]
        first = lambda row: row["seconds_to_first_token"]["p50"]
        speeds = {program: median(program, speed) for program in found}
        rows.append({
            "weights": word,
            "streams": streams,
            "tokens_per_second": speeds,
            "times": speeds["ours"] / speeds["theirs"],
            "seconds_to_first_token": {program: median(program, first) for program in found},
            "failed": [row["failed"] for both in found.values() for row in both if row["failed"]],
        })
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print("| weights | clients | ours t/s | llama-cpp-python t/s | times | first token p50, ours and theirs |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        speed, first = row["tokens_per_second"], row["seconds_to_first_token"]
        print(f"| {row['weights']}, {PAIRS[row['weights']].upper()} | {row['streams']}", end=" | ")
        print(f"{speed['ours']:.1f} | {speed['theirs']:.1f} | {row['times']:.2f}", end=" | ")
        print(f"{first['ours']:.2f} and {first['theirs']:.2f} s |")
    print(f"\n{args.threads} threads of {cpu()}; median of {args.rounds} rounds.")


if __name__ == "__main__":
    main()
