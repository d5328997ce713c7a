//! A sequence's file whose checksums are right, whatever else it says.

use crate::files::write;
use models::weights::Random;
use models::{Batch, CausalLm as _, Config, MiniMaxText01, is_content, sequence};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::LazyLock;
use tensor::{Device, Precision};
use twox_hash::XxHash3_128;

/// Bytes of a checksum.
const SUM: usize = 16;
/// Most bytes of tensors that a header is given.
const MOST: u64 = 512 << 10;

/// A whole file, or only its header as JSON, which gets zeros for the tensors that it describes. Both
/// get checksums that match: damage is refused by them alone, and tested elsewhere.
pub fn session(bytes: &[u8]) {
    static MODEL: LazyLock<MiniMaxText01> = LazyLock::new(model);
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let path = folder.path().join("x.safetensors");
    let made = match serde_json::from_slice(bytes) {
        Ok(Value::Object(header)) => with_header(header),
        _ => sealed(bytes.to_vec()),
    };
    write(&path, &made).unwrap_or_else(|error| panic!("cannot write: {error}"));
    let config = MODEL.config();
    let saved = match sequence::open(&path, config) {
        Ok(saved) => saved,
        Err(error) => {
            assert!(error.to_string().len() < 100_000, "{error}");
            return;
        }
    };
    let known = |&id: &u32| (id as usize) < config.vocab_size || is_content(id);
    assert!(saved.tokens.iter().all(known));
    for content in &saved.content {
        assert!(saved.tokens[content.span()].iter().all(|&id| is_content(id)));
        assert_eq!(content.rows.data().len(), content.span().len() * config.hidden_size);
    }
    for mut point in saved.points {
        assert!(point.tokens() <= saved.tokens.len());
        let batch = Batch::single(&[1], point.tokens(), &[0]);
        let logits = MODEL.logits(&batch, &mut [&mut point]);
        assert_eq!(logits.len(), config.vocab_size);
        assert_eq!(point.tokens(), batch.positions[0] + 1);
    }
}

/// One layer of each kind, small enough for a page of it to be a small file.
fn model() -> MiniMaxText01 {
    let text = r#"{"model_type": "minimax_text_01", "vocab_size": 8, "hidden_size": 4,
        "intermediate_size": 4, "num_hidden_layers": 2, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 4, "num_local_experts": 1, "num_experts_per_tok": 1,
        "attn_type_list": [0, 1], "rotary_dim": 4, "rope_theta": 10000, "postnorm": true,
        "max_position_embeddings": 4096, "relevance_token_id": 7}"#;
    let config = Config::from_json(text.as_bytes(), Path::new("config.json"));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let device = Device::cpu(1);
    let mut random = Random::new(&device, Precision::F32, 2, 1);
    let model = MiniMaxText01::new(config, &mut random);
    let mut model = model.unwrap_or_else(|error| panic!("{error}"));
    model.freeze();
    model
}

/// A file with this header, tensors of zeros, and checksums.
fn with_header(mut header: Map<String, Value>) -> Vec<u8> {
    let ends = header.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    let end = ends.max().unwrap_or(0).min(MOST);
    let checksum = |shape: Value, end: u64| {
        let offsets = [end, end + SUM as u64];
        json!({"dtype": "U8", "shape": shape, "data_offsets": offsets})
    };
    header.insert("sums".to_owned(), checksum(json!([1, SUM]), end));
    header.insert("seal".to_owned(), checksum(json!([SUM]), end + SUM as u64));
    let mut text = Value::Object(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().wrapping_neg() % 64 + 56));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len() + end as usize + 2 * SUM, 0);
    sealed(bytes)
}

/// With checksums at the end that match what is before them, in one piece.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(start) = bytes.len().checked_sub(2 * SUM) {
        let sum = XxHash3_128::oneshot(&bytes[..start]).to_be_bytes();
        bytes[start..start + SUM].copy_from_slice(&sum);
        bytes[start + SUM..].copy_from_slice(&XxHash3_128::oneshot(&sum).to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's layouts say of the model above is what the seeds say.
    #[test]
    fn seeds_are_read() {
        let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/session"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        for name in ["q8.json", "bf16.json", "empty.json"] {
            let bytes = std::fs::read(corpus.join(name)).unwrap();
            let header = serde_json::from_slice(&bytes).unwrap();
            write(&path, &with_header(header)).unwrap();
            let saved = sequence::open(&path, model().config());
            assert!(saved.is_ok(), "{name}: {}", saved.unwrap_err());
            session(&bytes);
        }
    }
}
