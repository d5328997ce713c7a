"""One peer measuring itself, in the venv of inference.py: prints rows as `fulgurite bench --json`.

    .venv/bin/python inference_workers.py llama FILE.gguf --threads 2
    .venv/bin/python inference_workers.py transformers FOLDER --threads 2

Loading is not timed, and a first run that nobody counts warms up. `ppN` reads N random tokens up to
the logits of the last one; `tgN` reads N tokens one by one after a short prompt, each with its
logits. Nothing is sampled.
"""

import argparse
import json
import random
import resource
import sys
import time

SHORT_PROMPT = 8
# What llama-bench reads at once, and llama.cpp's own default.
UBATCH = 512


def peak_rss_bytes():
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Llama:
    """llama.cpp as llama-bench drives it, through the binding's lowest level."""

    def __init__(self, path, threads):
        import llama_cpp

        self.api, self.threads = llama_cpp, threads
        quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        self.quiet = quiet  # Kept: the library holds no reference to it.
        llama_cpp.llama_log_set(quiet, None)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"error: llama.cpp cannot load `{path}`")
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)
        self.how = ""

    def begin(self, tokens):
        """An empty sequence with room for `tokens`."""
        if getattr(self, "context", None):
            self.api.llama_free(self.context)
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = tokens, max(UBATCH, tokens), UBATCH
        params.n_threads = params.n_threads_batch = self.threads
        self.context = self.api.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"error: llama.cpp makes no context of {tokens} tokens")

    def read(self, ids):
        """Reads `ids` up to the logits of the last one; it cuts them into micro-batches itself."""
        array = (self.api.llama_token * len(ids))(*ids)
        failed = self.api.llama_decode(
            self.context, self.api.llama_batch_get_one(array, len(ids))
        )
        self.api.llama_synchronize(self.context)
        if failed:
            sys.exit(f"error: llama.cpp reads no {len(ids)} tokens: {failed}")

    def choose(self, kind):
        """There is nothing to choose."""


class Transformers:
    """transformers with whichever of its implementations is the fastest here."""

    def __init__(self, path, threads):
        import torch
        from transformers import MiniMaxForCausalLM, logging
        from transformers.models.minimax.modeling_minimax import MiniMaxCache

        # It reports buffers that it computes as missing from the checkpoint.
        logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.torch, self.new_cache = torch, MiniMaxCache
        logging.disable_progress_bar()
        self.model = MiniMaxForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
        self.vocab_size = self.model.config.vocab_size

    def begin(self, tokens):
        self.cache = self.new_cache()

    def read(self, ids):
        with self.torch.inference_mode():
            self.model(
                input_ids=self.torch.tensor([ids]),
                cache=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )

    def choose(self, kind):
        """Tries each attention with each way to multiply experts, on a short test of this kind."""

        def use(way):
            attention, experts = way
            self.model.set_attn_implementation(attention)
            self.model.set_experts_implementation(experts)
            run(self, kind, 8)

        def trial(way):
            use(way)
            return run(self, kind, {"pp": UBATCH, "tg": 16}[kind])

        # `batched_mm` copies the weights of each token's experts: dozens of times as slow.
        ways = [(a, e) for a in ("sdpa", "eager") for e in ("grouped_mm", "eager")]
        best = min(ways, key=trial)
        use(best)
        self.how = "{} attention, {} experts".format(*best)


def run(peer, kind, tokens):
    """Seconds of one test."""
    ids = random.Random(0).choices(range(peer.vocab_size), k=SHORT_PROMPT + tokens)
    peer.begin(len(ids))
    if kind == "pp":
        return seconds(lambda: peer.read(ids[:tokens]))
    peer.read(ids[:SHORT_PROMPT])
    return seconds(lambda: [peer.read([id]) for id in ids[SHORT_PROMPT:]])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(word) for word in text.split(",") if int(word) > 0]
    parser.add_argument("peer", choices=["llama", "transformers"])
    parser.add_argument("path")
    parser.add_argument("--prompt-tokens", type=numbers, default=[512, 4096])
    parser.add_argument("--decode-tokens", type=numbers, default=[64])
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    peer = {"llama": Llama, "transformers": Transformers}[args.peer](args.path, args.threads)
    rows = []
    for kind, sizes in (("pp", args.prompt_tokens), ("tg", args.decode_tokens)):
        if sizes:
            peer.choose(kind)
        for tokens in sizes:
            run(peer, kind, min(tokens, {"pp": UBATCH, "tg": 4}[kind]))
            rate = tokens / run(peer, kind, tokens)
            rows.append({
                "test": f"{kind}{tokens}",
                "tokens_per_second": rate,
                "peak_rss_bytes": peak_rss_bytes(),
                "how": peer.how,
            })
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
