//! Rows that make no sense.

use rusqlite::Error;
use tracing::error;

/// Passes over a row whose values are not what they should be, with an error in
/// the log: it must not keep all others from being used. An error of the
/// database itself is no row's fault and stays: the rows after it are not gone.
pub(crate) fn readable<T>(what: &str, row: rusqlite::Result<T>) -> Option<rusqlite::Result<T>> {
    match row {
        Err(
            error @ (Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)),
        ) => {
            error!(%error, "the stored row of {what} cannot be read");
            None
        }
        row => Some(row),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;
    use rusqlite::types::Type;

    use super::*;

    #[test]
    fn only_a_row_that_makes_no_sense_is_passed_over() {
        let nonsense = Error::InvalidColumnType(0, "path".into(), Type::Blob);
        let broken = Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), None);

        assert!(readable::<()>("a row", Err(nonsense)).is_none());
        assert!(matches!(readable::<()>("a row", Err(broken)), Some(Err(_))));
        assert!(matches!(readable("a row", Ok(1)), Some(Ok(1))));
    }
}
