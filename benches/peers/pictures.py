"""Our vision tower beside that of transformers: same random weights, same machine, one run.

    python benches/peers/pictures.py                            # ViT-L/14 of 336 pixels
    python benches/peers/pictures.py --tiles 1 --rounds 1       # a first look

Makes a venv with the peers and a checkpoint of clip-vit-l-14-336.json, then starts all programs in
turn, each in a process of its own, as often as there are rounds; medians count.
The table goes to stdout, all else to stderr.
"""

import argparse
import json
import pathlib
import sys

from inference import HERE, ROOT, add_common, binary, call, conditions, measure, once, python, table

UNIT = "tiles"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words = lambda text: [word for word in text.split(",") if word]
    add = parser.add_argument
    add("--tiles", default="1,4", help="numbers of tiles that are encoded at once: 1,4")
    add("--weights", type=words, default=["bf16", "q8"], help="ours: bf16,q8,q4,f32")
    add("--transformers", type=words, default=["bf16", "f32"], help="theirs: bf16,f32")
    add("--shape", type=pathlib.Path, default=HERE / "clip-vit-l-14-336.json", help="the tower's config")
    add("--work", type=pathlib.Path, default=ROOT / "target" / "peers", help="0.6 GB of a checkpoint")
    add_common(add)
    return parser.parse_args()


def main():
    args = arguments()
    fulgurite = binary(args)
    make = lambda to: call([fulgurite, "init", args.shape, to, "--seed", 1])
    folder = once(args.work / args.shape.stem / "model", make)
    size = ["--tiles", args.tiles, "--threads", args.threads]
    ours = [fulgurite, "bench", "--json", "--model", folder, "--repeat", 3, *size]
    theirs = [python(), HERE / "pictures_worker.py", folder, *size]
    todo = [("fulgurite", weights, [*ours, "--weights", weights]) for weights in args.weights]
    todo += [("transformers", dtype, [*theirs, "--dtype", dtype]) for dtype in args.transformers]
    rows, failed = measure(args, todo, UNIT)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(table(rows, [w for w in args.weights if ("fulgurite", w) not in failed], UNIT))
        print(f"\n{conditions(args)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
