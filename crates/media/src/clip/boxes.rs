//! The boxes that an MP4 is made of: a length of four bytes, four letters, contents (ISO/IEC 14496-12).

/// Four letters.
pub(super) type Kind = [u8; 4];

/// Adds a box of what `fill` writes.
pub(super) fn write(out: &mut Vec<u8>, kind: &Kind, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    fill(out);
    let length = ((out.len() - start) as u32).to_be_bytes();
    out[start..start + 4].copy_from_slice(&length);
}

/// Adds a box that begins with a version of 0 and flags.
pub(super) fn write_full(
    out: &mut Vec<u8>,
    kind: &Kind,
    flags: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    write(out, kind, |out| {
        words(out, &[flags]);
        fill(out);
    });
}

/// Adds numbers of four bytes.
pub(super) fn words(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
}

/// Adds numbers of two bytes.
pub(super) fn shorts(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
}

/// The boxes in `bytes`, up to one that is damaged.
pub(super) fn read(bytes: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<8>()?;
        let (length, kind) = header.split_first_chunk::<4>()?;
        let kind = kind.first_chunk::<4>()?;
        let (start, length) = match u32::from_be_bytes(*length) {
            // To the end of the file.
            0 => (8, rest.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(*rest.get(8..)?.first_chunk()?)).ok()?),
            length => (8, length as usize),
        };
        let contents = rest.get(start..length)?;
        rest = &rest[length..];
        Some((*kind, contents))
    })
}

/// The first box that the kinds of `path` lead to, each in the one before.
pub(super) fn find<'a>(bytes: &'a [u8], path: &[&Kind]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, kind| {
        read(bytes).find(|(found, _)| found == *kind).map(|(_, contents)| contents)
    })
}

/// The number of four bytes `at` a byte.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found() {
        let mut out = Vec::new();
        write(&mut out, b"aaaa", |out| words(out, &[7]));
        write(&mut out, b"bbbb", |out| {
            write(out, b"cccc", |_| {});
            write_full(out, b"dddd", 5, |out| shorts(out, &[1, 2]));
        });
        assert_eq!(find(&out, &[b"bbbb", b"dddd"]), Some(&[0, 0, 0, 5, 0, 1, 0, 2][..]));
        assert_eq!(find(&out, &[b"bbbb", b"cccc"]), Some(&[][..]));
        assert_eq!(find(&out, &[b"cccc"]), None);
        assert_eq!(read(&out[..out.len() - 1]).count(), 1);
        // A length shorter than its header.
        assert_eq!(read(&[0, 0, 0, 4, b'a', b'a', b'a', b'a']).count(), 0);
        assert_eq!(
            read(&[0, 0, 0, 0, b'a', b'a', b'a', b'a', 9]).next(),
            Some((*b"aaaa", &[9][..]))
        );
        let large = [&[0, 0, 0, 1][..], b"aaaa", &17_u64.to_be_bytes(), b"x"].concat();
        assert_eq!(read(&large).next(), Some((*b"aaaa", &b"x"[..])));
        let endless = [&[0, 0, 0, 1][..], b"aaaa", &u64::MAX.to_be_bytes(), b"x"].concat();
        assert_eq!(read(&endless).count(), 0);
    }
}
