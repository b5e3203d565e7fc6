//! What is said, and where: a bar on a terminal, plain lines in a pipe, JSON lines with `--json`; never a silent long run.

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use crossfade_transfer::{
    TransferError,
    pace::{Control, Order},
    progress::{Counters, Event, Observer},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};
use tokio::{task::JoinHandle, time::Instant};

use super::Context;

/// One line of JSON on stdout.
pub(super) fn line(value: &Json) {
    // A closed pipe is the reader's decision; the exit code still tells.
    let _ = writeln!(std::io::stdout().lock(), "{value}");
}

/// Something to read on stderr, or an event on stdout.
pub(super) fn say(context: &Context, event: &str, text: &str) {
    if context.json {
        line(&json!({ "event": event, "message": text }));
    } else {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// An error, with its next act in its text.
pub(super) fn fail(context: &Context, text: &str) {
    if context.json {
        line(&json!({ "event": "error", "message": text }));
    } else {
        let _ = writeln!(std::io::stderr().lock(), "error: {text}");
    }
}

/// The result: JSON as it is, or a text.
pub(super) fn result(context: &Context, mut value: Json, text: &str) {
    if context.json {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("event".to_owned(), json!("result"));
        }
        line(&value);
    } else {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

/// Ctrl-C and SIGTERM finish the chunks in flight and end; the same command goes on from there.
pub(super) fn stop_on_signal(context: &Context) -> Control {
    let control = Control::default();
    let (told, context) = (control.clone(), context.clone());
    tokio::spawn(async move {
        let asked = async {
            #[cfg(unix)]
            {
                let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok()?;
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminate.recv() => {}
                }
                Some(())
            }
            #[cfg(not(unix))]
            {
                tokio::signal::ctrl_c().await.ok()
            }
        };
        if asked.await.is_some() {
            say(&context, "stopping", "stopping: finishing what is under way");
            told.tell(Order::Stop);
        }
    });
    control
}

/// Shows counters while a table is worked on.
pub(super) struct Watch {
    task: JoinHandle<()>,
    bar: Option<ProgressBar>,
}

impl Watch {
    /// Begins; `job` is the command's name.
    pub(super) fn begin(context: &Context, job: &'static str, table: &str, counters: &Arc<Counters>) -> Watch {
        let bar = (!context.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style =
                ProgressStyle::with_template("{msg} [{bar:32}] {human_pos} of {human_len} rows, {per_sec}, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(format!("{job} {table}"));
            bar
        });
        let (context, counters, table, shown) = (context.clone(), counters.clone(), table.to_owned(), bar.clone());
        let task = tokio::spawn(async move {
            let start = Instant::now();
            let every = if shown.is_some() { Duration::from_millis(100) } else { Duration::from_secs(2) };
            loop {
                tokio::time::sleep(every).await;
                let (read, expected) = (Counters::get(&counters.read), Counters::get(&counters.expected));
                let seconds = start.elapsed().as_secs_f64();
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rate to read"
                )]
                let rate = (read as f64 / seconds) as u64;
                let left = expected.saturating_sub(read).checked_div(rate);
                if let Some(bar) = &shown {
                    bar.set_length(expected.max(read));
                    bar.set_position(read);
                } else if context.json {
                    line(
                        &json!({ "event": "progress", "job": job, "table": table, "rows_read": read, "rows_expected": expected, "rows_per_second": rate, "seconds_left": left }),
                    );
                } else {
                    let left = left.map_or_else(|| "time left unknown".to_owned(), |s| format!("{s} s left"));
                    say(
                        &context,
                        "progress",
                        &format!("{job} {table}: {read} of about {expected} rows, {rate} rows/s, {left}"),
                    );
                }
            }
        });
        Watch { task, bar }
    }

    /// Ends.
    pub(super) fn end(self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Says rare events as they come.
pub(super) struct Teller {
    pub(super) context: Context,
}

impl Observer for Teller {
    fn event(&self, event: Event) {
        let context = &self.context;
        match event {
            Event::Table { name, ranges, resumed, path } => {
                if context.json {
                    line(
                        &json!({ "event": "table", "table": name, "ranges": ranges, "resumed": resumed, "path": path }),
                    );
                } else if resumed > 0 {
                    say(context, "table", &format!("{name}: {ranges} ranges, {resumed} of them done earlier; {path}"));
                } else {
                    say(context, "table", &format!("{name}: {ranges} ranges; {path}"));
                }
            }
            Event::WaitingForOlderWriters => {
                say(context, "waiting", "waiting for transactions in the source that are older than this run")
            }
            Event::WaitingForKilledRun { wait } => say(
                context,
                "waiting",
                &format!(
                    "an earlier run ended in the middle of some rows: they wait {:.0} s, until nothing of it can land any more",
                    wait.as_secs_f64().ceil()
                ),
            ),
            Event::RowFailed { key, why } => {
                if context.json {
                    line(&json!({ "event": "row_failed", "row": key, "message": why }));
                } else {
                    say(context, "row_failed", &format!("row {key}: {why}"));
                }
            }
            Event::Generation { number, rows } => {
                if context.json {
                    line(&json!({ "event": "generation", "number": number, "rows": rows }));
                } else {
                    say(context, "generation", &format!("{rows} rows differ: reading them again ({number})"));
                }
            }
            Event::Pace { parallel, why } => {
                if context.json {
                    line(&json!({ "event": "pace", "parallel": parallel, "message": why }));
                } else {
                    say(context, "pace", &format!("{parallel} chunks at a time: {why}"));
                }
            }
        }
    }
}

/// The error's text and its exit code.
pub(super) fn ended(context: &Context, error: &TransferError) -> crossfade_api::exit::Exit {
    fail(context, &error.to_string());
    error.exit()
}
