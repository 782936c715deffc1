//! The socket of the service manager.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// It answers in time, also when parts of it hang.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of a document at the most.
const LONGEST: u64 = 64 << 20;

/// There is no status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error(
        "no service manager runs here: nobody listens on {}; \
         see `systemctl status aos-servicemanager`", .0.display()
    )]
    NotRunning(PathBuf),
    #[error("only root may ask the service manager ({})", .0.display())]
    NotAllowed(PathBuf),
    #[error("the service manager does not answer; see `systemctl status aos-servicemanager`")]
    Silent,
    #[error("cannot talk to the service manager")]
    Broken(#[source] io::Error),
}

/// A connection on which documents come.
#[derive(Debug)]
pub(crate) struct Subscription {
    reader: BufReader<UnixStream>,
}

impl Subscription {
    /// Asks for one document, or with `watch` for all from now on.
    pub(crate) fn open(socket: &Path, watch: bool) -> Result<Self, StatusError> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                StatusError::NotRunning(socket.to_owned())
            }
            io::ErrorKind::PermissionDenied => StatusError::NotAllowed(socket.to_owned()),
            _ => StatusError::Broken(error),
        })?;
        let ask = || {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            (&stream).write_all(format!("{{\"watch\":{watch}}}\n").as_bytes())
        };
        ask().map_err(failed)?;

        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// The next document; `None`: there will be none.
    pub(crate) fn next(&mut self) -> Result<Option<String>, StatusError> {
        let mut line = String::new();
        let length = (&mut self.reader)
            .take(LONGEST)
            .read_line(&mut line)
            .map_err(failed)?;
        line.truncate(line.trim_end().len());

        Ok((length > 0).then_some(line))
    }
}

fn failed(error: io::Error) -> StatusError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => StatusError::Silent,
        _ => StatusError::Broken(error),
    }
}
