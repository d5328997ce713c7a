//! A file as a body: read piece by piece as the client takes it.

use crate::video::Content;
use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::future::Future as _;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// Bytes that are read at once.
const PIECE: u64 = 256 << 10;

/// The body of `content`, of the length that it says.
pub(super) fn body(content: Content) -> Body {
    Body::new(Pieces { left: content.length, at: At::Rest(content.bytes) })
}

type Reader = Box<dyn Read + Send>;

struct Pieces {
    left: u64,
    at: At,
}

enum At {
    Rest(Reader),
    /// No thread is held while the client takes its time, only while the disk does.
    Reading(JoinHandle<io::Result<(Bytes, Reader)>>),
    End,
}

fn read(mut reader: Reader, length: u64) -> io::Result<(Bytes, Reader)> {
    let mut piece = Vec::with_capacity(length as usize);
    reader.by_ref().take(length).read_to_end(&mut piece)?;
    match piece.len() as u64 == length {
        true => Ok((piece.into(), reader)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.at, At::End) {
                At::Rest(_) | At::End if self.left == 0 => return Poll::Ready(None),
                At::End => return Poll::Ready(None),
                At::Rest(reader) => {
                    let length = self.left.min(PIECE);
                    let reading = tokio::task::spawn_blocking(move || read(reader, length));
                    self.at = At::Reading(reading);
                }
                At::Reading(mut reading) => {
                    let Poll::Ready(result) = Pin::new(&mut reading).poll(context) else {
                        self.at = At::Reading(reading);
                        return Poll::Pending;
                    };
                    let piece = result.map_err(io::Error::other).flatten();
                    return Poll::Ready(Some(piece.map(|(piece, reader)| {
                        self.left -= piece.len() as u64;
                        self.at = At::Rest(reader);
                        Frame::data(piece)
                    })));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::io::Cursor;

    #[tokio::test]
    async fn all_pieces_come_and_a_file_that_is_too_short_is_told() {
        let bytes: Vec<u8> = (0..PIECE as usize * 2 + 77).map(|i| (i % 251) as u8).collect();
        for length in [0, 1, PIECE as usize, bytes.len()] {
            let reader = Box::new(Cursor::new(bytes[..length].to_vec()));
            let body = body(Content { length: length as u64, bytes: reader });
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(length as u64));
            let got = body.collect().await.unwrap().to_bytes();
            assert!(got == bytes[..length], "{length}");
        }
        let reader = Box::new(Cursor::new(bytes[..9].to_vec()));
        assert!(body(Content { length: 10, bytes: reader }).collect().await.is_err());
    }
}
