//! Where the fields of a valid GGUF file are.

use std::ops::Range;

/// A field that is a number.
pub(crate) struct Field {
    /// As errors call it.
    pub(crate) label: String,
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    pub(crate) kind: Kind,
}

/// What a changed field may lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is refused, or changes nothing.
    Structure,
    /// Another value may be as good a value.
    Meaning,
    /// No reader needs it.
    Padding,
}

/// A valid file in parts.
pub(crate) struct Parts {
    /// In the order of the file.
    pub(crate) fields: Vec<Field>,
    /// Text: names of keys and tensors, and values.
    pub(crate) texts: Vec<Range<usize>>,
    /// Whole keys with their values.
    pub(crate) keys: Vec<(String, Range<usize>)>,
    /// Whole descriptions of tensors.
    pub(crate) tensors: Vec<(String, Range<usize>)>,
    /// Where the header ends and where the data begins.
    pub(crate) data: Range<usize>,
}

/// Reads a file that is known to be valid.
pub(crate) fn parts(file: &[u8], alignment: usize) -> Parts {
    let parts = Parts {
        fields: Vec::new(),
        texts: Vec::new(),
        keys: Vec::new(),
        tensors: Vec::new(),
        data: 0..0,
    };
    let mut walk = Walk { file, at: 0, parts };
    walk.number("magic", 4, Kind::Structure);
    walk.number("version", 4, Kind::Structure);
    let num_tensors = walk.number("number of tensors", 8, Kind::Structure);
    let num_keys = walk.number("number of keys", 8, Kind::Structure);
    for i in 0..num_keys {
        let start = walk.at;
        let key = walk.text(&format!("key {i}"));
        let id = walk.number(&format!("type of `{key}`"), 4, Kind::Structure);
        walk.value(&format!("`{key}`"), id);
        walk.parts.keys.push((key, start..walk.at));
    }
    for i in 0..num_tensors {
        let start = walk.at;
        let name = walk.text(&format!("name of tensor {i}"));
        let mut of = |what: &str, bytes| {
            walk.number(&format!("{what} of tensor `{name}`"), bytes, Kind::Structure)
        };
        for d in 0..of("number of dimensions", 4) {
            of(&format!("dimension {d}"), 8);
        }
        of("type", 4);
        of("offset", 8);
        walk.parts.tensors.push((name, start..walk.at));
    }
    walk.parts.data = walk.at..walk.at.next_multiple_of(alignment);
    for at in walk.parts.data.clone() {
        let label = "padding".to_owned();
        walk.parts.fields.push(Field { label, at, bytes: 1, kind: Kind::Padding });
    }
    walk.parts
}

struct Walk<'a> {
    file: &'a [u8],
    at: usize,
    parts: Parts,
}

impl Walk<'_> {
    fn number(&mut self, label: &str, bytes: usize, kind: Kind) -> u64 {
        let (at, label) = (self.at, label.to_owned());
        self.at += bytes;
        self.parts.fields.push(Field { label, at, bytes, kind });
        self.file[at..self.at].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
    }

    fn text(&mut self, label: &str) -> String {
        let len = self.number(&format!("length of {label}"), 8, Kind::Structure) as usize;
        let range = self.at..self.at + len;
        self.at = range.end;
        self.parts.texts.push(range.clone());
        String::from_utf8_lossy(&self.file[range]).into_owned()
    }

    fn value(&mut self, label: &str, id: u64) {
        match id {
            8 => drop(self.text(label)),
            9 => {
                let of = |what: &str| format!("{what} of the elements of {label}");
                let id = self.number(&of("type"), 4, Kind::Structure);
                let count = format!("number of elements of {label}");
                let count = self.number(&count, 8, Kind::Structure);
                for i in 0..count {
                    let known = self.parts.fields.len();
                    self.value(&format!("element {i} of {label}"), id);
                    // Hundreds of numbers of one kind are like few.
                    if id != 8 && (4..count.saturating_sub(4)).contains(&i) {
                        self.parts.fields.truncate(known);
                    }
                }
            }
            _ => {
                let bytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][id as usize];
                let kind = match label {
                    "`general.alignment`" => Kind::Structure,
                    _ => Kind::Meaning,
                };
                self.number(label, bytes, kind);
            }
        }
    }
}
