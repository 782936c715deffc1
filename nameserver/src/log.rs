//! Lines for the journal: plain text on stdout, each with its priority as
//! systemd reads it when it is the one who listens.

use std::io::{self, Write};

/// Something that an operator may want to know.
pub fn info(text: &str) {
    line(6, text);
}

/// Something is wrong, and the server goes on.
pub fn error(text: &str) {
    line(3, text);
}

/// Text as it is.
pub fn print(text: &str) {
    write(format_args!("{text}"));
}

fn line(priority: u8, text: &str) {
    let text = text.replace('\n', " ");
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        write(format_args!("<{priority}>{text}\n"));
    } else {
        write(format_args!("{text}\n"));
    }
}

fn write(text: std::fmt::Arguments<'_>) {
    // Names matter more than a log that nobody takes.
    drop(io::stdout().lock().write_fmt(text));
}
