//! Reads lines and does what they say: at a terminal with a prompt, history and forgiveness, or from a script, which
//! stops at its first error.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::client::Ask;
use super::error::ShellError;
use super::meta::{Flow, Meta};
use super::session::Session;
use super::splitter::Splitter;

/// Statements kept in the history file; older ones are forgotten.
const HISTORY_ENTRIES: usize = 2_000;

/// Runs the lines of a script up to its end, `\q`, or the first error.
pub(super) async fn run_script(
    session: &mut Session<'_>,
    source: &Path,
    input: &mut dyn BufRead,
) -> Result<Flow, ShellError> {
    let unreadable = |source_error| ShellError::Script { path: source.to_owned(), source: source_error };
    let mut splitter = Splitter::default();
    let mut line = String::new();
    while input.read_line(&mut line).map_err(unreadable)? > 0 {
        if feed(session, &mut splitter, line.trim_end_matches(['\n', '\r'])).await? == Flow::Quit {
            return Ok(Flow::Quit);
        }
        line.clear();
    }
    if let Some(statement) = splitter.finish() {
        session.show(Ask::Statement(statement)).await?;
    }
    Ok(Flow::Continue)
}

/// Reads from the terminal until `\q`, Ctrl-D, or Ctrl-C on top of another one.
pub(super) async fn run_interactive(session: &mut Session<'_>) -> Result<(), ShellError> {
    let mut editor = LineEditor::open()?;
    let mut splitter = Splitter::default();
    let mut typed = String::new();
    let mut last_was_interrupt = false;
    loop {
        session.console.err.flush()?;
        let prompt = if splitter.is_between_statements() { "dynamos=> " } else { "dynamos-> " };
        let line = match editor.read(prompt).await? {
            Line::Text(line) => line,
            Line::End => break,
            Line::Interrupted if last_was_interrupt => break,
            Line::Interrupted => {
                (splitter, typed) = (Splitter::default(), String::new());
                writeln!(session.console.err, "Ctrl-C again or \\q leaves")?;
                last_was_interrupt = true;
                continue;
            }
        };
        typed.push_str(&line);
        // Interrupts from before this line have nothing left to cancel.
        session.interrupts.acknowledge();
        let outcome = feed(session, &mut splitter, &line).await;
        if splitter.is_between_statements() || outcome.is_err() {
            editor.remember(typed.trim())?;
            (splitter, typed) = (Splitter::default(), String::new());
        } else {
            typed.push('\n');
        }
        last_was_interrupt = matches!(outcome, Err(ShellError::Cancelled));
        match outcome {
            Ok(Flow::Continue) => {}
            Ok(Flow::Quit) => break,
            Err(error) if error.is_closed_pipe() => return Err(error),
            Err(error) => error.report(session.console.err)?,
        }
    }
    editor.save();
    Ok(())
}

/// Does what a line completes: a `\` command, or statements.
async fn feed(session: &mut Session<'_>, splitter: &mut Splitter, line: &str) -> Result<Flow, ShellError> {
    if splitter.is_between_statements() && line.trim_start().starts_with('\\') {
        return Meta::parse(line)?.execute(session).await;
    }
    for statement in splitter.push_line(line) {
        session.show(Ask::Statement(statement)).await?;
    }
    Ok(Flow::Continue)
}

enum Line {
    Text(String),
    Interrupted,
    End,
}

/// The line editor with its history file.
struct LineEditor {
    /// Away only while it reads, on a thread where it may block.
    editor: Option<DefaultEditor>,
    history: Option<PathBuf>,
}

impl LineEditor {
    fn open() -> Result<Self, ShellError> {
        let config = rustyline::Config::builder().max_history_size(HISTORY_ENTRIES)?.build();
        let mut editor = DefaultEditor::with_config(config)?;
        let history = history_file(&|name| std::env::var(name).ok());
        if let Some(path) = &history {
            // The first session has no history yet; a broken one is no reason to refuse work.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor: Some(editor), history })
    }

    async fn read(&mut self, prompt: &'static str) -> Result<Line, ShellError> {
        let Some(mut editor) = self.editor.take() else { return Ok(Line::End) };
        let reading = tokio::task::spawn_blocking(move || {
            let line = editor.readline(prompt);
            (editor, line)
        });
        let (editor, line) = reading.await.map_err(std::io::Error::other)?;
        self.editor = Some(editor);
        match line {
            Ok(line) => Ok(Line::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
            Err(ReadlineError::Eof) => Ok(Line::End),
            Err(error) => Err(error.into()),
        }
    }

    fn remember(&mut self, text: &str) -> Result<(), ShellError> {
        if let (Some(editor), false) = (&mut self.editor, text.is_empty()) {
            editor.add_history_entry(text)?;
        }
        Ok(())
    }

    /// Keeps the history for the next session, as well as it can.
    fn save(&mut self) {
        if let (Some(editor), Some(path)) = (&mut self.editor, &self.history) {
            if let Some(folder) = path.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            let _ = editor.append_history(path);
        }
    }
}

/// The history file in the user's state folder, by the XDG rules.
fn history_file(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("dynamos").join("sql_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_lives_in_the_state_folder() {
        let path = |state: Option<&str>, home: Option<&str>| {
            history_file(&|name| match name {
                "XDG_STATE_HOME" => state.map(str::to_owned),
                _ => home.map(str::to_owned),
            })
        };
        assert_eq!(path(Some("/s"), Some("/h")), Some("/s/dynamos/sql_history".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.local/state/dynamos/sql_history".into()));
        assert_eq!(path(None, None), None);
    }
}
