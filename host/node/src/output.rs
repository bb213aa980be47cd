//! What a command prints: data to stdout, everything else to stderr, JSON on request.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use eyot_build::BuildReporter;
use eyot_core::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::visible::visible;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// How this run of the program speaks.
#[derive(Clone, Debug)]
pub(crate) struct CommandOutput {
    json: bool,
    colour: bool,
    /// What this process ends with where all went well.
    status: Arc<AtomicU8>,
}

/// A word that is coloured by what it means; the word alone says the same.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextTone {
    Good,
    Bad,
    Dim,
    Strong,
}

/// Who waits for longer wants to know what for.
const LONG_WAIT: Duration = Duration::from_secs(3);

impl CommandOutput {
    pub(crate) fn new(json: bool, colour: ColourChoice) -> Self {
        let colour = match colour {
            ColourChoice::Always => true,
            ColourChoice::Never => false,
            ColourChoice::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Self { json, colour: colour && !json, status: Arc::default() }
    }

    /// Lets this process end with the status of the program that it ran.
    pub(crate) fn end_with(&self, status: i32) -> Result<()> {
        // What does not fit is no success either.
        let status = if status == 0 { 0 } else { u8::try_from(status).unwrap_or(1) };
        self.status.store(status, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn status(&self) -> u8 {
        self.status.load(Ordering::Relaxed)
    }

    /// Whether the user asked for JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result of a command: as JSON, or in words by `human`.
    pub(crate) fn result<T: Serialize>(&self, value: &T, human: impl FnOnce(&Self) -> String) -> Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(value).map_err(|error| Error::internal("no JSON").because(error))?
        } else {
            human(self)
        };
        let text = text.trim_end();
        if !text.is_empty() {
            print(&format!("{text}\n"))?;
        }
        Ok(())
    }

    /// One JSON value a line, for what goes on for a while.
    pub(crate) fn event<T: Serialize>(&self, value: &T) -> Result<()> {
        let text = serde_json::to_string(value).map_err(|error| Error::internal("no JSON").because(error))?;
        print(&format!("{text}\n"))
    }

    /// One line in words, for what goes on for a while.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        print(&format!("{text}\n"))
    }

    /// Says something beside the result.
    pub(crate) fn note(&self, text: &str) {
        aside(text);
    }

    /// Says why the command failed: the chain of causes once, then what to do.
    pub(crate) fn error(&self, error: &Error) {
        if self.json {
            let body = serde_json::json!({ "error": {
                "kind": error.kind(), "message": error.chain(), "hint": error.hint_text(),
            }});
            return aside(&format!("{body:#}"));
        }
        let coloured = std::io::stderr().is_terminal() && self.colour;
        let label = if coloured { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
        // What a component or a server said is part of it.
        aside(&format!("{label} {}", visible(&error.chain())));
        if let Some(hint) = error.hint_text() {
            aside(&format!(" hint: {}", visible(hint)));
        }
    }

    /// A word in a tone.
    pub(crate) fn paint(&self, tone: TextTone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            TextTone::Good => "32",
            TextTone::Bad => "31",
            TextTone::Dim => "2",
            TextTone::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A progress bar on stderr; nothing where nobody watches.
    pub(crate) fn bar(&self, total: u64, what: &str) -> ProgressBar {
        let bar = self.progress(ProgressBar::new(total));
        if let Ok(style) = ProgressStyle::with_template("{msg:<28} {wide_bar} {bytes}/{total_bytes} {eta:>4}")
        {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }

    /// A spinner on stderr for work of unknown length.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let bar = self.progress(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Waits for something that may take long: with a spinner where somebody watches, elsewhere with a line once it
    /// has taken a while.
    pub(crate) async fn waiting<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let spinner = self.spinner(what);
        let mut work = std::pin::pin!(work);
        let done = match tokio::time::timeout(LONG_WAIT, work.as_mut()).await {
            Ok(done) => done,
            Err(_) => {
                if spinner.is_hidden() && !self.json {
                    self.note(what);
                }
                work.await
            }
        };
        spinner.finish_and_clear();
        done
    }

    fn progress(&self, bar: ProgressBar) -> ProgressBar {
        if self.json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar
    }
}

/// A build that is heard where a spinner turns.
pub(crate) struct SpinnerReporter<'a> {
    spinner: &'a ProgressBar,
    output: &'a CommandOutput,
}

impl<'a> SpinnerReporter<'a> {
    pub(crate) fn new(spinner: &'a ProgressBar, output: &'a CommandOutput) -> Self {
        Self { spinner, output }
    }
}

impl BuildReporter for SpinnerReporter<'_> {
    fn progress(&self, line: &str) {
        self.spinner.set_message(line.to_owned());
    }

    fn note(&self, text: &str) {
        self.spinner.suspend(|| self.output.note(text));
    }
}

fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // A reader that has had enough (`eyot ls | head`) ends the command, as the signal does that other programs
        // get for it. Here that signal stays ignored: a server would get it for each client that goes away.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(128 + 13),
        written => written.map_err(Error::from),
    }
}

/// A line on stderr; where nobody reads it, nobody misses it.
pub(crate) fn aside(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Rows under headings, columns aligned, the last one ragged.
pub(crate) fn table(output: &CommandOutput, headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| plain_width(cell));
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (index, cell) in cells.iter().enumerate() {
            text.push_str(cell);
            if index + 1 < cells.len() {
                text.push_str(&" ".repeat(widths[index].saturating_sub(plain_width(cell)) + 2));
            }
        }
        text
    };
    let headings: Vec<_> = headings.iter().map(|heading| output.paint(TextTone::Dim, heading)).collect();
    let mut lines = vec![line(&headings)];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

/// The width on screen: escape sequences take none.
fn plain_width(text: &str) -> usize {
    let mut width = 0;
    let mut escaped = false;
    for letter in text.chars() {
        match letter {
            '\x1b' => escaped = true,
            'm' if escaped => escaped = false,
            _ if escaped => {}
            _ => width += 1,
        }
    }
    width
}

/// `1.2 MB`, for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_their_colour() {
        let output = CommandOutput { json: false, colour: true, status: Arc::default() };
        let rows = [
            vec![output.paint(TextTone::Good, "ok"), "x".to_owned()],
            vec!["longer".to_owned(), "y".to_owned()],
        ];
        let plain = CommandOutput { json: false, colour: false, status: Arc::default() };
        let expected = "STATE   NAME\n\x1b[32mok\x1b[0m      x\nlonger  y";
        assert_eq!(table(&plain, &["STATE", "NAME"], &rows), expected);
    }
}
