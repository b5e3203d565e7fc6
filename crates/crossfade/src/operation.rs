//! A named operation: where reads and writes begin, and take their one decision (R2).

use crate::broken;
use crate::epoch::Epoch;
use crate::key::Key;
use crate::migration::{Inner, Migration};
use crate::observe::{Counter, OperationStats, drawn};
use crate::read::{Freshness, KeyDigest, ReadTicket};
use crate::refused::Refused;
use crate::table::TableState;
use crate::write::{KeyText, Prepared, PreparedGroup, Rows, Touched, WriteTicket};
use crossfade_core::{Bucket, CohortKey, MissingKey, ReadRoute, Share, WriteRoute};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// A named operation of a migration. Cheap to clone; calls through all clones are counted together.
#[derive(Clone)]
pub struct Operation {
    /// Behind one handle: each dual write holds it.
    parts: Arc<Parts>,
}

struct Parts {
    inner: Arc<Inner>,
    table: Arc<TableState>,
    stats: Arc<OperationStats>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({}.{})", self.parts.inner.id, self.parts.stats.name)
    }
}

/// One part of an operation over several keys, and the places of its keys among all of them (R18).
#[derive(Debug)]
pub struct Part<Ticket> {
    /// What this part is to do.
    pub ticket: Ticket,
    /// Places of its keys, in their order.
    pub places: Vec<usize>,
}

impl Operation {
    pub(crate) fn new(inner: Arc<Inner>, table: Arc<TableState>, stats: Arc<OperationStats>) -> Operation {
        Operation { parts: Arc::new(Parts { inner, table, stats }) }
    }

    /// The table that it works on.
    #[inline]
    pub(crate) fn table(&self) -> &Arc<TableState> {
        &self.parts.table
    }

    /// Begins an operation: the plan in force, unless this process has left the fleet (R30).
    #[inline]
    fn enter(&self) -> Result<Arc<Epoch>, Refused> {
        let epoch = self.parts.inner.epochs.enter();
        if epoch.is_closed() { Err(Refused::Left) } else { Ok(epoch) }
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.parts.inner
    }

    #[inline]
    pub(crate) fn stats(&self) -> &Arc<OperationStats> {
        &self.parts.stats
    }

    /// Begins a read. Reads are never held.
    ///
    /// # Errors
    /// [`Refused::MissingKey`].
    #[inline]
    pub fn begin_read(&self, key: &(impl Key + ?Sized)) -> Result<ReadTicket<'_>, Refused> {
        self.parts.stats.count(Counter::Reads);
        let epoch = self.enter()?;
        let decision = key.with_text(|text| CohortKey::new(text).map(|key| epoch.plan.decide(key)))?;
        let route = decision.stage.read_route();
        let ticket = self.read_ticket(epoch, route, || key.with_text(KeyDigest::of));
        Ok(ReadTicket { bucket: Some(decision.bucket), ..ticket })
    }

    #[inline]
    fn read_ticket(&self, epoch: Arc<Epoch>, route: ReadRoute, digest: impl FnOnce() -> KeyDigest) -> ReadTicket<'_> {
        let compare = route.compare.filter(|_| sampled(epoch.plan.options().compare));
        let digest = if compare.is_some() { digest() } else { KeyDigest::Several };
        ReadTicket {
            operation: self,
            epoch,
            authority: route.authority,
            compare,
            digest,
            freshness: Freshness::Linearizable,
            bucket: None,
        }
    }

    /// Begins a read over several keys: one part for each way in which its keys are routed (R18).
    ///
    /// # Errors
    /// [`Refused::MissingKey`] when any key is missing.
    pub fn split_read<K: Key>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Part<ReadTicket<'_>>>, Refused> {
        self.parts.stats.count(Counter::Reads);
        let epoch = self.enter()?;
        let mut groups: Vec<(ReadRoute, Vec<usize>)> = Vec::new();
        for (place, key) in keys.into_iter().enumerate() {
            let decision = key.with_text(|text| CohortKey::new(text).map(|key| epoch.plan.decide(key)))?;
            group(&mut groups, decision.stage.read_route(), place);
        }
        let part = |(route, places)| Part {
            ticket: self.read_ticket(Arc::clone(&epoch), route, || KeyDigest::Several),
            places,
        };
        Ok(groups.into_iter().map(part).collect())
    }

    /// Begins a read that cannot be split by key (R18).
    ///
    /// # Errors
    /// [`Refused::Straddling`].
    pub fn begin_whole_read(&self) -> Result<ReadTicket<'_>, Refused> {
        self.parts.stats.count(Counter::Reads);
        let epoch = self.enter()?;
        one_authority(&epoch)?;
        let (route, _, _) = epoch.plan.decide_whole();
        Ok(self.read_ticket(epoch, route, || KeyDigest::Several))
    }

    /// Begins a write; waits, bounded, while authority moves for its key (R4). Cancel safe: nothing has begun yet.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn begin_write(
        &self,
        key: &(impl Key + ?Sized),
        row: &(impl Key + ?Sized),
    ) -> Result<WriteTicket<'_>, Refused> {
        self.begin_write_of(key, |bucket| Ok(Rows::One(Touched::new(key, row, bucket)?))).await
    }

    /// Begins a write of a row whose key the authority makes (R17): see [`WriteTicket::mirrored_new`].
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn begin_write_of_new(&self, key: &(impl Key + ?Sized)) -> Result<WriteTicket<'_>, Refused> {
        self.begin_write_of(key, |bucket| Ok(Rows::ToCome { key: KeyText::of(key), bucket })).await
    }

    #[inline]
    async fn begin_write_of(
        &self,
        key: &(impl Key + ?Sized),
        rows: impl Fn(Bucket) -> Result<Rows, MissingKey>,
    ) -> Result<WriteTicket<'_>, Refused> {
        self.parts.stats.count(Counter::Writes);
        let mut waiting = None;
        loop {
            let epoch = self.enter()?;
            let decision = key.with_text(|text| CohortKey::new(text).map(|key| epoch.plan.decide(key)))?;
            if decision.held && !broken::holds_are_ignored() {
                self.wait_for_move(epoch, &mut waiting).await?;
                continue;
            }
            let route = decision.stage.write_route();
            let rows = match route.secondary {
                None => Rows::NotMirrored,
                Some(_) => rows(decision.bucket)?,
            };
            return Ok(WriteTicket::new(self, epoch, route, rows, Some(decision.bucket)));
        }
    }

    /// Begins a write over several keys: one part for each way in which its keys are routed (R18).
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn split_write<K: Key, R: Key>(
        &self,
        rows: impl IntoIterator<Item = (K, R)>,
    ) -> Result<Vec<Part<WriteTicket<'_>>>, Refused> {
        self.parts.stats.count(Counter::Writes);
        let rows: Vec<(K, R)> = rows.into_iter().collect();
        let mut waiting = None;
        loop {
            // One epoch for all keys: waiting for one while holding another would hold up the move itself.
            let epoch = self.enter()?;
            let mut groups: Vec<(WriteRoute, Vec<usize>)> = Vec::new();
            let mut touched = Vec::with_capacity(rows.len());
            let mut held = false;
            for (place, (key, row)) in rows.iter().enumerate() {
                let decision = key.with_text(|text| CohortKey::new(text).map(|key| epoch.plan.decide(key)))?;
                held |= decision.held;
                group(&mut groups, decision.stage.write_route(), place);
                touched.push(Some(Touched::new(key, row, decision.bucket)?));
            }
            if held {
                self.wait_for_move(epoch, &mut waiting).await?;
                continue;
            }
            let part = |(route, places): (WriteRoute, Vec<usize>)| {
                // Every place is in one group.
                let rows = match route.secondary {
                    None => Rows::NotMirrored,
                    Some(_) => Rows::Many(places.iter().filter_map(|place| touched[*place].take()).collect()),
                };
                Part { ticket: WriteTicket::new(self, Arc::clone(&epoch), route, rows, None), places }
            };
            return Ok(groups.into_iter().map(part).collect());
        }
    }

    /// Begins a write that cannot be split by key (R18); waits, bounded, while authority moves for any key.
    ///
    /// # Errors
    /// [`Refused::Held`] and [`Refused::Straddling`]; nothing was written.
    pub async fn begin_whole_write(&self) -> Result<WriteTicket<'_>, Refused> {
        self.parts.stats.count(Counter::Writes);
        let mut waiting = None;
        loop {
            let epoch = self.enter()?;
            one_authority(&epoch)?;
            let (_, route, held) = epoch.plan.decide_whole();
            if held {
                self.wait_for_move(epoch, &mut waiting).await?;
                continue;
            }
            let rows = if route.secondary.is_some() { Rows::Unknown } else { Rows::NotMirrored };
            return Ok(WriteTicket::new(self, epoch, route, rows, None));
        }
    }

    /// Begins a write inside a transaction of the caller's (R19): prepare, commit, then mirror.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn prepare(&self, key: &(impl Key + ?Sized), row: &(impl Key + ?Sized)) -> Result<Prepared, Refused> {
        Ok(self.begin_write(key, row).await?.prepared())
    }

    /// One row of a transaction that writes several: see [`Migration::prepare_all`].
    ///
    /// # Errors
    /// [`MissingKey`] when a key is missing (R13).
    pub fn row(&self, key: &(impl Key + ?Sized), row: &(impl Key + ?Sized)) -> Result<GroupRow, MissingKey> {
        let key = key.with_text(|text| CohortKey::new(text).map(|_| KeyText::from(text)))?;
        Ok(GroupRow { operation: self.clone(), key, row: KeyText::of_row(row)? })
    }

    /// Returns at the next plan.
    #[cold]
    async fn wait_for_move(&self, epoch: Arc<Epoch>, waiting: &mut Option<Instant>) -> Result<(), Refused> {
        let bound = epoch.plan.options().hold_bound;
        let mut since = || {
            *waiting.get_or_insert_with(|| {
                self.parts.stats.count(Counter::Held);
                Instant::now()
            })
        };
        let until = || since() + bound;
        let waited = self.parts.inner.epochs.after(epoch, until).await;
        waited.map_err(|_| Refused::Held { waited: since().elapsed() })
    }
}

/// A row of a transaction that writes several. See [`Operation::row`].
#[derive(Debug, Clone)]
pub struct GroupRow {
    operation: Operation,
    key: KeyText,
    row: KeyText,
}

impl Migration {
    /// Begins the writes of several rows, of one table or of several, inside one transaction of the caller's (R19): one
    /// decision for all of them. Prepare, then begin the transaction on [`PreparedGroup::authority`], commit, then mirror.
    ///
    /// Waits, bounded, while authority moves for any of the keys (R4). Preparing the rows one after the other would stall
    /// a cut-over until its bound: the first would hold the plan that the second waits to be replaced. Cancel safe.
    ///
    /// ```
    /// # use crossfade::{Migration, Stage, plan, unknown_effect};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let migration = Migration::builder("shop").plan(plan::fixed(Stage::Shadow)).build().await?;
    /// let (orders, stock) = (migration.table("orders").operation("place"), migration.table("stock").operation("take"));
    /// let group = migration.prepare_all([orders.row("user-1", &42u64)?, stock.row("user-1", &7u64)?]).await?;
    /// // … one transaction on `group.authority()`; after its commit:
    /// group.mirror(unknown_effect::<std::io::Error>, |place, side| async move {
    ///     // write row number `place` on `side`
    /// #   let _ = (place, side);
    ///     Ok(())
    /// }).await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Refused`]; nothing was written. [`Refused::Straddling`] when some keys are past the cut-over and some are not: no
    /// transaction spans two databases, so that such a group waits for the end of the ramp.
    pub async fn prepare_all(&self, rows: impl IntoIterator<Item = GroupRow>) -> Result<PreparedGroup, Refused> {
        let rows: Vec<GroupRow> = rows.into_iter().collect();
        if rows.iter().any(|row| !Arc::ptr_eq(row.operation.inner(), &self.inner)) {
            return Err(Refused::OtherMigration);
        }
        for row in &rows {
            row.operation.stats().count(Counter::Writes);
        }
        let mut waiting = None;
        loop {
            let epoch = self.inner.epochs.enter();
            if epoch.is_closed() {
                return Err(Refused::Left);
            }
            let mut decided = Vec::with_capacity(rows.len());
            for row in &rows {
                decided.push(epoch.plan.decide(CohortKey::new(row.key.as_str())?));
            }
            if let (Some(first), true) = (rows.first(), decided.iter().any(|decision| decision.held)) {
                first.operation.wait_for_move(epoch, &mut waiting).await?;
                continue;
            }
            let authority = decided.first().map(|decision| decision.stage.authority());
            if decided.iter().any(|decision| Some(decision.stage.authority()) != authority) {
                return Err(Refused::Straddling);
            }
            let parts = rows.into_iter().zip(decided).map(|(row, decision)| {
                let GroupRow { operation, key, row } = row;
                let route = decision.stage.write_route();
                let touched = match route.secondary {
                    None => Rows::NotMirrored,
                    Some(_) => Rows::One(Touched::named(key, row, decision.bucket)),
                };
                Prepared::new(&operation, Arc::clone(&epoch), route, touched, Some(decision.bucket))
            });
            let authority = authority.unwrap_or_else(|| epoch.plan.position().stage().authority());
            return Ok(PreparedGroup::new(authority, parts.collect()));
        }
    }
}

/// A plan that says `whole` never has two; one that forgot it must not answer for half of the keys.
fn one_authority(epoch: &Epoch) -> Result<(), Refused> {
    let (earlier, later) = epoch.plan.position().occupied();
    if earlier.authority() == later.authority() { Ok(()) } else { Err(Refused::Straddling) }
}

fn group<Route: PartialEq>(groups: &mut Vec<(Route, Vec<usize>)>, route: Route, place: usize) {
    match groups.iter_mut().find(|(known, _)| *known == route) {
        Some((_, places)) => places.push(place),
        None => groups.push((route, vec![place])),
    }
}

/// Whether this call belongs to the share.
#[inline]
pub(crate) fn sampled(share: Share) -> bool {
    if share == Share::ALL {
        return true;
    }
    if share == Share::NONE {
        return false;
    }
    Bucket::of_hash(drawn()).number() < share.buckets()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_drawn_about_as_often_as_it_says() {
        let quarter = Share::from_buckets(25_000).unwrap_or_default();
        let drawn = (0..40_000).filter(|_| sampled(quarter)).count();
        assert!((9_000..11_000).contains(&drawn), "{drawn}");
        assert!(sampled(Share::ALL) && !sampled(Share::NONE));
    }
}
