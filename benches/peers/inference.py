"""Our inference beside that of llama.cpp and transformers: same random weights, same machine, one run.

    python benches/peers/inference.py                           # all of it
    python benches/peers/inference.py --prompt 512 --rounds 1   # a first look

Makes a venv with the peers, a checkpoint of shape-1b.json and GGUF files of it, then starts all
programs in turn, each in a process of its own, as often as there are rounds; medians count.
The table goes to stdout, all else to stderr. What is fair about it is in README.md.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = HERE / ".venv"
WORKERS = HERE / "inference_workers.py"
GGUF = {"bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0"}
# GCC 12 thinks that loading a tile configuration reads 8 bytes of its 64, and leaves the others out
# of ggml's: its products on AMX crash. So stores are kept that look dead.
CMAKE_ARGS = '-DCMAKE_CXX_FLAGS="-fno-tree-dse -fno-dse"'


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def call(words, **more):
    """Runs a command whose output is for the user to watch."""
    say("$", shlex.join(map(str, words)))
    subprocess.run(list(map(str, words)), check=True, stdout=sys.stderr, **more)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(word) for word in text.split(",") if int(word) > 0]
    words = lambda text: [word for word in text.split(",") if word]
    add = parser.add_argument
    add("--prompt", type=numbers, default=[512, 4096], help="lengths of prompts: 512,4096")
    add("--decode", type=numbers, default=[64], help="numbers of tokens written: 64")
    add("--weights", type=words, default=["bf16", "q8", "q4"], help="ours: bf16,q8,q4")
    add("--gguf", type=words, default=list(GGUF), help="llama.cpp's: bf16,q8_0,q4_0")
    add("--no-transformers", action="store_true", help="leave transformers out")
    add("--shape", type=pathlib.Path, default=HERE / "shape-1b.json", help="the model's config")
    add("--work", type=pathlib.Path, default=ROOT / "target" / "peers", help="9 GB of checkpoints")
    add_common(add)
    return parser.parse_args()


def add_common(add):
    """Options that all comparisons of programs have."""
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every program")
    add("--rounds", type=int, default=3, help="how often each program is started")
    add("--fulgurite", type=pathlib.Path, help="the binary; built if not given")
    add("--prefix", type=shlex.split, default=[], help='before each program: "taskset -c 0,1"')
    add("--json", action="store_true", help="print JSON")


def shown(rate):
    """A rate with as many digits as mean something."""
    return f"{rate:.1f}" if rate >= 10 else f"{rate:.3g}"


def python():
    """The venv's Python, with the peers installed."""
    python = VENV / "bin" / "python"
    wanted = (HERE / "requirements.txt").read_text()
    done = VENV / "installed.txt"
    if not done.exists() or done.read_text() != wanted:
        say("installing the peers; llama.cpp is compiled here, for this machine")
        if not python.exists():
            venv.create(VENV, with_pip=True)
        env = {**os.environ, "CMAKE_ARGS": f"{CMAKE_ARGS} {os.environ.get('CMAKE_ARGS', '')}"}
        # No cache: it may have a build of other flags.
        pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        call([*pip, "-r", HERE / "requirements.txt"], env=env)
        done.write_text(wanted)
    return python


def binary(args):
    if args.fulgurite:
        return args.fulgurite.resolve()
    call(["cargo", "build", "--release", "--package", "cli"], cwd=ROOT)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "fulgurite"


def once(path, make):
    """What `make(path)` makes, unless it is there; half of it never is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name("part-" + path.name)
        make(part)
        part.rename(path)
    return path


def files(args, fulgurite):
    """The folder and the GGUF files of the model, by llama.cpp's names of their types."""
    work = args.work / args.shape.stem
    folder = once(work / "model", lambda to: call([fulgurite, "init", args.shape, to, "--seed", 1]))
    convert = lambda kind: lambda to: call([fulgurite, "convert", folder, to, "--type", kind])
    return folder, {kind: once(work / f"{kind}.gguf", convert(kind)) for kind in args.gguf}


def programs(args, fulgurite, folder, ggufs):
    """Name, weights and command of each program; each prints rows as `fulgurite bench --json`."""
    tests = lambda name, list: [name, ",".join(map(str, list or [0]))]
    size = [*tests("--prompt-tokens", args.prompt), *tests("--decode-tokens", args.decode)]
    threads = ["--threads", args.threads]
    for weights in args.weights:
        ours = [fulgurite, "bench", "--json", "--model", folder, "--weights", weights]
        yield "fulgurite", weights, [*ours, *size, *threads, "--repeat", 1]
    for kind, file in ggufs.items():
        yield "llama.cpp", GGUF[kind], [python(), WORKERS, "llama", file, *size, *threads]
    if not args.no_transformers:
        yield "transformers", "bf16", [python(), WORKERS, "transformers", folder, *size, *threads]


def cpu():
    """The name of the CPU, where the system tells."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "a CPU")


def measure(args, todo, unit="tokens"):
    """Medians of all rounds, which go one after the other so that a disturbance meets all; and the
    programs that failed, which are left out."""
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    samples, failed, rate = {}, [], f"{unit}_per_second"
    for i in range(args.rounds):
        for program, weights, command in todo:
            if (program, weights) in failed:
                continue
            say(f"round {i + 1} of {args.rounds}: {program} {weights}")
            command = [*args.prefix, *map(str, command)]
            done = subprocess.run(command, stdout=subprocess.PIPE, env=env)
            if done.returncode != 0:
                say(f"error: {program} {weights} ended with {done.returncode} and is left out")
                failed.append((program, weights))
                continue
            for row in json.loads(done.stdout):
                samples.setdefault((program, weights, row["test"]), []).append(row)
                say(f"  {row['test']}: {shown(row[rate])} {unit}/s", row.get("how", ""))
    rows = [
        {
            "program": program,
            "weights": weights,
            "test": test,
            "threads": args.threads,
            rate: statistics.median(row[rate] for row in rows),
            f"{rate}_of_each": [row[rate] for row in rows],
            "peak_rss_bytes": max(row["peak_rss_bytes"] or 0 for row in rows),
            **({"share_of_peak": statistics.median(row["share_of_peak"] for row in rows)}
               if program == "fulgurite" else {}),
        }
        for (program, weights, test), rows in samples.items()
        if (program, weights) not in failed
    ]
    return rows, failed


def table(rows, ours, unit="tokens"):
    """A line for each program and its weights; how many times as fast each of ours is."""
    tests = list(dict.fromkeys(row["test"] for row in rows))
    by_key = {(row["program"], row["weights"], row["test"]): row for row in rows}
    rate = f"{unit}_per_second"
    head = ["program", "weights", *(f"{test} {unit}/s" for test in tests), "peak memory"]
    head += [f"our {weights}: {', '.join(tests)}" for weights in ours]
    lines = [head, ["---", "---"] + ["---:"] * (len(head) - 2)]
    for program, weights in dict.fromkeys((row["program"], row["weights"]) for row in rows):
        mine = [by_key[program, weights, test] for test in tests]
        line = [program, weights]
        for row in mine:
            share = f" ({100 * row['share_of_peak']:.0f} %)" if "share_of_peak" in row else ""
            line.append(f"{shown(row[rate])}{share}")
        line.append(f"{max(row['peak_rss_bytes'] for row in mine) / 2**30:.1f} GiB")
        for other in ours:
            times = (
                by_key["fulgurite", other, row["test"]][rate] / row[rate] for row in mine
            )
            line.append(" / ".join(f"{ratio:.2f}" for ratio in times))
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(args):
    """What is said below a table."""
    peers = (HERE / "requirements.txt").read_text().replace("[server]", "").replace("==", " ")
    rounds = f"{args.threads} threads of {cpu()}; median of {args.rounds} rounds"
    return f"{rounds}; {', '.join(filter(None, peers.splitlines()))}."


def main():
    args = arguments()
    if not args.prompt and not args.decode:
        sys.exit("error: nothing to measure: expected a number above 0 in --prompt or --decode")
    fulgurite = binary(args)
    folder, ggufs = files(args, fulgurite)
    rows, failed = measure(args, list(programs(args, fulgurite, folder, ggufs)))
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(table(rows, [w for w in args.weights if ("fulgurite", w) not in failed]))
        print(f"\n{conditions(args)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
