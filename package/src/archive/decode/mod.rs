//! Plain or compressed: told by the first bytes.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

/// Bytes read from the source at once.
const BUFFER: usize = 256 * 1024;
/// Bytes of the longest mark.
const MARK_MAX: usize = 6;
/// Zstandard looks back as far as a frame asks for: memory that we give it.
/// Without options no level of zstd(1) asks for more.
const WINDOW_LOG_MAX: u32 = 23;

type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// As gzip(1) does.
    Gzip,
    /// With Zstandard.
    Zstd,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Mark {
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

/// The content of a file that may be compressed. It ends where the file does:
/// what is cut off, or followed by something else, is an error.
pub struct Decoded<R> {
    inner: Inner<R>,
    /// Not every decoder fails again when it has failed.
    failed: bool,
}

enum Inner<R> {
    Plain(Source<R>),
    Gzip(Gzip<Source<R>>),
    Zstd(Box<ZstdDecoder<'static, Source<R>>>),
}

/// Looks at the first bytes of `source`.
///
/// # Errors
///
/// `source` cannot be read, or is compressed in a way that is not supported.
pub fn decode<R: Read>(mut source: R) -> io::Result<Decoded<R>> {
    let mut start = Vec::with_capacity(MARK_MAX);
    (&mut source)
        .take(MARK_MAX as u64)
        .read_to_end(&mut start)?;
    let mark = Mark::of(&start);

    let source = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(source));
    let inner = match mark {
        Mark::None => Inner::Plain(source),
        Mark::Gzip => Inner::Gzip(Gzip::new(source)),
        Mark::Zstd => {
            let mut decoder = ZstdDecoder::with_buffer(source)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Inner::Zstd(Box::new(decoder))
        }
        Mark::Bzip2 => return Err(unsupported("bzip2")),
        Mark::Xz => return Err(unsupported("xz")),
    };
    Ok(Decoded {
        inner,
        failed: false,
    })
}

impl<R: Read> Decoded<R> {
    /// How the content is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.inner {
            Inner::Plain(_) => Compression::None,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
        }
    }

    /// The source, with what was read ahead of it gone.
    #[must_use]
    pub fn into_source(self) -> R {
        match self.inner {
            Inner::Plain(source) => source,
            Inner::Gzip(members) => members.into_source(),
            Inner::Zstd(decoder) => decoder.finish(),
        }
        .into_inner()
        .into_inner()
        .1
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("reading it has failed before"));
        }
        let read = match &mut self.inner {
            Inner::Plain(source) => source.read(buffer),
            Inner::Gzip(members) => members.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer).map_err(named),
        };
        self.failed = read.as_ref().is_err_and(|error| !is_interruption(error));
        read
    }
}

impl<R> std::fmt::Debug for Decoded<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").finish_non_exhaustive()
    }
}

/// The members of a gzip file, one after the other, and zeros to fill it up.
enum Gzip<S> {
    Member(Box<GzDecoder<S>>),
    Ended(S),
    /// Only while one member follows another.
    Between,
}

impl<S: BufRead> Gzip<S> {
    fn new(source: S) -> Self {
        Self::Member(Box::new(GzDecoder::new(source)))
    }

    fn into_source(self) -> S {
        match self {
            Self::Member(member) => member.into_inner(),
            Self::Ended(source) => source,
            Self::Between => unreachable!("a member follows, or the end"),
        }
    }

    /// Goes on after the end of a member.
    fn next(&mut self) -> io::Result<()> {
        let Self::Member(member) = std::mem::replace(self, Self::Between) else {
            unreachable!("only a member ends");
        };
        let mut source = member.into_inner();
        let follows = loop {
            let bytes = source.fill_buf();
            match bytes.map(|bytes| bytes.first() == Some(&0x1f)) {
                Err(error) if is_interruption(&error) => {}
                follows => break follows,
            }
        };
        *self = match follows {
            Ok(true) => Self::new(source),
            Ok(false) | Err(_) => Self::Ended(source),
        };
        follows.map(drop)
    }
}

impl<S: BufRead> Read for Gzip<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self {
                Self::Member(member) => {
                    let count = member.read(buffer)?;
                    if count > 0 {
                        return Ok(count);
                    }
                    self.next()?;
                }
                Self::Ended(source) => return only_zeros(source).map(|()| 0),
                Self::Between => unreachable!("a member follows, or the end"),
            }
        }
    }
}

fn only_zeros(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.iter().any(|byte| *byte != 0) {
            let reason = "something else follows the compressed content";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        source.consume(count);
    }
}

/// The library names its own limit, and not what a user of ours can do.
fn named(error: io::Error) -> io::Error {
    if !error.to_string().contains("requires too much memory") {
        return error;
    }
    let mebibytes = (1_u64 << WINDOW_LOG_MAX) >> 20;
    let reason = format!(
        "compressed with a window of more than {mebibytes} MiB (zstd --long or --ultra), \
         which is not supported"
    );
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

fn is_interruption(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

fn unsupported(name: &str) -> io::Error {
    let reason = format!("compressed with {name}, which is not supported");
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

#[cfg(test)]
mod tests;
