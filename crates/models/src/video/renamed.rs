//! Names of tensors as a published layout has them.

use crate::Error;
use crate::weights::{Role, Source};
use tensor::{Tensor, Weight};

/// A source that is asked by our names and knows others.
pub(crate) struct Renamed<'a> {
    pub(crate) source: &'a mut dyn Source,
    /// Parts of our names and what stands for them there; applied in this order, so that what is
    /// longer comes first.
    pub(crate) parts: &'a [&'static [(&'static str, &'static str)]],
}

impl Renamed<'_> {
    fn name(&self, ours: &str) -> String {
        // Dots at both ends, so that parts can be whole words.
        let mut name = format!(".{ours}.");
        for (from, to) in self.parts.iter().copied().flatten() {
            name = name.replace(&format!(".{from}."), &format!(".{to}."));
        }
        name.trim_matches('.').to_owned()
    }
}

impl Source for Renamed<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        let name = self.name(name);
        self.source.tensor(&name, shape, role)
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let name = self.name(name);
        self.source.weight(&name, shape, role)
    }

    fn conv(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let name = self.name(name);
        self.source.conv(&name, shape, role)
    }
}
