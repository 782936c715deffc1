//! An error with all its causes, on one line.

use std::error::Error;
use std::fmt;

/// Prints an error and its sources, separated by `: `.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;

        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start the engine")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_follow_the_error_on_one_line() {
        let error = Outer(io::Error::other("no fuel"));

        let text = Chain(&error).to_string();

        assert_eq!(text, "cannot start the engine: no fuel");
    }
}
