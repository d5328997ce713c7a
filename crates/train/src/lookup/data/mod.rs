//! Structured data: TOML, JSON, YAML.

pub(super) mod json;
pub(super) mod records;
pub(super) mod toml;
pub(super) mod yaml;
