//! One part of a checkpoint that holds several: a tower beside a language model, an encoder beside
//! its decoder.

use super::{FromCheckpoint, Policy, Role, Source};
use crate::Error;
use tensor::{Checkpoint, Device, Tensor, Weight};

/// Weights whose names in the file begin with a prefix; they are asked for without it.
#[derive(Debug)]
pub struct Part<'a> {
    source: FromCheckpoint<'a>,
    prefix: String,
}

impl<'a> Part<'a> {
    /// The part under the first of `prefixes` that has a tensor `sign`; under the first of them if
    /// none has, which the missing tensors will tell.
    ///
    /// # Panics
    ///
    /// If there are no prefixes.
    pub fn find(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        policy: Option<Policy>,
        prefixes: &[&str],
        sign: &str,
    ) -> Self {
        let has = |prefix: &&&str| checkpoint.contains(&format!("{prefix}{sign}"));
        let prefix = prefixes.iter().find(has).unwrap_or(&prefixes[0]);
        let source = FromCheckpoint::new(checkpoint, device, policy);
        Self { source, prefix: (*prefix).to_owned() }
    }

    /// What its names begin with in the file.
    pub(crate) fn into_prefix(self) -> String {
        self.prefix
    }

    /// To be called when the part is made: whether everything was there and everything under the
    /// prefix was used, but for names that begin with one of `beside`: what other models than ours
    /// have there. What has another prefix is of other parts.
    ///
    /// # Errors
    ///
    /// Names what was missing, or what nobody asked for.
    pub fn finish(self, beside: &[&str]) -> Result<(), Error> {
        self.source.check_none_missing()?;
        self.source.check_all_read(|name| {
            let Some(name) = name.strip_prefix(&self.prefix) else { return false };
            !beside.iter().any(|beside| name.starts_with(beside))
        })
    }

    /// To be called when this part, the last of a file, is made: whether everything was there, and
    /// everything in the file was used, but for names that begin with one of `beside`.
    ///
    /// # Errors
    ///
    /// Names what was missing, or what nobody asked for.
    pub fn finish_file(mut self, beside: &[&str]) -> Result<(), Error> {
        self.source.check_none_missing()?;
        self.prefix.clear();
        self.finish(beside)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Source for Part<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        self.source.tensor(&self.full(name), shape, role)
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        self.source.weight(&self.full(name), shape, role)
    }

    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        self.source.conv(&self.full(name), shape, role)
    }
}
