//! Marks: what is set while a repair runs stays, no repairer sleeps through one, and a row that neither is marked nor
//! has a write under way is equal on both sides.

use crate::in_flight::InFlight;
use crate::marks::{Marks, RowRef};
use crate::sync::AtomicU32;
use crossfade_core::{Bucket, MarkReason};
use shuttle::future::{block_on, spawn};
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One row on two sides, with what the library knows of it.
#[derive(Debug)]
struct World {
    bucket: Bucket,
    authority: AtomicU32,
    copy: AtomicU32,
    marks: Marks,
    in_flight: InFlight,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            bucket: Bucket::of_hash(0),
            authority: AtomicU32::new(0),
            copy: AtomicU32::new(0),
            marks: Marks::new(9),
            in_flight: InFlight::new(),
        })
    }

    /// A dual write whose secondary part fails: as `write/settle.rs` has it, the mark comes before the end.
    fn write_half(&self, value: u32) {
        self.in_flight.begin(self.bucket);
        self.authority.store(value, Ordering::SeqCst);
        let row = RowRef { table: 0, row: "a", key: "u1", bucket: self.bucket, fence: 0 };
        assert!(self.marks.set(&row, MarkReason::SecondaryFailed, Duration::ZERO).is_ok());
        self.in_flight.end(self.bucket);
    }

    fn equal(&self) -> bool {
        self.authority.load(Ordering::SeqCst) == self.copy.load(Ordering::SeqCst)
    }

    /// Copies the truth of every mark that is due (R6).
    fn repair(&self) {
        for due in self.marks.due(9).0 {
            self.copy.store(self.authority.load(Ordering::SeqCst), Ordering::SeqCst);
            self.marks.clear(&due);
        }
    }
}

/// Writes fail on the secondary while a repairer clears marks: a row that differs is marked, at every end.
pub fn a_mark_set_during_a_repair_is_never_cleared() {
    let world = World::new();
    let threads = [1, 2].map(|value| {
        let world = Arc::clone(&world);
        thread::spawn(move || world.write_half(value))
    });
    let repairer = {
        let world = Arc::clone(&world);
        thread::spawn(move || (0..3).for_each(|_| world.repair()))
    };
    for thread in threads.into_iter().chain([repairer]) {
        assert!(thread.join().is_ok());
    }
    assert!(world.equal() || world.marks.count() == 1, "the sides differ, and no mark says so");
}

/// The repairer's loop, as in `repair/repairer.rs`: it comes to rest only when nothing is marked any more.
pub fn a_repairer_sleeps_through_no_mark() {
    block_on(async {
        let world = World::new();
        let repairer = {
            let world = Arc::clone(&world);
            spawn(async move {
                let mut cleared = 0;
                while cleared < 2 || world.marks.count() > 0 {
                    let mut changed = world.marks.watch();
                    changed.mark_unchanged();
                    let (due, next) = world.marks.due(9);
                    for due in &due {
                        cleared = world.authority.load(Ordering::SeqCst);
                        world.copy.store(cleared, Ordering::SeqCst);
                        world.marks.clear(due);
                    }
                    // A mark that is due in a moment wakes the repairer by its timer.
                    if due.is_empty() && next.is_none() && cleared < 2 {
                        assert!(changed.changed().await.is_ok());
                    }
                }
            })
        };
        let writer = Arc::clone(&world);
        let writer = thread::spawn(move || [1, 2].map(|value| writer.write_half(value)));
        assert!(repairer.await.is_ok());
        assert!(writer.join().is_ok());
        assert!(world.equal());
    });
}

/// What a comparison asks before it counts a difference: no write under way, then no mark. Both quiet, before and after
/// the two sides were read, means that a difference is real.
pub fn a_quiet_row_without_a_mark_is_equal() {
    let world = World::new();
    let writer = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.write_half(1))
    };
    let quiet = || world.in_flight.is_quiet(world.bucket) && world.marks.is_quiet(world.bucket);
    let (before, equal, after) = (quiet(), world.equal(), quiet());
    assert!(equal || !before || !after, "a write half done was taken for a difference");
    assert!(writer.join().is_ok());
}
