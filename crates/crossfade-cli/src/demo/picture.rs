//! The story as it is told: a live picture on a terminal, plain lines in a pipe, JSON lines for machines.

use super::report::{Report, StageReport};
use super::traffic::Felt;
use crossfade::core::Position;
use crossfade::observe::Observation;
use crossfade::{Side, Stage};
use hdrhistogram::Histogram;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use std::io::{IsTerminal as _, Stdout, Write as _};
use std::time::Duration;

/// What there is to see at one moment.
pub(crate) struct Scene<'a> {
    pub(crate) position: &'a Position,
    pub(crate) felt: &'a Felt,
    pub(crate) seen: &'a Observation,
    pub(crate) acknowledged: u64,
    /// Something that takes its time: what, how far, of how much.
    pub(crate) work: Option<(&'static str, u64, u64)>,
}

/// Where the story is told.
pub(crate) enum Picture {
    Terminal(Box<Terminal<CrosstermBackend<Stdout>>>),
    Lines,
    Json,
}

const HEIGHT: u16 = 11;

/// Mismatches are warnings of the library; the demo shows them itself. `RUST_LOG` asks for the log all the same.
pub(crate) fn log_to_nowhere_unless_asked() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        // A second subscriber is a test's business.
        let _already = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}

impl Picture {
    pub(crate) fn new(json: bool) -> Picture {
        if json {
            return Picture::Json;
        }
        let terminal = std::io::stdout().is_terminal().then(|| {
            let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
            Terminal::with_options(CrosstermBackend::new(std::io::stdout()), options)
        });
        match terminal {
            Some(Ok(terminal)) => Picture::Terminal(Box::new(terminal)),
            Some(Err(_)) | None => Picture::Lines,
        }
    }

    /// How often there is something new to see.
    pub(crate) fn beat(&self) -> Duration {
        match self {
            Picture::Terminal(_) => Duration::from_millis(200),
            Picture::Lines => Duration::from_secs(5),
            Picture::Json => Duration::from_secs(1),
        }
    }

    /// Tells what happens now.
    pub(crate) fn say(&mut self, text: &str) {
        match self {
            Picture::Terminal(terminal) => {
                let line = Line::from(vec![Span::raw("▸ ").cyan(), Span::raw(text.to_owned())]);
                // A picture that cannot be drawn must not end the story.
                let _drawn = terminal.insert_before(1, |buffer| {
                    buffer.set_line(0, 0, &line, buffer.area.width);
                });
            }
            Picture::Lines => print(&format!("> {text}")),
            Picture::Json => print(&serde_json::json!({ "event": "story", "text": text }).to_string()),
        }
    }

    /// Shows how things stand.
    pub(crate) fn show(&mut self, scene: &Scene<'_>) {
        match self {
            Picture::Terminal(terminal) => {
                let _drawn = terminal.draw(|frame| draw(frame, scene));
            }
            Picture::Lines => print(&format!("  {}", summary(scene))),
            Picture::Json => {
                let (source, target) = sides(scene.seen);
                let mut line = serde_json::json!({
                    "event": "progress",
                    "position": scene.position.to_string(),
                    "acknowledged_writes": scene.acknowledged,
                    "reads_per_second": rate(&scene.felt.reads, scene.felt),
                    "writes_per_second": rate(&scene.felt.writes, scene.felt),
                    "source_p50_us": source.value_at_quantile(0.5), "source_p99_us": source.value_at_quantile(0.99),
                    "target_p50_us": target.value_at_quantile(0.5), "target_p99_us": target.value_at_quantile(0.99),
                    "comparisons": scene.seen.total(|seen| seen.compared),
                    "mismatches": scene.seen.total(|seen| seen.mismatched),
                    "marked": scene.seen.marked,
                });
                if let (Some((what, done, of)), Some(fields)) = (scene.work, line.as_object_mut()) {
                    fields.insert("work".into(), serde_json::json!({ "what": what, "done": done, "of": of }));
                }
                print(&line.to_string());
            }
        }
    }

    /// A stop of the story is over.
    pub(crate) fn stage(&mut self, report: &StageReport) {
        let text = format!(
            "{:<10} {:>5} %  {:>5.1} s  {:>6} reads (p50 {} p99 {})  {:>6} writes (p50 {} p99 {})",
            report.stage,
            report.percent,
            report.seconds,
            report.reads,
            micros(report.read_p50_us),
            micros(report.read_p99_us),
            report.writes,
            micros(report.write_p50_us),
            micros(report.write_p99_us)
        );
        match self {
            Picture::Terminal(terminal) => {
                let line = Line::from(format!("  {text}")).dim();
                let _drawn = terminal.insert_before(1, |buffer| {
                    buffer.set_line(0, 0, &line, buffer.area.width);
                });
            }
            Picture::Lines => print(&format!("  {text}")),
            Picture::Json => {
                if let Ok(serde_json::Value::Object(mut line)) = serde_json::to_value(report) {
                    line.insert("event".into(), "stage".into());
                    print(&serde_json::Value::Object(line).to_string());
                }
            }
        }
    }

    /// The end.
    pub(crate) fn finish(&mut self, report: &Report) -> Result<(), serde_json::Error> {
        if let Picture::Terminal(terminal) = self {
            let _cleared = terminal.clear();
        }
        if let Picture::Json = self {
            print(&serde_json::to_string(report)?);
            return Ok(());
        }
        let verdict = match (report.lost_writes, report.stale_reads, report.diverged) {
            (0, 0, 0) => "nothing lost, nothing stale, nothing different",
            _ => "NOT EQUAL",
        };
        print(&format!(
            "\n{verdict}\n  {} acknowledged writes, {} lost · {} stale reads · {} rows in the source, {} in the target, {} different\n  {} comparisons, {} mismatches · {} rows repaired · longest hold {} ms{}",
            report.acknowledged_writes,
            report.lost_writes,
            report.stale_reads,
            report.rows_source,
            report.rows_target,
            report.diverged,
            report.comparisons,
            report.mismatches,
            report.repaired,
            report.longest_hold_ms,
            if report.rolled_back { " · rolled back to off" } else { "" }
        ));
        print(&serde_json::to_string(report)?);
        Ok(())
    }
}

fn print(text: &str) {
    // A closed pipe ends nobody's migration.
    let _closed = writeln!(std::io::stdout(), "{text}");
}

fn rate(histogram: &Histogram<u64>, felt: &Felt) -> u64 {
    (histogram.len() as f64 / felt.since.elapsed().as_secs_f64().max(0.001)) as u64
}

fn micros(value: u64) -> String {
    if value < 1_000 { format!("{value} µs") } else { format!("{:.1} ms", value as f64 / 1e3) }
}

/// The latencies of both sides, over all operations.
fn sides(seen: &Observation) -> (Histogram<u64>, Histogram<u64>) {
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    let empty = || Histogram::new_with_bounds(1, 600_000_000, 2).expect("lawful bounds");
    let (mut source, mut target) = (empty(), empty());
    for operation in &seen.operations {
        // The same bounds: what one recorded, the other can hold.
        let _ = source.add(&operation.source).and_then(|()| target.add(&operation.target));
    }
    (source, target)
}

fn summary(scene: &Scene<'_>) -> String {
    let (source, target) = sides(scene.seen);
    let quantiles = |side: &Histogram<u64>| {
        format!("p50 {} p99 {}", micros(side.value_at_quantile(0.5)), micros(side.value_at_quantile(0.99)))
    };
    let work = match scene.work {
        Some((what, done, of)) => format!(" · {what} {done} of {of} rows of both sides"),
        None => String::new(),
    };
    format!(
        "{} · {} reads/s {} writes/s · source {} · target {} · {} compared, {} mismatched, {} marked{work}",
        scene.position,
        rate(&scene.felt.reads, scene.felt),
        rate(&scene.felt.writes, scene.felt),
        quantiles(&source),
        quantiles(&target),
        scene.seen.total(|seen| seen.compared),
        scene.seen.total(|seen| seen.mismatched),
        scene.seen.marked
    )
}

fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let block = Block::bordered().title(" crossfade ".bold());
    let inside = block.inner(frame.area());
    frame.render_widget(block, frame.area());
    let rows = Layout::vertical([Constraint::Length(1); 9]).split(inside);
    let place = |n: usize| rows.get(n).copied().unwrap_or(inside);
    let (earlier, later) = scene.position.stages();
    let ladder = Stage::ALL.map(|stage| {
        let style = if stage == later {
            Style::new().fg(Color::Black).bg(Color::Cyan).add_modifier(Modifier::BOLD)
        } else if stage == earlier {
            Style::new().fg(Color::Cyan)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        };
        [Span::styled(format!(" {stage} "), style), Span::raw(" ")]
    });
    frame.render_widget(Paragraph::new(Line::from(ladder.concat())), place(0));
    let share = scene.position.ramp().map_or(1.0, |(_, share)| share.percent() / 100.0);
    let gauge = Gauge::default().gauge_style(Color::Cyan).ratio(share).label(scene.position.to_string());
    frame.render_widget(gauge, place(1));
    let switches = later.switches();
    let flag = |on: bool, name: &'static str| {
        let (sign, colour) = if on { ("● ", Color::Green) } else { ("○ ", Color::DarkGray) };
        [Span::styled(sign, colour), Span::raw(name), Span::raw("   ")]
    };
    let authority = match switches.authority {
        Side::Source => "authority: source",
        Side::Target => "authority: target",
    };
    let flags = [
        flag(switches.write_source, "write source"),
        flag(switches.read_source, "read source"),
        flag(switches.write_target, "write target"),
        flag(switches.read_target, "read target"),
    ];
    let mut spans = flags.concat();
    spans.push(authority.bold());
    frame.render_widget(Paragraph::new(Line::from(spans)), place(2));
    let (source, target) = sides(scene.seen);
    let side = |name: &str, side: &Histogram<u64>| {
        format!(
            "{name}   p50 {:>9}   p99 {:>9}",
            micros(side.value_at_quantile(0.5)),
            micros(side.value_at_quantile(0.99))
        )
    };
    let users = format!(
        "users    {:>6} reads/s   {:>6} writes/s   {} writes acknowledged",
        rate(&scene.felt.reads, scene.felt),
        rate(&scene.felt.writes, scene.felt),
        scene.acknowledged
    );
    let count = |count: fn(&crossfade::observe::OperationObservation) -> u64| scene.seen.total(count);
    let compared = format!(
        "compared {}   matched {}   not yet backfilled {}   unknown {}",
        count(|seen| seen.compared),
        count(|seen| seen.matched),
        count(|seen| seen.not_backfilled),
        count(|seen| seen.unknown)
    );
    let mismatched = count(|seen| seen.mismatched);
    let differ = Line::from(vec![
        Span::styled(
            format!("source and target differ: {mismatched}"),
            if mismatched > 0 {
                Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
            } else {
                Style::new().fg(Color::Green)
            },
        ),
        Span::raw(format!("   marked {}   repaired {}", scene.seen.marked, scene.seen.repaired)),
    ]);
    for (n, line) in
        [Line::from(users), side("source", &source).into(), side("target", &target).into(), compared.into(), differ]
            .into_iter()
            .enumerate()
    {
        frame.render_widget(Paragraph::new(line), place(n + 3));
    }
    if let Some((what, done, of)) = scene.work {
        let ratio = (done as f64 / of.max(1) as f64).clamp(0.0, 1.0);
        let label = format!("{what}: {done} of {of} rows of both sides");
        frame.render_widget(Gauge::default().gauge_style(Color::Yellow).ratio(ratio).label(label), place(8));
    }
}
