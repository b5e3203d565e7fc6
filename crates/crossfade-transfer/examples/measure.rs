//! One run of backfill or verify between two stores, for measuring: `measure backfill|bulk|verify|streams SOURCE TARGET TABLE [PARALLEL] [CHUNK]`.

use std::sync::Arc;

use crossfade_api::config::Config;
use crossfade_transfer::{
    backfill,
    pace::Control,
    pair,
    progress::{Counters, Observer, Silent},
    verify,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [job, source, target, table, more @ ..] = &args[..] else {
        return Err("measure backfill|bulk|verify|streams SOURCE TARGET TABLE [PARALLEL] [CHUNK]".into());
    };
    let config = Config::parse(&format!(
        "[migration.m]\nsource=\"x\"\ntarget=\"x\"\n[migration.m.table.{table}]\ncohort=[\"id\"]"
    ))?;
    let source = crossfade_stores::open(&source.parse()?).await?;
    let target = crossfade_stores::open(&target.parse()?).await?;
    let pair = pair::open(&source, &target, table, &config.migration["m"].table[table]).await?;
    let parallel = more.first().map_or(Ok(4), |n| n.parse())?;
    let chunk_rows = more.get(1).map_or(Ok(10_000), |n| n.parse())?;
    let (control, counters) = (Control::default(), Arc::new(Counters::default()));
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    match job.as_str() {
        "backfill" | "bulk" => {
            let exclusive = if job == "bulk" { backfill::Exclusive::Declared } else { backfill::Exclusive::No };
            let options =
                backfill::Options { parallel, chunk_rows: Some(chunk_rows), exclusive, ..backfill::Options::default() };
            let report = backfill::run(&pair, &options, &control, &counters, &observer).await?;
            println!("{}", serde_json::to_string(&report)?);
        }
        _ => {
            let push_down = if job == "streams" { verify::PushDown::Never } else { verify::PushDown::WherePossible };
            let options = verify::Options { parallel, push_down, ..verify::Options::default() };
            let outcome = verify::run(&pair, &options, &control, &counters, &observer).await?;
            println!("{}", serde_json::to_string(&outcome.report)?);
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("VmHWM unknown"));
    Ok(())
}
