//! A peer that is away for hours fills no log.

use std::error::Error;

use tracing::{debug, info, warn};

use crate::model::Chain;

/// Logs each trouble with a peer when it is new.
#[derive(Debug)]
pub struct Troubles {
    subject: &'static str,
    last: Option<String>,
}

impl Troubles {
    /// No trouble yet with the named peer, or with what it gave.
    #[must_use]
    pub fn with(subject: &'static str) -> Self {
        Self {
            subject,
            last: None,
        }
    }

    /// Something failed. Returns whether that is news.
    pub fn failed(&mut self, error: &(dyn Error + 'static)) -> bool {
        let text = Chain(error).to_string();
        let is_new = self.last.as_ref() != Some(&text);

        if is_new {
            warn!(error = text, "trouble with {}", self.subject);
            self.last = Some(text);
        } else {
            debug!(error = text, "still trouble with {}", self.subject);
        }

        is_new
    }

    /// All is well: the same trouble would be news again.
    pub fn over(&mut self) {
        if self.last.take().is_some() {
            info!("no more trouble with {}", self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn same_trouble_is_news_once_until_it_is_over() {
        let mut troubles = Troubles::with("CM");
        let refused = io::Error::other("refused");

        assert!(troubles.failed(&refused));
        assert!(!troubles.failed(&refused));
        assert!(troubles.failed(&io::Error::other("no route")));

        troubles.over();
        assert!(troubles.failed(&io::Error::other("no route")));
    }
}
