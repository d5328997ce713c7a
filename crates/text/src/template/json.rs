//! `tojson`: what Python's `json.dumps` writes, not escaped for HTML, and a bound on its length.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

/// Deepest nesting: as deep as JSON may be that is read.
const MAX_DEPTH: usize = 128;
/// Widest indentation.
const MAX_INDENT: usize = 16;
/// A byte costs more than one that is copied: the value has to be walked.
const BYTES_PER_FUEL: u64 = 16;

/// The filter: `value | tojson(ensure_ascii=false, indent=none, separators=none)`.
pub(super) fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let wrong = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<Value>>("indent")?,
    };
    let indent = indent.filter(|indent| !indent.is_none()).map(usize::try_from).transpose()?;
    if let Some(indent) = indent.filter(|&indent| indent > MAX_INDENT) {
        return Err(wrong(format!("an indent of {indent}, expected {MAX_INDENT} at most")));
    }
    let usual = || [if indent.is_some() { "," } else { ", " }, ": "].map(str::to_owned);
    let [item, key] = match kwargs.get::<Option<Vec<String>>>("separators")? {
        None => usual(),
        Some(list) => list
            .try_into()
            .map_err(|list: Vec<_>| wrong(format!("{} separators, expected 2", list.len())))?,
    };
    let ensure_ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    if kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false) {
        return Err(wrong("`tojson` does not sort keys".to_owned()));
    }
    kwargs.assert_all_used()?;

    let fuel = state.fuel_levels().map_or(u64::MAX, |(_, remaining)| remaining);
    let limit = usize::try_from(fuel.saturating_mul(BYTES_PER_FUEL)).unwrap_or(usize::MAX);
    let mut out = Limited::new(limit);
    let python = Python { indent, item, key, ensure_ascii, depth: 0, empty: true };
    value
        .serialize(&mut Serializer::with_formatter(&mut out, python))
        .map_err(|error| wrong(format!("cannot write {} as JSON: {error}", kind(value))))?;
    let text = out.into_string().map_err(wrong)?;
    state.consume_fuel(text.len() as u64 / BYTES_PER_FUEL)?;
    Ok(text)
}

fn kind(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Map => "a map",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        _ => "a value",
    }
}

/// Bytes up to a limit.
pub(super) struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Limited {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    pub(super) fn into_string(self) -> Result<String, String> {
        String::from_utf8(self.bytes).map_err(|error| error.to_string())
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::Error::other(format!("more than {} bytes", self.limit)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Spaces and escapes as Python writes them.
struct Python {
    /// Spaces per level, each item on its own line; `None`: all on one line.
    indent: Option<usize>,
    item: String,
    key: String,
    ensure_ascii: bool,
    depth: usize,
    /// Whether the container that ends next has no item.
    empty: bool,
}

impl Python {
    fn begin<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        if self.depth == MAX_DEPTH {
            return Err(io::Error::other(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        self.empty = true;
        out.write_all(bracket)
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.empty {
            self.line(out)?;
        }
        self.empty = false;
        out.write_all(bracket)
    }

    fn item<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.empty = false;
        self.line(out)
    }

    fn line<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        let Some(indent) = self.indent else { return Ok(()) };
        write!(out, "\n{:1$}", "", indent * self.depth)
    }
}

impl Formatter for Python {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(out, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.key.as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if !self.ensure_ascii || fragment.is_ascii() {
            return out.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            match character.is_ascii() {
                true => write!(out, "{character}")?,
                false => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
