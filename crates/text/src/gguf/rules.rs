//! How text is split before pieces are merged. A `tokenizer.json` has a pattern; llama.cpp has a name
//! for each pattern that it knows, and what it does for these names is what the patterns say
//! (`fixtures/gguf/peer.py` compares).

use serde_json::{Value, json};

/// What llama.cpp falls back to.
const OTHER: &str = "default";
/// The rule of GPT-2, which a `tokenizer.json` says without a pattern.
pub(super) const GPT2: &str = "gpt-2";
/// What may stand under `tokenizer.ggml.pre` if there is no `tokenizer.json`.
pub(super) const EXPECTED: &str = "\"gpt-2\", \"gpt-4o\", \"minimax-m2\", \"llama-bpe\", \"dbrx\", \
                                   \"qwen2\", or a whole tokenizer under \
                                   `tokenizer.huggingface.json`";

struct Rule {
    /// The first one is written.
    names: &'static [&'static str],
    pattern: &'static str,
    /// Whether what is a token as a whole stays one, whatever the merges say.
    ignore_merges: bool,
}

const LLAMA: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const RULES: [Rule; 4] = [
    Rule {
        names: &["gpt-4o", "minimax-m2"],
        pattern: r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ignore_merges: false,
    },
    Rule { names: &["llama-bpe"], pattern: LLAMA, ignore_merges: true },
    Rule { names: &["dbrx"], pattern: LLAMA, ignore_merges: false },
    Rule {
        names: &["qwen2"],
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ignore_merges: false,
    },
];

/// The name of the rule of a `tokenizer.json`.
pub(super) fn name_of(tokenizer: &Value) -> &'static str {
    let ignores_merges = tokenizer["model"]["ignore_merges"] == true;
    let pre = &tokenizer["pre_tokenizer"];
    if pre["type"] == "ByteLevel" && pre["use_regex"] != false && !ignores_merges {
        return GPT2;
    }
    let Some([split, bytes]) = pre["pretokenizers"].as_array().map(Vec::as_slice) else {
        return OTHER;
    };
    // Both keep what matches, and what does not, which is nothing.
    let kept = match split["behavior"].as_str() {
        Some("Isolated") => split["invert"] != true,
        Some("Removed") => split["invert"] == true,
        _ => false,
    };
    let plain = bytes["type"] == "ByteLevel" && bytes["use_regex"] == false;
    if pre["type"] != "Sequence" || split["type"] != "Split" || !kept || !plain {
        return OTHER;
    }
    let pattern = &split["pattern"]["Regex"];
    let found = RULES.iter().find(|r| *pattern == r.pattern && r.ignore_merges == ignores_merges);
    found.map_or(OTHER, |rule| rule.names[0])
}

/// Whether [`parts`] knows the rule.
pub(super) fn is_known(name: &str) -> bool {
    parts(name).is_some()
}

/// The `pre_tokenizer` of a `tokenizer.json` with a rule, and its model's `ignore_merges`.
pub(super) fn parts(name: &str) -> Option<(Value, bool)> {
    let bytes = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": use_regex,
        })
    };
    if name == GPT2 {
        return Some((bytes(true), false));
    }
    let rule = RULES.iter().find(|rule| rule.names.contains(&name))?;
    let split = json!({
        "type": "Split", "pattern": { "Regex": rule.pattern }, "behavior": "Isolated",
        "invert": false,
    });
    let sequence = json!({ "type": "Sequence", "pretokenizers": [split, bytes(false)] });
    Some((sequence, rule.ignore_merges))
}
