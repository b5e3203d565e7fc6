//! The service's users: each writes and reads its own flight lines, in order, and knows what it must see.

use crossfade_example_events::{Event, EventDao, EventError, Flight, Line};
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// What is known of an event's last acknowledged write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// It was never written, or was removed.
    Absent = 0,
    /// Recorded when it was scheduled.
    Scheduled = 1,
    /// Amended when it had landed.
    Landed = 2,
    /// The last write was never acknowledged: either may be there.
    Unknown = 3,
}

/// Landings come this many flights after their schedule.
const LAG: usize = 400;

/// The flights, what has been acknowledged of them, and who works on what.
pub(crate) struct World {
    pub(crate) flights: Vec<Flight>,
    /// So many are history.
    pub(crate) history: usize,
    states: Vec<AtomicU8>,
    /// The flights of each line.
    lines: Vec<(Line, Vec<usize>)>,
    line_of: Vec<usize>,
    seconds: f64,
    users: usize,
}

/// One write of a user.
#[derive(Debug, Clone, Copy)]
enum Write {
    Record(usize),
    AmendOrRemove(usize),
}

impl World {
    pub(crate) fn new(flights: Vec<Flight>, seconds: f64, users: usize) -> World {
        let history = flights.len() / 6 * 5;
        let mut places: HashMap<&Line, usize> = HashMap::new();
        let mut lines: Vec<(Line, Vec<usize>)> = Vec::new();
        let mut line_of = Vec::with_capacity(flights.len());
        for (place, flight) in flights.iter().enumerate() {
            let line = *places.entry(&flight.event.line).or_insert_with(|| {
                lines.push((flight.event.line.clone(), Vec::new()));
                lines.len() - 1
            });
            if let Some((_, flights)) = lines.get_mut(line) {
                flights.push(place);
            }
            line_of.push(line);
        }
        let state = |(place, flight): (usize, &Flight)| {
            let past = place < history && !flight.cancelled;
            AtomicU8::new(if past { State::Landed } else { State::Absent } as u8)
        };
        let states = flights.iter().enumerate().map(state).collect();
        World { states, history, lines, line_of, seconds, users, flights }
    }

    /// The events that are in the source before the story begins.
    pub(crate) fn past(&self) -> Vec<Event> {
        let past = self.flights.iter().take(self.history);
        past.filter(|flight| !flight.cancelled).map(|flight| flight.event.clone()).collect()
    }

    /// What has to be stored of a flight; an error when nobody can know.
    pub(crate) fn expected(&self, place: usize) -> Result<Option<Event>, State> {
        let flight = &self.flights[place];
        match self.states[place].load(Ordering::SeqCst) {
            known if known == State::Absent as u8 => Ok(None),
            known if known == State::Scheduled as u8 => Ok(Some(flight.scheduled())),
            known if known == State::Landed as u8 => Ok(Some(flight.event.clone())),
            _ => Err(State::Unknown),
        }
    }

    fn set(&self, place: usize, state: State) {
        self.states[place].store(state as u8, Ordering::SeqCst);
    }

    /// A user's writes, in the order of the real events.
    fn writes_of(&self, user: usize) -> Vec<Write> {
        let mine = |place: &usize| self.line_of[*place] % self.users == user;
        let all = self.flights.len();
        (self.history..all + LAG)
            .flat_map(|place| {
                let record = Some(place).filter(|place| *place < all).map(Write::Record);
                let amend = place.checked_sub(LAG).filter(|place| *place >= self.history).map(Write::AmendOrRemove);
                [record, amend]
            })
            .flatten()
            .filter(|write| match write {
                Write::Record(place) | Write::AmendOrRemove(place) => mine(place),
            })
            .collect()
    }
}

/// What users experience, since the counts were last taken.
#[derive(Debug, Clone)]
pub(crate) struct Felt {
    pub(crate) since: Instant,
    pub(crate) reads: Histogram<u64>,
    pub(crate) writes: Histogram<u64>,
}

impl Felt {
    fn new() -> Felt {
        #[expect(clippy::expect_used, reason = "the bounds are constants")]
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 2).expect("lawful bounds");
        Felt { since: Instant::now(), reads: histogram(), writes: histogram() }
    }
}

/// What users do and have seen.
pub(crate) struct Traffic {
    order: watch::Sender<Order>,
    resting: Arc<AtomicU64>,
    users: u64,
    tasks: JoinSet<()>,
    pub(crate) seen: Arc<Seen>,
}

/// Counts over the whole story.
#[derive(Debug)]
pub(crate) struct Seen {
    felt: Mutex<Felt>,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) failed_writes: AtomicU64,
    pub(crate) failed_reads: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Go,
    Rest,
    End,
}

impl Traffic {
    /// Lets the users loose on a DAO.
    pub(crate) fn start<D: EventDao>(world: &Arc<World>, dao: &Arc<D>) -> Traffic {
        let (order, _) = watch::channel(Order::Go);
        let seen = Arc::new(Seen {
            felt: Mutex::new(Felt::new()),
            acknowledged: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            failed_writes: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
        });
        let resting = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for user in 0..world.users {
            let user = User {
                world: Arc::clone(world),
                dao: Arc::clone(dao),
                seen: Arc::clone(&seen),
                order: order.subscribe(),
                resting: Arc::clone(&resting),
                number: user,
            };
            tasks.spawn(user.live());
        }
        Traffic { order, resting, users: world.users as u64, tasks, seen }
    }

    /// Stops new operations and returns when none is under way.
    pub(crate) async fn rest(&self) {
        self.order.send_replace(Order::Rest);
        while self.resting.load(Ordering::SeqCst) < self.users {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn go_on(&self) {
        self.order.send_replace(Order::Go);
    }

    /// Ends the traffic; every operation that was begun has ended.
    pub(crate) async fn end(&mut self) {
        self.order.send_replace(Order::End);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Seen {
    /// What was felt since the last time it was taken.
    pub(crate) fn take(&self) -> Felt {
        std::mem::replace(&mut *self.felt.lock().unwrap_or_else(PoisonError::into_inner), Felt::new())
    }

    /// What was felt since then, so far.
    pub(crate) fn look(&self) -> Felt {
        self.felt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct User<D> {
    world: Arc<World>,
    dao: Arc<D>,
    seen: Arc<Seen>,
    order: watch::Receiver<Order>,
    resting: Arc<AtomicU64>,
    number: usize,
}

/// Tries of one write: its outcome is unknown after the last.
const TRIES: u32 = 20;

impl<D: EventDao> User<D> {
    async fn live(mut self) {
        let writes = self.world.writes_of(self.number);
        let lines: Vec<usize> =
            (0..self.world.lines.len()).filter(|line| line % self.world.users == self.number).collect();
        let pause = Duration::from_secs_f64(self.world.seconds / writes.len().max(1) as f64);
        let mut beat = tokio::time::interval(pause.max(Duration::from_micros(100)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = self.number;
        let mut writes = writes.into_iter();
        loop {
            beat.tick().await;
            let order = *self.order.borrow_and_update();
            match order {
                Order::Go => {}
                Order::End => return,
                Order::Rest => {
                    self.resting.fetch_add(1, Ordering::SeqCst);
                    // An error says that the story is over.
                    let over = self.order.changed().await.is_err();
                    self.resting.fetch_sub(1, Ordering::SeqCst);
                    if over {
                        return;
                    }
                    continue;
                }
            }
            if let Some(write) = writes.next() {
                self.write(write).await;
            }
            // Some line of one's own, in a changing order.
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if let Some(line) = lines.get((turn >> 33) % lines.len().max(1)) {
                self.read(*line).await;
            }
        }
    }

    async fn write(&self, write: Write) {
        let (place, after) = match write {
            Write::Record(place) => (place, State::Scheduled),
            Write::AmendOrRemove(place) if self.world.flights[place].cancelled => (place, State::Absent),
            Write::AmendOrRemove(place) => (place, State::Landed),
        };
        let flight = &self.world.flights[place];
        for _ in 0..TRIES {
            let began = Instant::now();
            let written: Result<(), EventError> = match after {
                State::Absent | State::Unknown => self.dao.remove(&flight.event.key()).await,
                State::Scheduled => self.dao.record(&flight.scheduled()).await,
                State::Landed => self.dao.record(&flight.event).await,
            };
            self.felt(|felt| &mut felt.writes, began);
            if written.is_ok() {
                self.world.set(place, after);
                self.seen.acknowledged.fetch_add(1, Ordering::SeqCst);
                return;
            }
            self.world.set(place, State::Unknown);
            self.seen.failed_writes.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Nobody else writes this line: a read that differs from what was acknowledged is stale.
    async fn read(&self, line: usize) {
        let (line, places) = &self.world.lines[line];
        let began = Instant::now();
        let answer = self.dao.events_of(line).await;
        self.felt(|felt| &mut felt.reads, began);
        let Ok(mut events) = answer else {
            self.seen.failed_reads.fetch_add(1, Ordering::SeqCst);
            return;
        };
        events.sort_by_key(|event| event.id);
        let expected: Result<Vec<Event>, State> =
            places.iter().map(|place| self.world.expected(*place)).filter_map(Result::transpose).collect();
        if expected.is_ok_and(|expected| expected != events) {
            self.seen.stale.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn felt(&self, which: impl FnOnce(&mut Felt) -> &mut Histogram<u64>, began: Instant) {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        which(&mut self.seen.felt.lock().unwrap_or_else(PoisonError::into_inner)).saturating_record(micros);
    }
}
