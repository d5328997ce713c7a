//! Fields that configs of diffusers have in common: one that is not there has its class's default,
//! which is not what null says.

use super::dit::config::{DitConfig, RopeConfig};
use crate::Error;
use crate::config::fields::Fields;
use serde_json::Value;
use tensor::Pairing;

/// A size from 1 to `max`; null is refused.
pub(super) fn size(
    fields: &Fields<'_>,
    name: &str,
    max: u64,
    default: usize,
) -> Result<usize, Error> {
    let size = size_or_null(fields, name, max, default)?;
    size.ok_or_else(|| fields.wrong(name, &format!("an integer from 1 to {max}")))
}

/// A size from 1 to `max`, or null.
pub(super) fn size_or_null(
    fields: &Fields<'_>,
    name: &str,
    max: u64,
    default: usize,
) -> Result<Option<usize>, Error> {
    match fields.get(name) {
        None => Ok(Some(default)),
        Some(_) => fields.optional_size(&[name], max),
    }
}

/// Three sizes.
pub(super) fn triple(
    fields: &Fields<'_>,
    name: &str,
    default: [usize; 3],
) -> Result<[usize; 3], Error> {
    let Some(values) = list(fields, name, "a list of three integers from 1 to 64", |value| {
        value.as_u64().filter(|n| (1..=64).contains(n)).map(|n| n as usize)
    })?
    else {
        return Ok(default);
    };
    values.try_into().map_err(|_| fields.wrong(name, "a list of three integers from 1 to 64"))
}

/// A list, each element read by `read`; `None` if the field is not there.
pub(super) fn list<T>(
    fields: &Fields<'_>,
    name: &str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<Vec<T>>, Error> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let all = value.as_array().and_then(|list| list.iter().map(read).collect());
    all.map(Some).ok_or_else(|| fields.wrong(name, expected))
}

/// Rotation as in Wan: a sixth of the pairs, rounded down, for height and width each, the rest for
/// time.
pub(super) fn rope(fields: &Fields<'_>, head_dim: usize) -> Result<RopeConfig, Error> {
    if head_dim % 2 == 1 {
        return Err(fields.wrong("attention_head_dim", "an even number"));
    }
    let side = 2 * (head_dim / 6);
    Ok(RopeConfig {
        dims: [head_dim - 2 * side, side, side],
        theta: 1e4,
        pairing: Pairing::Interleaved,
        spacing: [1.0; 3],
        max_positions: size(fields, "rope_max_seq_len", 1 << 24, 1024)?,
    })
}

/// Refuses sizes whose products are beyond any machine.
pub(super) fn check_size(fields: &Fields<'_>, config: &DitConfig) -> Result<(), Error> {
    let widest = (config.hidden_size as u64).max(config.text.dim as u64);
    let layers = config.layers.len() as u64;
    let parameters = widest.checked_mul(widest).and_then(|n| n.checked_mul(layers));
    match parameters {
        Some(n) if n < 1 << 50 => Ok(()),
        _ => Err(fields.wrong("attention_head_dim", "a model of fewer than 2^50 parameters")),
    }
}
