//! Who is measured: the DAO itself, the DAO that crossfade generates, crossfade's tickets, scientisto, a bare task.

use super::dao::{Dao, Event, EventDao, EventError, MigratingEventDao, Pace, user_of};
use crate::measure::used;
use crossfade::{Effect, Migration, Mirror, Operation, Plan, PlanSpec, Position, Share, Side, Stage, compare, plan};
use scientisto::AsyncExperiment;
use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

/// One caller of a subject, on a task of its own.
pub(crate) trait Caller: Send + 'static {
    /// A read for the user of the operation with this number.
    fn read(&mut self, number: u64) -> impl Future<Output = ()> + Send;
    /// A write of the event with this number.
    fn write(&mut self, number: u64) -> impl Future<Output = ()> + Send;
}

/// The DAO itself: what everything is measured above.
#[derive(Clone, Copy)]
pub(crate) struct Direct<P>(pub(crate) P);

impl<P: Pace + Copy> Caller for Direct<P> {
    async fn read(&mut self, number: u64) {
        let dao = Dao(self.0);
        used(dao.total_of(black_box(user_of(number))).await);
    }

    async fn write(&mut self, number: u64) {
        let dao = Dao(self.0);
        used(dao.record(black_box(&Event::numbered(number))).await);
    }
}

/// What users pay: the DAO made by `#[crossfade::dao]`.
pub(crate) struct Generated<S, T>(pub(crate) std::sync::Arc<MigratingEventDao<Dao<S>, Dao<T>>>);

impl<S, T> Clone for Generated<S, T> {
    fn clone(&self) -> Self {
        Generated(self.0.clone())
    }
}

impl<S: Pace, T: Pace> Caller for Generated<S, T> {
    async fn read(&mut self, number: u64) {
        used(self.0.total_of(black_box(user_of(number))).await);
    }

    async fn write(&mut self, number: u64) {
        used(self.0.record(black_box(&Event::numbered(number))).await);
    }
}

/// The tickets on which that DAO stands, used by hand.
pub(crate) struct Tickets<P> {
    reads: Operation,
    writes: Operation,
    pace: P,
}

impl<P: Clone> Clone for Tickets<P> {
    fn clone(&self) -> Self {
        Tickets { reads: self.reads.clone(), writes: self.writes.clone(), pace: self.pace.clone() }
    }
}

impl<P: Pace + Copy> Tickets<P> {
    pub(crate) fn new(migration: &Migration, pace: P) -> Tickets<P> {
        Tickets { reads: migration.operation("read"), writes: migration.operation("write"), pace }
    }
}

fn refused(_: &EventError) -> Effect {
    Effect::Refused
}

impl<P: Pace + Copy> Caller for Tickets<P> {
    async fn read(&mut self, number: u64) {
        let user = black_box(user_of(number));
        let Ok(ticket) = self.reads.begin_read(&user) else { return };
        let dao = Dao(self.pace);
        let answer = if ticket.is_compared() {
            let again = move |_: Side| async move { dao.total_of(user).await };
            ticket.compared(compare::equality(), dao.total_of(user), again).await
        } else {
            ticket.single(dao.total_of(user)).await
        };
        used(answer);
    }

    async fn write(&mut self, number: u64) {
        let event = Event::numbered(number);
        let event = black_box(&event);
        let Ok(ticket) = self.writes.begin_write(&event.user_id, &event.id).await else { return };
        let dao = Dao(self.pace);
        let answer = if ticket.is_mirrored() {
            let copy = event.clone();
            let mirror = move |_: &(), _: Side| async move { dao.record(&copy).await };
            ticket.mirrored(Mirror::State, refused, dao.record(event), mirror).await
        } else {
            ticket.single(refused, dao.record(event)).await
        };
        used(answer);
    }
}

/// Scientisto knows no flags and no writes: both sides are read, always, on the caller's task.
#[derive(Clone, Copy)]
pub(crate) struct Scientisto<P>(pub(crate) P);

impl<P: Pace + Copy> Caller for Scientisto<P> {
    async fn read(&mut self, number: u64) {
        let (dao, user) = (Dao(self.0), black_box(user_of(number)));
        let answer = AsyncExperiment::new("events_of")
            .control(async { dao.total_of(user).await.ok() })
            .experiment(async { dao.total_of(user).await.ok() })
            .publish(|seen| {
                used(seen.is_matching());
            })
            .run()
            .await;
        used(answer);
    }

    async fn write(&mut self, _: u64) {}
}

/// The least that a bounded secondary call on a task of its own can cost.
#[derive(Clone, Copy)]
pub(crate) struct BareTask;

impl Caller for BareTask {
    async fn read(&mut self, number: u64) {
        used(tokio::spawn(async move { black_box(number) }));
    }

    async fn write(&mut self, number: u64) {
        let task = tokio::spawn(async move { black_box(number) });
        used(tokio::time::timeout(Duration::from_millis(50), task).await);
    }
}

/// A plan with an open ramp whose keys all stand at `stage`: every operation pays for hashing and comparing.
pub(crate) fn ramped(stage: Stage) -> anyhow::Result<Plan> {
    let position = match (stage.edge(), Stage::RampDown.edge()) {
        (Some(edge), _) => Position::ramping(edge, Share::NONE),
        (None, Some(last)) => Position::ramping(last, Share::ALL),
        (None, None) => Position::at(stage),
    };
    Ok(Plan::new(PlanSpec::at("events", stage))?.settled_at(position)?)
}

/// A migration at one stage, as a user builds it, with default options.
pub(crate) async fn migration(stage: Stage) -> anyhow::Result<Migration> {
    Ok(Migration::builder("events").plan(plan::fixed(ramped(stage)?)).build().await?)
}

/// The generated DAO over two of a pace.
pub(crate) fn generated<S: Pace, T: Pace>(source: S, target: T, migration: &Migration) -> Generated<S, T> {
    Generated(std::sync::Arc::new(MigratingEventDao::new(Dao(source), Dao(target), migration.clone())))
}
