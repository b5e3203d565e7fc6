//! A target that something goes wrong in.

use super::sides::Events;
use anyhow::Context as _;
use async_trait::async_trait;
use crossfade::rows::{Cursor, Page};
use crossfade_example_events::{Event, EventDao, EventError, EventId, Line};
use crossfade_stores::{
    Capabilities, Change, ChangeOutcome, Checksum, ErrorKind, OpenWrites, Page as Rows, Position, Range, Row, RowKey,
    StoreError, Table, TableSpec, Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is wrong with the target at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Trouble {
    None = 0,
    /// One field of 1 % of the events is written wrong.
    Bug = 1,
    /// Everything takes 200 ms longer.
    Slow = 2,
    /// Everything is refused.
    Down = 3,
}

/// The hand that lets trouble begin and end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles(Arc<AtomicU64>);

impl Troubles {
    pub(crate) fn set(&self, trouble: Trouble) {
        self.0.store(trouble as u64, Ordering::SeqCst);
    }

    fn is(&self, trouble: Trouble) -> bool {
        self.0.load(Ordering::SeqCst) == trouble as u64
    }

    /// Whatever is asked of the target meets this first.
    async fn meet(&self) -> Result<(), &'static str> {
        if self.is(Trouble::Slow) {
            tokio::time::sleep(SLOW).await;
        }
        if self.is(Trouble::Down) { Err("the target is down, as --inject target-down asked") } else { Ok(()) }
    }

    /// With the bug, one field of 1 % of the events is wrong; of a flight that has not landed the distance is there to be wrong.
    fn spoil<N: From<u8> + std::ops::AddAssign>(&self, hit: bool, arrival_delay: Option<&mut N>, distance: &mut N) {
        match arrival_delay {
            _ if !hit || !self.is(Trouble::Bug) => {}
            Some(late) => *late += N::from(60),
            None => *distance += N::from(1),
        }
    }
}

/// The target, in trouble or not.
#[derive(Debug, Clone)]
pub(crate) struct Troubled {
    pub(crate) events: Events,
    pub(crate) troubles: Troubles,
}

const SLOW: Duration = Duration::from_millis(200);

impl Troubled {
    async fn meet(&self) -> Result<&Events, EventError> {
        self.troubles.meet().await.map_err(|why| EventError::Rejected(why.to_owned()))?;
        Ok(&self.events)
    }

    /// What the new DAO makes of an event on its way to the database, whether a user writes it or, by [`TroubledTable`], a backfill.
    fn translated(&self, event: &Event) -> Event {
        let mut event = event.clone();
        self.troubles.spoil(event.id.is_multiple_of(100), event.arrival_delay.as_mut(), &mut event.distance);
        event
    }
}

impl EventDao for Troubled {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        self.meet().await?.record(&self.translated(event)).await
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        self.meet().await?.remove(id).await
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        self.meet().await?.events_of(line).await
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        self.meet().await?.snapshot(id).await
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let event = event.map(|event| self.translated(event));
        self.meet().await?.restore(id, seen, event.as_ref()).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        self.meet().await?.scan(after, limit).await
    }
}

/// The same target, as a table of a store, in the same trouble.
#[derive(Debug)]
pub(crate) struct TroubledTable {
    table: Arc<dyn Table>,
    troubles: Troubles,
    id: usize,
    arrival_delay: usize,
    distance: usize,
}

impl TroubledTable {
    /// Around a table of events.
    pub(crate) fn around(table: Arc<dyn Table>, troubles: Troubles) -> anyhow::Result<TroubledTable> {
        let at = |name| {
            let column = table.spec().columns.iter().position(|column| column.name == name);
            column.with_context(|| format!("the target has no column `{name}`"))
        };
        let (id, arrival_delay, distance) = (at("id")?, at("arrival_delay")?, at("distance")?);
        Ok(TroubledTable { table, troubles, id, arrival_delay, distance })
    }

    async fn meet(&self) -> Result<&dyn Table, StoreError> {
        self.troubles.meet().await.map_err(|why| StoreError::new(ErrorKind::Refused, why))?;
        Ok(&*self.table)
    }

    /// As [`Troubled::translated`].
    fn translated(&self, row: &Row) -> Row {
        let mut row = row.clone();
        let hit = matches!(row.0[self.id], Value::Int(id) if id % 100 == 0);
        if let Ok([Value::Int(distance), late]) = row.0.get_disjoint_mut([self.distance, self.arrival_delay]) {
            let late = if let Value::Int(late) = late { Some(late) } else { None };
            self.troubles.spoil(hit, late, distance);
        }
        row
    }
}

/// Everything else is the table's own: the bytes of a row ([`Table::raw`]) are not offered, so that none goes past the trouble.
#[async_trait]
impl Table for TroubledTable {
    fn spec(&self) -> &TableSpec {
        self.table.spec()
    }

    fn capabilities(&self) -> &Capabilities {
        self.table.capabilities()
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.meet().await?.read(keys).await
    }

    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Rows, StoreError> {
        self.meet().await?.scan(range, position, limit).await
    }

    async fn split(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        self.meet().await?.split(rows).await
    }

    async fn estimate(&self) -> Result<u64, StoreError> {
        self.meet().await?.estimate().await
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let changes: Vec<Change> = changes
            .iter()
            .map(|change| match change {
                Change::Insert { row } => Change::Insert { row: self.translated(row) },
                Change::Replace { seen, row } => Change::Replace { seen: seen.clone(), row: self.translated(row) },
                Change::Delete { seen } => Change::Delete { seen: seen.clone() },
            })
            .collect();
        self.meet().await?.write(&changes).await
    }

    async fn load(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let rows = rows.iter().map(|row| self.translated(row)).collect();
        self.meet().await?.load(rows).await
    }

    async fn fences(&self, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        self.meet().await?.fences(rows).await
    }

    async fn checksums(&self, fences: &[RowKey]) -> Result<Vec<Checksum>, StoreError> {
        self.meet().await?.checksums(fences).await
    }

    async fn open_writes(&self) -> Result<Option<OpenWrites>, StoreError> {
        self.meet().await?.open_writes().await
    }

    async fn have_ended(&self, token: &OpenWrites) -> Result<bool, StoreError> {
        self.meet().await?.have_ended(token).await
    }
}
