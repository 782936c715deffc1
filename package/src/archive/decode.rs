//! Plain or compressed: told by the first bytes.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes read from the source at once.
const BUFFER: usize = 256 * 1024;

type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The content of a file that may be compressed.
#[derive(Debug)]
pub struct Decoded<R>(Inner<R>);

#[derive(Debug)]
enum Inner<R> {
    Plain(Source<R>),
    Gzip(Box<MultiGzDecoder<Source<R>>>),
}

/// Looks at the first bytes of `source`.
///
/// # Errors
///
/// `source` cannot be read.
pub fn decode<R: Read>(mut source: R) -> io::Result<Decoded<R>> {
    let mut start = Vec::with_capacity(GZIP.len());
    (&mut source)
        .take(GZIP.len() as u64)
        .read_to_end(&mut start)?;
    let gzip = start == GZIP;

    let source = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(source));
    Ok(Decoded(if gzip {
        Inner::Gzip(Box::new(MultiGzDecoder::new(source)))
    } else {
        Inner::Plain(source)
    }))
}

impl<R: Read> Decoded<R> {
    /// Whether the content is compressed.
    #[must_use]
    pub fn is_gzip(&self) -> bool {
        matches!(self.0, Inner::Gzip(_))
    }

    /// The source, with what was read ahead of it gone.
    #[must_use]
    pub fn into_source(self) -> R {
        match self.0 {
            Inner::Plain(source) => source,
            Inner::Gzip(decoder) => decoder.into_inner(),
        }
        .into_inner()
        .into_inner()
        .1
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(source) => source.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decode(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn plain_content_is_passed_on() {
        for content in [&b""[..], b"\x1f", b"\x1f\x00", b"content"] {
            assert_eq!(read(content).unwrap(), content);
        }
    }

    #[test]
    fn compressed_content_is_decompressed() {
        assert_eq!(read(&gzip(b"content")).unwrap(), b"content");
    }

    #[test]
    fn compressed_parts_are_read_as_one() {
        let parts = [gzip(b"one "), gzip(b"two")].concat();

        assert_eq!(read(&parts).unwrap(), b"one two");
    }

    #[test]
    fn truncated_compression_is_an_error() {
        let mut bytes = gzip(b"content");
        bytes.truncate(bytes.len() - 4);

        assert!(read(&bytes).is_err());
    }
}
