//! `aosctl status`: what a service manager on this device says of itself.
//!
//! - [`client`]: its socket
//! - [`view`]: the document, as far as it is shown
//! - [`table`]: the document for people

mod client;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::cli::{Format, StatusArgs};
pub(crate) use client::Subscription;
pub(crate) use table::escaped;
pub(crate) use view::Document;

/// Shows the document, with `--watch` each new one.
pub(crate) fn run(args: &StatusArgs, format: Format) -> anyhow::Result<()> {
    let mut subscription = Subscription::open(&args.socket, args.watch)?;
    let look = Look {
        terminal: io::stdout().is_terminal(),
        watch: args.watch,
    };
    while let Some(line) = subscription.next()? {
        if !print(&line, format, look)? {
            return Ok(());
        }
    }

    if args.watch {
        anyhow::bail!("the service manager has ended");
    }
    Ok(())
}

/// What it looks like.
#[derive(Clone, Copy)]
struct Look {
    terminal: bool,
    watch: bool,
}

/// Prints a document; returns whether somebody reads.
fn print(line: &str, format: Format, look: Look) -> anyhow::Result<bool> {
    let text = match format {
        Format::Json => format!("{line}\n"),
        Format::Text => {
            let table = table::table(&parse(line)?, look.terminal);
            match (look.watch, look.terminal) {
                // From the top of an empty screen.
                (true, true) => format!("\x1b[H\x1b[2J{table}"),
                (true, false) => format!("{table}\n"),
                (false, _) => table,
            }
        }
    };

    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot print the status"),
    }
}

/// The present document.
pub(crate) fn look(socket: &Path) -> anyhow::Result<Document> {
    let line = Subscription::open(socket, false)?
        .next()?
        .context("the service manager closed the connection")?;
    parse(&line)
}

fn parse(line: &str) -> anyhow::Result<Document> {
    let document: Document =
        serde_json::from_str(line).context("cannot read the service manager's answer")?;
    if let Some(error) = &document.error {
        anyhow::bail!("the service manager refuses: {error}");
    }
    if document.format != view::FORMAT {
        anyhow::bail!(
            "the service manager answers in form {}, and this aosctl knows form {}: \
             use `-o json`, or the aosctl of its release",
            document.format,
            view::FORMAT
        );
    }
    Ok(document)
}
