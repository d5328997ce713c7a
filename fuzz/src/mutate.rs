//! Changes of an input that find mistakes: of bits, of pieces, of numbers and words.

use tensor::Rng;

/// Inputs are cut at this many bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// Numbers at the edges of types and of sense.
const NUMBERS: [&str; 24] = [
    "0",
    "-1",
    "1",
    "2",
    "7",
    "64",
    "255",
    "256",
    "65535",
    "65536",
    "65537",
    "2147483648",
    "4294967295",
    "4294967296",
    "1000000000000",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "0.5",
    "-0.0",
    "1e308",
    "1e999",
    "nan",
];

/// Words of JSON, TOML, Jinja and the files that are read.
const WORDS: [&str; 64] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "false",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{1f980}",
    "=",
    "\n",
    "[[stages]]",
    "[model]",
    "#",
    "'''",
    "inf",
    "nan",
    "\"dtype\":\"F99\"",
    "\"F4\"",
    "\"BOOL\"",
    "\"F64\"",
    "\"__metadata__\"",
    "\"shape\"",
    "\"data_offsets\"",
    "../",
    "/etc/passwd",
    "a.safetensors",
    "\\",
    "..",
    "C:",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    "|",
    "~",
    ".",
    "(",
    ")",
    "'",
    " for x in messages ",
    " endfor ",
    " if ",
    " else ",
    " endif ",
    " set ",
    " macro f(a) ",
    " endmacro ",
    " tojson ",
    " content ",
    " raw ",
    " endraw ",
    " is string ",
];

/// An input made from one of `corpus` by one to six changes.
pub fn mutate(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = if corpus.is_empty() { Vec::new() } else { rng.pick(corpus).clone() };
    for _ in 0..=rng.below(6) {
        change(&mut input, corpus, rng);
        input.truncate(MAX_BYTES);
    }
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    match rng.below(12) {
        0 if !input.is_empty() => {
            let at = rng.below(input.len());
            input[at] ^= 1 << rng.below(8);
        }
        1 if !input.is_empty() => {
            let at = rng.below(input.len());
            input[at] = rng.next_u64() as u8;
        }
        2 => input.truncate(rng.below(input.len() + 1)),
        3 => drop(input.drain(piece(input, rng))),
        4 => {
            let copy = input[piece(input, rng)].to_vec();
            insert(input, &copy, rng);
        }
        // A piece of another input.
        5 if !corpus.is_empty() => {
            let other = rng.pick(corpus);
            let copy = other[piece(other, rng)].to_vec();
            insert(input, &copy, rng);
        }
        6 => insert(input, rng.clone().pick(&NUMBERS).as_bytes(), rng),
        7 | 8 => {
            let number = *rng.pick(&NUMBERS);
            replace(input, number.as_bytes(), u8::is_ascii_digit, rng);
        }
        9 => {
            let word = *rng.pick(&WORDS);
            replace(input, word.as_bytes(), u8::is_ascii_alphabetic, rng);
        }
        // Nesting, or length.
        10 if rng.chance(0.2) => {
            let many = rng.pick(&WORDS).repeat(1 << rng.below(13));
            insert(input, many.as_bytes(), rng);
        }
        11 if rng.chance(0.2) => {
            // The length in front of a safetensors file.
            let length = rng.next_u64() >> rng.below(64);
            let end = input.len().min(8);
            input.splice(..end, length.to_le_bytes());
        }
        _ => insert(input, rng.clone().pick(&WORDS).as_bytes(), rng),
    }
}

/// A piece of up to 64 bytes; longer ones are rarer.
fn piece(input: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let start = rng.below(input.len() + 1);
    let longest = (input.len() - start).min(1 << rng.below(7));
    start..start + rng.below(longest + 1)
}

fn insert(input: &mut Vec<u8>, bytes: &[u8], rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    input.splice(at..at, bytes.iter().copied());
}

/// Puts `bytes` in the place of a number or word: of bytes that are all `kind`.
fn replace(input: &mut Vec<u8>, bytes: &[u8], kind: impl Fn(&u8) -> bool, rng: &mut Rng) {
    let from = rng.below(input.len() + 1);
    let Some(start) = input[from..].iter().position(&kind).map(|at| from + at) else { return };
    let length = input[start..].iter().take_while(|byte| kind(byte)).count();
    input.splice(start..start + length, bytes.iter().copied());
}
