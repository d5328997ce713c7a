"""transformers' CLIP tower measuring itself, in the venv of inference.py: prints rows as
`fulgurite bench --tiles --json`.

    .venv/bin/python pictures_worker.py FOLDER --threads 2 --dtype bf16

Loading is not timed, and a first run of each kind that nobody counts warms up.
"""

import argparse
import json
import statistics

from inference_workers import peak_rss_bytes, seconds

REPEAT = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser.add_argument("path")
    parser.add_argument("--tiles", type=numbers, default=[1, 4])
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    import torch
    from transformers import CLIPVisionModel, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[args.dtype]
    model = CLIPVisionModel.from_pretrained(args.path, dtype=dtype).eval()
    side, channels = model.config.image_size, model.config.num_channels

    def encode(pixels):
        with torch.inference_mode():
            model(pixel_values=pixels)

    def trial(attention, pixels):
        model.set_attn_implementation(attention)
        encode(pixels)
        return seconds(lambda: encode(pixels))

    rows = []
    for tiles in args.tiles:
        pixels = torch.randn(tiles, channels, side, side).to(dtype)
        how = min(("sdpa", "eager"), key=lambda attention: trial(attention, pixels))
        trial(how, pixels)
        time = statistics.median(seconds(lambda: encode(pixels)) for _ in range(REPEAT))
        rows.append({
            "test": f"im{tiles}",
            "tiles_per_second": tiles / time,
            "peak_rss_bytes": peak_rss_bytes(),
            "how": f"{how} attention",
        })
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
