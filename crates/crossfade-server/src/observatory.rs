//! What heartbeats say, kept in memory: who was heard of, and what was seen. Losing it costs no promise, so it is
//! not in the log. Row values are here only while the plan shares those of samples: otherwise whatever an instance sends of
//! them is dropped, and what was kept goes with the plan that shared it.

use crate::law::Migration;
use crate::law::evidence::Presence;
use crossfade_api::wire::{
    Comparisons, LatencyDoc, MismatchSample, Observations, OperationDoc, OperationStatus, Progress, SideDoc, WindowDoc,
};
use crossfade_core::{SampleValues, Side};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much of the recent past is kept: windows of [`WINDOW`].
const WINDOWS: usize = 120;
/// The length of one.
pub const WINDOW: Duration = Duration::from_secs(5);
/// Samples of mismatches kept per migration.
const SAMPLES: usize = 50;
/// Operations known per migration; names beyond go under one name, so that a client cannot fill the memory.
const OPERATIONS: usize = 200;
/// Classes of errors known per side of an operation; those beyond, and those with a longer name, count as [`OTHER`].
const CLASSES: usize = 32;
/// The longest name of an operation, of a field that differed and of a digest, in characters.
const NAME: usize = 128;
/// The longest name of a class of errors, in bytes.
const CLASS: usize = 64;
/// Where errors of all other classes count.
const OTHER: &str = "other";
/// Fields that a sample names at most.
const FIELDS: usize = 64;
/// The longest note of a run's progress, in characters.
const NOTE: usize = 256;
/// The longest text of a value in a sample, in characters; the library sends a thousand and a mark of the cut.
const VALUE: usize = 1_001;
/// For so long an OFREP evaluation counts as "lately".
const OFREP_LATELY: Duration = Duration::from_secs(600);

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// One instance, as it was heard.
#[derive(Debug, Clone)]
struct Heard {
    last: Option<Instant>,
    sequence: u64,
    streams: u32,
    progress: Option<Progress>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    at_ms: u64,
    seen: Observations,
}

#[derive(Debug, Default)]
struct Place {
    instances: HashMap<String, Heard>,
    windows: VecDeque<Window>,
    totals: Observations,
    evaluated: Evaluated,
    /// What the plan in force says of the values of samples.
    sample_values: SampleValues,
}

/// When flags of a migration were last evaluated over OFREP. Every evaluation says so, hence without a lock.
#[derive(Debug, Clone)]
pub struct Evaluated {
    began: Instant,
    /// Milliseconds from then on, and one more; none yet is 0.
    last: Arc<AtomicU64>,
}

impl Evaluated {
    /// Never so far.
    #[must_use]
    pub fn never() -> Evaluated {
        Evaluated { began: Instant::now(), last: Arc::default() }
    }

    /// It happens now.
    pub fn now(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        // Thousands a millisecond share a word: it is written once.
        if self.last.load(Ordering::Relaxed) < now {
            self.last.store(now, Ordering::Relaxed);
        }
    }

    fn lately(&self) -> bool {
        match self.last.load(Ordering::Relaxed).checked_sub(1) {
            Some(at) => self.began.elapsed().saturating_sub(Duration::from_millis(at)) < OFREP_LATELY,
            None => false,
        }
    }
}

impl Default for Evaluated {
    fn default() -> Evaluated {
        Evaluated::never()
    }
}

/// What was heard of one instance.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    /// How long ago.
    pub heard_ago: Duration,
    /// A plan stream is open.
    pub connected: bool,
    /// How far a run is.
    pub progress: Option<Progress>,
}

/// The memory of all heartbeats.
#[derive(Debug)]
pub struct Observatory {
    began: Instant,
    silent_after: Duration,
    places: Mutex<HashMap<String, Place>>,
}

impl Observatory {
    /// Empty; an instance counts as silent after this time.
    #[must_use]
    pub fn new(silent_after: Duration) -> Observatory {
        Observatory { began: Instant::now(), silent_after, places: Mutex::default() }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was heard of an instance. Returns whether it was the first time in this life of the plane.
    pub fn heard(&self, migration: &str, instance: &str) -> bool {
        let mut places = self.places();
        let heard = places.entry(migration.to_owned()).or_default().instance(instance);
        let first = heard.last.is_none();
        heard.last = Some(Instant::now());
        first
    }

    /// A heartbeat of an instance that was heard of before; what was seen is counted once per sequence number.
    /// `false` when it was not heard of in this life: the log has to be asked whether it is known.
    #[must_use]
    pub fn heartbeat(
        &self,
        migration: &str,
        instance: &str,
        sequence: u64,
        seen: &Observations,
        progress: Option<&Progress>,
    ) -> bool {
        let mut places = self.places();
        let Some(place) = places.get_mut(migration) else { return false };
        let Some(heard) = place.instances.get_mut(instance) else { return false };
        heard.last = Some(Instant::now());
        if progress.is_some() {
            heard.progress = progress.map(|told| Progress { note: cut(&told.note, NOTE), ..told.clone() });
        }
        if sequence > heard.sequence {
            heard.sequence = sequence;
            place.observe(seen);
        }
        true
    }

    /// What an instance saw, outside a heartbeat: at its end.
    pub fn observe(&self, migration: &str, seen: &Observations) {
        self.places().entry(migration.to_owned()).or_default().observe(seen);
    }

    /// A plan stream was opened or closed.
    pub fn stream(&self, migration: &str, instance: &str, opened: bool) {
        let mut places = self.places();
        let heard = places.entry(migration.to_owned()).or_default().instance(instance);
        heard.streams = if opened { heard.streams + 1 } else { heard.streams.saturating_sub(1) };
        heard.last = Some(Instant::now());
    }

    /// An instance is no more.
    pub fn forget(&self, migration: &str, instance: &str) {
        if let Some(place) = self.places().get_mut(migration) {
            place.instances.remove(instance);
        }
    }

    /// The plan in force says this of the values of samples. Those that were kept are forgotten when it withholds them.
    pub fn share_values(&self, migration: &str, sample_values: SampleValues) {
        let mut places = self.places();
        let place = places.entry(migration.to_owned()).or_default();
        place.sample_values = sample_values;
        if sample_values.are_withheld() {
            place.totals.mismatches.iter_mut().for_each(|sample| sample.values = None);
        }
    }

    /// Where evaluations over OFREP are noted.
    #[must_use]
    pub fn evaluated(&self, migration: &str) -> Evaluated {
        self.places().entry(migration.to_owned()).or_default().evaluated.clone()
    }

    /// Who is silent, and who was not heard of in this life.
    #[must_use]
    pub fn presence(&self, id: &str, migration: &Migration) -> Presence {
        let places = self.places();
        let place = places.get(id);
        let mut presence = Presence {
            unacknowledged_clients: place.is_some_and(|place| place.evaluated.lately()),
            ..Presence::default()
        };
        for instance in migration.instances.keys() {
            let last = place.and_then(|place| place.instances.get(instance)).and_then(|heard| heard.last);
            if last.is_none() {
                presence.unheard.insert(instance.clone());
            }
            if last.unwrap_or(self.began).elapsed() > self.silent_after {
                presence.silent.insert(instance.clone());
            }
        }
        presence
    }

    /// What was heard of these instances.
    #[must_use]
    pub fn contacts<'a>(&self, id: &str, instances: impl Iterator<Item = &'a String>) -> Vec<Contact> {
        let places = self.places();
        let place = places.get(id);
        instances
            .map(|instance| {
                let heard = place.and_then(|place| place.instances.get(instance));
                Contact {
                    heard_ago: heard.and_then(|heard| heard.last).unwrap_or(self.began).elapsed(),
                    connected: heard.is_some_and(|heard| heard.streams > 0),
                    progress: heard.and_then(|heard| heard.progress.clone()),
                }
            })
            .collect()
    }

    /// Operations of the last minute, the recent past, and samples of mismatches.
    #[must_use]
    pub fn recent(&self, id: &str) -> (Vec<OperationStatus>, Vec<WindowDoc>, Vec<MismatchSample>) {
        let mut places = self.places();
        let Some(place) = places.get_mut(id) else { return Default::default() };
        place.turn();
        let minute = place.since(Duration::from_secs(60));
        let operations = minute.operations.iter().map(|(name, seen)| OperationStatus {
            operation: name.clone(),
            source: latency(&seen.source),
            target: latency(&seen.target),
            comparisons: seen.comparisons,
        });
        let windows = place.windows.iter().map(|window| {
            let all = everything(&window.seen);
            WindowDoc {
                at_ms: window.at_ms,
                source: latency(&all.source),
                target: latency(&all.target),
                comparisons: all.comparisons,
            }
        });
        (operations.collect(), windows.collect(), place.totals.mismatches.clone())
    }

    /// All operations together, over the last while.
    #[must_use]
    pub fn since(&self, id: &str, age: Duration) -> OperationDoc {
        self.places().get(id).map(|place| everything(&place.since(age))).unwrap_or_default()
    }

    /// Everything seen in this life of the plane.
    #[must_use]
    pub fn totals(&self, id: &str) -> Observations {
        self.places().get(id).map(|place| place.totals.clone()).unwrap_or_default()
    }
}

impl Place {
    fn instance(&mut self, instance: &str) -> &mut Heard {
        let unknown = Heard { last: None, sequence: 0, streams: 0, progress: None };
        self.instances.entry(instance.to_owned()).or_insert(unknown)
    }

    /// Closes the window that is over.
    fn turn(&mut self) {
        if self.windows.back().is_none_or(|window| window.began.elapsed() >= WINDOW) {
            self.windows.push_back(Window { began: Instant::now(), at_ms: now_ms(), seen: Observations::default() });
        }
        while self.windows.len() > WINDOWS {
            self.windows.pop_front();
        }
    }

    fn observe(&mut self, seen: &Observations) {
        self.turn();
        let Place { windows, totals, sample_values, .. } = self;
        let mut window = windows.back_mut();
        for (name, doc) in &seen.operations {
            let known = totals.operations.contains_key(name) || totals.operations.len() < OPERATIONS;
            let name = if known && name.len() <= NAME { name.as_str() } else { "(others)" };
            let doc = bounded(totals.operations.get(name), doc);
            totals.merge_operation(name, &doc);
            if let Some(window) = &mut window {
                window.seen.merge_operation(name, &doc);
            }
        }
        // An instance may hold an older plan, or say what it likes: the plan in force decides.
        let tidied = |sample: &MismatchSample| MismatchSample {
            at_ms: sample.at_ms,
            operation: cut(&sample.operation, NAME),
            key_digest: cut(&sample.key_digest, NAME),
            fields: sample.fields.iter().take(FIELDS).map(|field| cut(field, NAME)).collect(),
            values: match sample_values {
                SampleValues::Withheld => None,
                SampleValues::Shared => {
                    sample.values.as_ref().map(|values| values.each_ref().map(|text| cut(text, VALUE)))
                }
            },
        };
        let mismatches = seen.mismatches.iter().rev().take(SAMPLES).rev().map(tidied).collect();
        totals.merge(&Observations { mismatches, ..Observations::default() }, SAMPLES);
    }

    fn since(&self, age: Duration) -> Observations {
        let mut sum = Observations::default();
        for window in self.windows.iter().rev().take_while(|window| window.began.elapsed() <= age + WINDOW) {
            sum.merge(&window.seen, 0);
        }
        sum
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// What was seen of an operation, with as many classes of errors as are kept beside those that are known.
fn bounded<'a>(known: Option<&OperationDoc>, seen: &'a OperationDoc) -> Cow<'a, OperationDoc> {
    let sides = [Side::Source, Side::Target];
    let is_known = |side: Side, class: &String| known.is_some_and(|known| known.side(side).errors.contains_key(class));
    if sides.iter().all(|side| seen.side(*side).errors.keys().all(|class| is_known(*side, class))) {
        return Cow::Borrowed(seen);
    }
    let mut kept = seen.clone();
    for side in sides {
        let mut room = CLASSES.saturating_sub(known.map_or(0, |known| known.side(side).errors.len()));
        let errors = match side {
            Side::Source => &mut kept.source.errors,
            Side::Target => &mut kept.target.errors,
        };
        errors.clear();
        for (class, count) in &seen.side(side).errors {
            let fits = is_known(side, class) || class.len() <= CLASS && room > 0;
            if fits && !is_known(side, class) {
                room -= 1;
            }
            let sum = errors.entry(if fits { class.clone() } else { OTHER.to_owned() }).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
    Cow::Owned(kept)
}

fn everything(seen: &Observations) -> OperationDoc {
    let mut sum = OperationDoc::default();
    for doc in seen.operations.values() {
        sum.merge(doc);
    }
    sum
}

/// A side in five numbers.
#[must_use]
pub fn latency(side: &SideDoc) -> LatencyDoc {
    LatencyDoc {
        calls: side.latency_us.count(),
        errors: side.errors.values().fold(0, |sum, count| sum.saturating_add(*count)),
        p50_us: side.latency_us.quantile(0.5),
        p99_us: side.latency_us.quantile(0.99),
    }
}

/// What was compared, as a share that differed, in thousandths; none when nothing was.
#[must_use]
pub fn mismatch_permille(comparisons: &Comparisons) -> Option<u64> {
    comparisons.mismatched.saturating_mul(1_000).checked_div(comparisons.compared)
}

/// By error class, for `/metrics`.
#[must_use]
pub fn errors(side: &SideDoc) -> &BTreeMap<String, u64> {
    &side.errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(source: &str) -> Observations {
        let values = Some([source.to_owned(), "bob".to_owned()]);
        let sample = MismatchSample { key_digest: "9f".to_owned(), values, ..MismatchSample::default() };
        Observations { mismatches: vec![sample], ..Observations::default() }
    }

    fn kept(observatory: &Observatory) -> Vec<Option<String>> {
        let (_, _, samples) = observatory.recent("events");
        let totals = observatory.totals("events").mismatches;
        assert_eq!(samples, totals);
        samples.into_iter().map(|sample| sample.values.map(|[source, _]| source)).collect()
    }

    #[test]
    fn row_values_that_an_instance_sends_are_kept_only_while_the_plan_shares_them() {
        let observatory = Observatory::new(Duration::from_secs(1));
        observatory.observe("events", &seen("alice"));
        assert_eq!(kept(&observatory), [None], "nobody opted in");
        observatory.share_values("events", SampleValues::Shared);
        observatory.observe("events", &seen("carol"));
        assert_eq!(kept(&observatory), [None, Some("carol".to_owned())]);
        observatory.share_values("events", SampleValues::Withheld);
        assert_eq!(kept(&observatory), [None, None], "what was kept is forgotten");
        observatory.observe("events", &seen("dave"));
        assert_eq!(kept(&observatory), [None, None, None]);
    }

    fn failed(classes: impl Iterator<Item = String>) -> Observations {
        let errors: BTreeMap<String, u64> = classes.map(|class| (class, 1)).collect();
        let side = SideDoc { errors, ..SideDoc::default() };
        let doc = OperationDoc { target: side, ..OperationDoc::default() };
        Observations { operations: [("record".to_owned(), doc)].into(), ..Observations::default() }
    }

    #[test]
    fn classes_of_errors_are_bounded_and_every_error_is_counted() {
        let observatory = Observatory::new(Duration::from_secs(1));
        let class = |n: usize| format!("e{n:04}");
        let kept = || observatory.totals("events").operations["record"].target.errors.clone();
        observatory.observe("events", &failed((0..CLASSES).map(class)));
        assert_eq!((kept().len(), kept().get(OTHER)), (CLASSES, None), "as many as are kept");
        observatory.observe("events", &failed((0..=CLASSES).map(class)));
        assert_eq!((kept().len(), kept().get(OTHER)), (CLASSES + 1, Some(&1)), "one more");
        observatory.observe("events", &failed((0..10_000).map(class)));
        observatory.observe("events", &failed(std::iter::once("x".repeat(CLASS + 1))));
        let counted = kept();
        assert_eq!(counted.len(), CLASSES + 1);
        assert_eq!(counted[&class(0)], 3);
        assert_eq!(counted.values().sum::<u64>() as usize, CLASSES + CLASSES + 1 + 10_000 + 1, "none is lost");
        assert!(counted.keys().all(|class| class.len() <= CLASS));
        let window = observatory.since("events", Duration::from_secs(60));
        assert_eq!(window.target.errors, counted);
    }

    #[test]
    fn the_first_of_too_many_classes_with_too_long_a_name_takes_no_room() {
        let observatory = Observatory::new(Duration::from_secs(1));
        let long = |n: usize| format!("{n:04}{}", "x".repeat(CLASS));
        observatory.observe("events", &failed((0..1_000).map(long).chain(["timeout".to_owned()])));
        let kept = observatory.totals("events").operations["record"].target.errors.clone();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [(OTHER.to_owned(), 1_000), ("timeout".to_owned(), 1)]);
    }

    #[test]
    fn names_in_samples_are_cut() {
        let observatory = Observatory::new(Duration::from_secs(1));
        let long = "é".repeat(10_000);
        let (operation, key_digest, fields) = (long.clone(), long.clone(), vec![long; 1_000]);
        let sample = MismatchSample { operation, key_digest, fields, ..MismatchSample::default() };
        observatory.observe("events", &Observations { mismatches: vec![sample], ..Observations::default() });
        let (_, _, samples) = observatory.recent("events");
        let length = |text: &String| text.chars().count();
        assert_eq!((length(&samples[0].operation), length(&samples[0].key_digest)), (NAME, NAME));
        assert_eq!((samples[0].fields.len(), length(&samples[0].fields[0])), (FIELDS, NAME));
    }

    #[test]
    fn a_value_is_cut_and_samples_are_bounded() {
        let observatory = Observatory::new(Duration::from_secs(1));
        observatory.share_values("events", SampleValues::Shared);
        for _ in 0..SAMPLES + 1 {
            observatory.observe("events", &seen(&"é".repeat(VALUE + 1)));
        }
        assert_eq!(kept(&observatory), vec![Some("é".repeat(VALUE)); SAMPLES]);
    }
}
