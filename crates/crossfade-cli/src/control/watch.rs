//! `crossfade status --watch` at a terminal: a picture that stays, fed twice a second.
//!
//! Drawing is a pure function of the last status; what cannot be reached is said above the last picture, not instead.

use super::client::{Client, Refused};
use super::look::{millis, statuses};
use crate::say::Failure;
use crossfade_api::exit::Exit;
use crossfade_api::wire::{OperationStatus, Status};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Table, Wrap};
use ratatui::{DefaultTerminal, Frame};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the plane is asked.
const EVERY: Duration = Duration::from_millis(500);
/// Source and target, as everywhere in crossfade.
const SOURCE: Color = Color::Blue;
const TARGET: Color = Color::Yellow;

/// What there is to draw.
#[derive(Default)]
struct View {
    migrations: Vec<Status>,
    /// Which one is shown.
    chosen: usize,
    /// Why the picture is old, if it is.
    lost: Option<String>,
}

/// What somebody at the keyboard wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Next,
    Previous,
    Quit,
    Redraw,
}

/// Shows the picture until somebody has seen enough.
pub(super) async fn watch(client: &Client, id: Option<&str>) -> Result<Exit, Failure> {
    // Before the screen is taken: who cannot be reached or asked is said in the ordinary way.
    let mut view = View::default();
    match statuses(client, id).await {
        Ok(migrations) => view.migrations = migrations,
        Err(refused) => return refused.end(super::Out { json: false }),
    }
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error);
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = show(&mut terminal, client, id, view).await;
    ratatui::restore();
    shown.map_err(failed)?;
    Ok(Exit::Done)
}

async fn show(
    terminal: &mut DefaultTerminal,
    client: &Client,
    id: Option<&str>,
    mut view: View,
) -> std::io::Result<()> {
    let (sender, mut wishes) = mpsc::channel(16);
    std::thread::spawn(move || listen(&sender));
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| draw(frame, &view))?;
        tokio::select! {
            wish = wishes.recv() => match wish {
                Some(Wish::Next) => view.chosen = (view.chosen + 1) % view.migrations.len().max(1),
                Some(Wish::Previous) => {
                    view.chosen = view.chosen.checked_sub(1).unwrap_or(view.migrations.len().saturating_sub(1));
                }
                Some(Wish::Redraw) => {}
                Some(Wish::Quit) | None => return Ok(()),
            },
            _ = beat.tick() => match statuses(client, id).await {
                Ok(migrations) => {
                    view.chosen = view.chosen.min(migrations.len().saturating_sub(1));
                    (view.migrations, view.lost) = (migrations, None);
                }
                Err(Refused::Problem(problem)) => view.lost = Some(problem.detail.clone()),
                Err(Refused::Failure(failure)) => view.lost = Some(failure.text()),
            },
        }
    }
}

/// Reads keys on a thread of its own, until nobody listens any more.
fn listen(wishes: &mpsc::Sender<Wish>) {
    while !wishes.is_closed() {
        match event::poll(Duration::from_millis(100)) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let wish = match event::read() {
            Ok(Event::Key(key)) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
                KeyCode::Tab | KeyCode::Right | KeyCode::Down | KeyCode::Char('j') => Wish::Next,
                KeyCode::BackTab | KeyCode::Left | KeyCode::Up | KeyCode::Char('k') => Wish::Previous,
                _ => continue,
            },
            Ok(Event::Resize(..)) => Wish::Redraw,
            Ok(_) => continue,
            Err(_) => return,
        };
        if wishes.blocking_send(wish).is_err() {
            return;
        }
    }
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    let tabs = view.migrations.iter().enumerate().flat_map(|(n, status)| {
        let style = if n == view.chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(format!(" {} ", status.migration), style), Span::raw(" ")]
    });
    let mut title = vec!["crossfade  ".bold()];
    title.extend(tabs);
    frame.render_widget(Line::from(title), head);
    match view.migrations.get(view.chosen) {
        Some(status) => migration(frame, body, status),
        None => frame.render_widget("no migration yet: `crossfade serve` makes those of crossfade.toml", body),
    }
    let keys = if view.migrations.len() > 1 { "tab: the next migration   q: enough" } else { "q: enough" };
    let said = match &view.lost {
        Some(why) => Line::from(vec!["old picture: ".red().bold(), Span::raw(why.as_str())]),
        None => Line::from(keys.dim()),
    };
    frame.render_widget(said, foot);
}

fn migration(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let attention = attention(status);
    let gate = gate(status);
    let room = |lines: usize| Constraint::Length(u16::try_from(lines).unwrap_or(u16::MAX));
    let runs = status.runs.len();
    let operations = status.operations.len();
    let areas: [Rect; 6] = Layout::vertical([
        Constraint::Length(6),
        room(attention.len()),
        room(gate.len() + 2),
        room(if operations > 0 { operations + 3 } else { 0 }),
        room(runs),
        Constraint::Min(0),
    ])
    .areas(area);
    let [ladder, above, shut, calls, under_way, _] = areas;
    self::ladder(frame, ladder, status);
    frame.render_widget(Paragraph::new(Text::from(attention)), above);
    let colour = if status.gate.go { Color::Green } else { Color::Red };
    let block = Block::bordered().title(" the next gate ").border_style(Style::new().fg(colour));
    frame.render_widget(Paragraph::new(Text::from(gate)).wrap(Wrap { trim: false }).block(block), shut);
    if operations > 0 {
        table(frame, calls, &status.operations);
    }
    let lines = Layout::vertical(vec![Constraint::Length(1); runs]).split(under_way);
    for (run, line) in status.runs.iter().zip(lines.iter()) {
        let progress = run.progress.clone().unwrap_or_default();
        let share = progress.done as f64 / progress.total.unwrap_or(0).max(1) as f64;
        let of = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let label =
            format!("{} {}: {}{of} rows, {} rows/s", run.kind.name(), progress.note, progress.done, progress.rate);
        frame.render_widget(Gauge::default().gauge_style(TARGET).ratio(share.clamp(0.0, 1.0)).label(label), *line);
    }
}

fn ladder(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let block = Block::bordered().title(format!(" {} is at {} ", status.migration, status.position).bold());
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let [stages, shares, switches, fleet] = Layout::vertical([Constraint::Length(1); 4]).areas(inside);
    for (rung, cell) in
        status.ladder.stages.iter().zip(Layout::horizontal([Constraint::Ratio(1, 6); 6]).split(stages).iter())
    {
        let here = rung.percent.buckets() > 0;
        let style = if here { Style::new().bold() } else { Style::new().dim() };
        let share = if here { format!(" {}", rung.percent) } else { String::new() };
        frame.render_widget(Span::styled(format!("{}{share}", rung.stage), style), *cell);
    }
    let l = &status.ladder;
    let target = l.authority_target.percent() / 100.0;
    let answers = match status.authority {
        Some(side) => format!("the {side} answers every key"),
        None => format!("the target answers {} of keys", l.authority_target),
    };
    frame.render_widget(
        Gauge::default().gauge_style(Style::new().fg(TARGET).bg(SOURCE)).ratio(target.clamp(0.0, 1.0)).label(answers),
        shares,
    );
    let text = Line::from(vec![
        "source ".fg(SOURCE),
        Span::raw(format!("writes {} reads {}   ", l.write_source, l.read_source)),
        "target ".fg(TARGET),
        Span::raw(format!("writes {} reads {}", l.write_target, l.read_target)),
    ]);
    frame.render_widget(text, switches);
    let acknowledged = format!(
        "{} of {} instances acknowledged revision {}; {} marked rows",
        status.acknowledged, status.instances, status.publication.revision.0.number, status.evidence.marks
    );
    let style = if status.acknowledged < status.instances { Style::new().yellow() } else { Style::new() };
    frame.render_widget(Span::styled(acknowledged, style), fleet);
}

/// What an operator has to know before anything else.
fn attention(status: &Status) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(step) = &status.step {
        let waits: Vec<&str> = step.waiting_for.iter().chain(&step.waiting_also).map(String::as_str).take(3).collect();
        let waits = if waits.is_empty() { String::new() } else { format!(", waits for {}", waits.join(", ")) };
        lines.push(Line::from(format!("step to {} ({}), by {}{waits}", step.goal, step.phase, step.by).cyan()));
    }
    if let Some(why) = status.last_step.as_ref().and_then(|last| last.abandoned.as_ref()) {
        lines.push(Line::from(format!("the last step was given up: {why}").red()));
    }
    for who in status.waiting_for.iter().take(3) {
        lines.push(Line::from(format!("blocks the next revision: {who}").red()));
    }
    if status.evidence.waived_since.is_some() {
        lines.push(Line::from("promises are waived after a forced rollback or a restore of the control plane, until a verification passes".red()));
    }
    if status.paused {
        lines.push(Line::from("paused: steps are refused until `crossfade resume`".yellow()));
    }
    if status.retired {
        lines.push(Line::from("retired".yellow()));
    }
    lines
}

fn gate(status: &Status) -> Vec<Line<'static>> {
    if status.gate.go {
        return vec![Line::from("open".green())];
    }
    let blocker = |code: &str, detail: &str| Line::from(vec![format!("{code}  ").red(), Span::raw(detail.to_owned())]);
    status.gate.blockers.iter().map(|found| blocker(&found.code, &found.detail)).collect()
}

fn table(frame: &mut Frame<'_>, area: Rect, operations: &[OperationStatus]) {
    let rows = operations.iter().map(|o| {
        let c = o.comparisons;
        let differ = if c.mismatched > 0 { Style::new().red().bold() } else { Style::new().green() };
        Row::new(vec![
            Span::raw(o.operation.clone()),
            format!("{} / {}", millis(o.source.p50_us), millis(o.source.p99_us)).fg(SOURCE),
            format!("{} / {}", millis(o.target.p50_us), millis(o.target.p99_us)).fg(TARGET),
            Span::raw((o.source.errors + o.target.errors).to_string()),
            Span::raw(c.compared.to_string()),
            Span::styled(c.mismatched.to_string(), differ),
            Span::raw(c.unknown.to_string()),
        ])
    });
    let widths = [
        Constraint::Min(10),
        Constraint::Length(19),
        Constraint::Length(19),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(8),
    ];
    let head = ["operation", "source p50 / p99", "target p50 / p99", "errors", "compared", "different", "unknown"];
    let block = Block::bordered().title(" last minute ");
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).dim()).block(block), area);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;
    use crossfade_server::serve::{Options, Server};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn painted(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    /// A status as a real plane gives it.
    async fn status() -> Status {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("plane.db"));
        options.listen = ([127, 0, 0, 1], 0).into();
        let server = Server::start(options).await.unwrap();
        let token = server.first_token.clone().unwrap();
        let client = Client::with_token(&format!("http://{}", server.address), &token).unwrap();
        let plan = crossfade_core::PlanSpec::at("events", crossfade_core::Stage::DualWrite);
        let made = crossfade_api::wire::CreateRequest { plan, bypassing_writers: Vec::new() };
        let made: Status = client.post("/v1/migrations", &made).await.unwrap();
        let wish = serde_json::json!({ "stage": "shadow", "percent": 25, "if-revision": made.publication.revision });
        let _: serde_json::Value = client.post("/v1/migrations/events/ramp", &wish).await.unwrap();
        let status = client.status("events").await.unwrap();
        server.stop().await;
        status
    }

    #[tokio::test]
    async fn the_picture_says_where_keys_are_and_what_blocks() {
        let mut status = status().await;
        let comparisons = crossfade_api::wire::Comparisons { compared: 70, matched: 63, mismatched: 7, unknown: 0 };
        status.operations.push(OperationStatus {
            operation: "events_of".to_owned(),
            source: Default::default(),
            target: Default::default(),
            comparisons,
        });
        let view = View { migrations: vec![status], chosen: 0, lost: None };
        let picture = painted(&view, 110, 24);
        for said in [
            "events is at dual-write, 25 % of keys at shadow",
            "dual-write 75 %",
            "shadow 25 %",
            "the source answers every key",
            "writes 100 % reads 25 %",
            "backfill-not-started",
            "events_of",
            "q: enough",
        ] {
            assert!(picture.contains(said), "{said} in\n{picture}");
        }
        let line = picture.lines().find(|line| line.contains("events_of")).unwrap();
        assert!(line.contains("70") && line.contains(" 7 "), "{line}");
    }

    #[tokio::test]
    async fn a_small_window_and_a_lost_plane_leave_the_picture_standing() {
        let view = View { migrations: vec![status().await], chosen: 0, lost: Some("cannot reach it".to_owned()) };
        let picture = painted(&view, 40, 9);
        assert!(picture.contains("old picture: cannot reach it"), "{picture}");
        assert!(picture.contains("events is at dual-write"), "{picture}");
        assert!(painted(&View::default(), 80, 5).contains("no migration yet"));
    }
}
