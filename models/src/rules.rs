//! The rules of the protocol as switches. A switch drops one clause of a rule; the checker must then find a run that
//! breaks a promise.

use std::fmt;

macro_rules! rules {
    ($($name:ident = $number:literal $slug:literal, $law:literal, $off:literal;)*) => {
        /// One clause of a rule that the model can do without. Closed: a new clause breaks every match.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $law] $name,)*
        }

        impl Rule {
            /// All of them, in the order of the protocol.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The number of the rule in the protocol.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Rule::$name => $number,)* }
            }

            /// Its short name, as in the file names of the traces.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Rule::$name => $slug,)* }
            }

            /// What the clause asks for.
            #[must_use]
            pub const fn law(self) -> &'static str {
                match self { $(Rule::$name => $law,)* }
            }

            /// What the model does when it is dropped.
            #[must_use]
            pub const fn off(self) -> &'static str {
                match self { $(Rule::$name => $off,)* }
            }
        }
    };
}

rules! {
    OneEdge = 1 "one-edge", "A plan moves keys over one edge at a time.", "a plan may skip an edge, and no gate stands before what is no edge";
    SameBucket = 1 "same-bucket", "The bucket of a key never changes during a migration.", "a revision may change the salt while a ramp is open";
    DecideOnce = 2 "decide-once", "An operation takes its decision when it begins and carries it to the end.", "every step of an operation asks for the plan anew, so that the barrier cannot know under which revision it runs";
    Barrier = 3 "barrier", "Revision r+1 is published only after every instance has acknowledged r.", "revisions are published without waiting for anyone";
    Drain = 3 "drain", "An instance acknowledges a revision when every operation that began under another one has ended.", "an instance acknowledges a revision as soon as it has it";
    Linger = 3 "linger", "An operation whose effect is unknown has not ended until the store answers or its linger has passed.", "an operation ends when its call times out";
    MarksWithAck = 3 "marks-with-acknowledgement", "The acknowledgement carries the marks that the ended operations left.", "marks stay in the instance that set them";
    RegisterWithPlan = 3 "register-with-plan", "Registering and getting the first plan is one transaction.", "an instance fetches its plan first and registers later";
    NoCachedPlan = 3 "no-cached-plan", "A plan cached on disk is not served before registering.", "an instance that starts again serves the plan it had";
    Hold = 4 "hold", "Where authority moves, writes are held first: hold, move, release.", "authority moves by one settled revision";
    HoldThroughMove = 4 "hold-through-move", "Writes of the moving keys wait through the move as well, until release.", "writes go on at move";
    AbandonByHold = 4 "abandon-by-hold", "A move that has been published is abandoned by a hold with the old roles, and then settled.", "a published move is abandoned by one settled revision with the old roles";
    MarkFailed = 5 "mark-failed", "A row is marked when its secondary write failed.", "a failed secondary write leaves no mark";
    MarkUnknown = 5 "mark-unknown", "A row is marked when the outcome of its secondary write is unknown.", "an ambiguous secondary write leaves no mark";
    MarkAuthority = 5 "mark-authority", "A row is marked when its authoritative write was anything but a success or a definite refusal.", "an ambiguous authoritative write leaves no mark";
    MarkOverlap = 5 "mark-overlap", "A row is marked when dual writes of it overlapped.", "overlapping dual writes leave no mark";
    LateOverlap = 5 "late-overlap", "A write overlaps with an earlier write of its row whose effect on the authority may still land.", "a write overlaps only with writes whose call of the authority has not been given up";
    FullChecks = 5 "full-checks", "From the start of the verification that a gate relies on until the move, every dual write is checked after the fact.", "dual writes are not checked";
    ChecksFirst = 5 "checks-first", "Full checking is acknowledged everywhere before that verification starts.", "full checking counts from its publication";
    CheckOwned = 5 "check-owned", "The check belongs to the operation.", "an operation ends before its check";
    CopyTruth = 6 "copy-truth", "A repair copies the authority's present value; it never replays an old payload.", "a repair puts the payload of the write that set the mark";
    RepairCas = 6 "compare-and-set", "A repair puts by compare-and-set on what it saw.", "a repair puts whatever is there";
    RepairOrder = 6 "secondary-first", "A repair reads the secondary before the authority: then compare-and-set holds even against a put that lands after its declared linger.", "a repair reads the authority, then the secondary";
    RepairReread = 6 "read-again", "A repair reads the authority again after its put and loops until that agrees.", "a repair is done with its put";
    RepairLinger = 6 "wait-out-linger", "The reads that clear a mark begin after the linger of what set it.", "a repair starts at once";
    EffectsUnderWay = 6 "effects-under-way", "A mark is cleared only when every effect on its row that was under way when the mark was set has ended.", "a repair waits only for the effects whose answer was lost";
    Generations = 6 "generations", "A repair clears only the mark that it began with.", "a repair clears whatever mark is on the row";
    RepairHolds = 6 "repair-holds", "A repair holds its revision like an instance: no authority moves while one runs.", "nobody waits for repairs";
    GateMarks = 7 "gate-marks", "Authority moves only when no row of the moving keys is marked.", "marks do not stop a move";
    GateBackfill = 7 "gate-backfill", "Authority moves only when the backfill is complete.", "an unfinished backfill does not stop a move";
    GateVerified = 7 "gate-verified", "Authority moves only when a verification found no divergence.", "nobody asks for a verification";
    GateFresh = 7 "gate-fresh", "The verification began after the backfill, the last repair and the last dual-write revision.", "an old verification will do";
    Suspect = 8 "suspect", "An instance that vanished makes the migration suspect until a verification passes.", "a vanished instance is forgotten";
    SuspectSince = 8 "suspect-since", "Only a verification that began after the eviction clears the suspicion.", "a verification that was running when the instance was evicted clears the suspicion";
    EvictDead = 8 "evict-dead", "Evicting an instance asserts that it is dead and cannot reach either database.", "an instance may be evicted that is only slow, or has calls on their way";
    BackfillStart = 9 "start", "The backfill starts when dual-write is acknowledged everywhere.", "the backfill starts when dual-write is published";
    BackfillReread = 9 "read-again", "After its put the backfill reads the source again and loops where it changed.", "a row is done when it was put";
    BackfillReplace = 9 "replace", "The backfill puts different rows and deletes target-only ones too.", "the backfill only inserts what is missing";
    BackfillCas = 9 "compare-and-set", "The backfill puts by compare-and-set on what it saw.", "the backfill puts whatever is there";
    BackfillOrder = 9 "target-first", "The backfill reads the target before the source: then compare-and-set holds even against a put that lands after its declared linger.", "the backfill reads the source, then the target";
    BackfillLinger = 9 "wait-out-linger", "A put with an unknown outcome keeps the chunk open for its linger.", "after an ambiguous put the backfill reads again at once";
    BackfillResume = 9 "resume-after-linger", "A backfill that was killed is resumed after the linger of what it had under way.", "a killed backfill is resumed at once";
    NewClaim = 10 "new-claim", "Leaving dual-write backwards ends the target's claim: the next way forward starts a new backfill.", "a backfill of the first way forward counts for the second";
    KeepPlan = 11 "keep-plan", "An instance that loses the flags keeps the last plan.", "an instance that loses the flags falls back to off";
    WaitForPlan = 11 "wait-for-plan", "An instance that never had a plan refuses or waits.", "an instance without a plan begins at off";
    KeyNeeded = 13 "key-needed", "A missing cohort key is an error.", "an operation without its cohort key is routed as bucket 0";
    HonestVerification = 14 "honest", "A lost connection is not an end: what could not be read is unknown.", "a verification that loses its connection reports what it has seen so far as all there is";
    DurableProgress = 16 "durable-progress", "Progress is stored only after the write is durable.", "progress is stored when the put is sent";
    CarryState = 17 "carry-state", "A secondary write carries the value that the authority made, or marks the row.", "an increment is replayed on the secondary, unmarked";
    SplitKeys = 18 "split-keys", "An operation over several keys is split by key, each at its own authority.", "all keys of an operation are read at the authority of the first";
    TransactionOpen = 19 "transaction-open", "An operation inside a transaction ends at commit or rollback.", "an operation that was only prepared does not count as begun";
    TransactionMark = 19 "transaction-mark", "Between the commit and its mirror lies a mark.", "a transaction whose mirror never runs leaves no mark";
    RestoredWaits = 21 "restored-waits", "A restored control plane hands out nothing until the known instances have reported; a higher revision wins.", "a restored control plane goes on from its backup";
    RestoredListed = 21 "every-instance-listed", "A restored control plane hears every instance that runs, also those that its backup does not know: the operator says that there are no others.", "only the instances of the backup are waited for";
    ReportIsNoAck = 21 "report-is-no-acknowledgement", "What an instance reports to a restored control plane is not acknowledged by that.", "an instance's report counts as its acknowledgement";
    RestoredSuspects = 21 "restored-suspects", "After a restore the migration is suspect.", "what the backup says was shown is believed";
    LinearizableReads = 22 "linearizable-reads", "Reads that decide are linearizable.", "a repair may read the value before the last one, as from a replica";
    Tables = 23 "tables", "Marks and repairs go by table and row key.", "marks and repairs go by the row key alone, and read the rows of the table that was attached first";
    TablesHalfOpen = 23 "tables-half-open", "A repair takes its direction from the cohort key of the row that it reads.", "a repair takes its direction from the cohort key of the row that was marked, and reads the row with the same row key in the table that was attached first";
    WholeOverlap = 24 "overlap", "A write whose rows are not known makes its table suspect when it overlaps with another write of the table, from the beginning of its call of the authority until its effect on the secondary has ended.", "only writes of known rows overlap";
    WholeElsewhere = 24 "other-instances", "A predicate write makes its table suspect whenever another instance may write the table.", "only overlap within the instance makes the table suspect";
    WholeFailed = 24 "failure", "A write whose rows are not known makes its table suspect when it failed on the secondary or its outcome is unknown.", "a predicate write that failed on the secondary leaves nothing behind";
    ReportEachTime = 24 "reported-each-time", "Suspicion of a table is counted, and each increase is reported.", "an instance reports the suspicion of a table once";
    ClearedLater = 24 "cleared-later", "Only a verification that began after the last report clears the suspicion of a table.", "a verification that was already running clears the suspicion of a table";
    RowsMeanwhile = 24 "rows-meanwhile", "When the database's answer names the row of an insert, the row is marked if any write of it began or ended meanwhile.", "only writes that are still under way count when the answer names the row";
    WholeToTheEnd = 24 "predicate-to-the-end", "A predicate write conflicts with every write of its table to its end, even when the authority's answer names the rows that it changed.", "once the authority's answer names the rows that a predicate write changed, only writes of those rows overlap with it";
    WhoCanCheck = 25 "who-can-check", "Full checks count only while every registered instance can check every table that it writes.", "an instance that cannot check counts as one that checks";
    DoubtIsMark = 25 "doubt", "A check that cannot run marks its row.", "a check that cannot run passes";
    SingleLinger = 26 "single-write", "The acknowledgement of a revision that changes the route of a bucket waits for effects on one side alone that may still land there.", "an acknowledgement does not wait for a write that began at off and may still land";
    SecondaryLinger = 26 "secondary-write", "The acknowledgement of a revision that changes the route of a bucket waits for effects of dual writes that may still land there.", "an acknowledgement does not wait for a dual write that may still land";
    MoveWaits = 26 "move-waits", "Authority moves only when no effect may still land on a moving bucket.", "a row that is equal on both sides at the moment does not stop a move, although an effect may still land on it";
    MoveWaitsWhole = 26 "move-waits-for-whole", "Authority moves only when no predicate write may still land.", "a verification that began after a predicate write was given up is enough for a move";
    ReportTogether = 26 "reported-together", "The report that an effect can no longer land carries the marks and the suspicion that it left.", "the control plane learns first that an effect can no longer land, and later what it left";
    ForcedDrain = 26 "verified-after-drain", "The waiver of a forced rollback ends only with a verification that began after every operation from before the rollback had ended.", "the waiver ends with a verification that began after the last revision of the rollback was published";
    NoOperation = 30 "no-operation", "After its goodbye an instance begins no operation.", "an instance goes on under the plan that it had when it said goodbye";
    NoRepair = 30 "no-repair", "The repairs of an instance end with its goodbye.", "an instance goes on repairing under the plan that it had when it said goodbye";
    GoodbyeMarks = 30 "marks-with-goodbye", "The goodbye carries every mark of the instance.", "marks that the instance has not handed over end with it";
}

impl Rule {
    /// The file of its trace: `R03-barrier`.
    #[must_use]
    pub fn file(self) -> String {
        format!("R{:02}-{}", self.number(), self.slug())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{} {}", self.number(), self.slug())
    }
}

/// The clauses that a run does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dropped(u128);

impl Dropped {
    /// Every rule holds.
    pub const NOTHING: Dropped = Dropped(0);

    /// All rules but this one hold.
    #[must_use]
    pub const fn only(rule: Rule) -> Dropped {
        Dropped(1 << rule as u32)
    }

    /// This one too is dropped.
    #[must_use]
    pub const fn and(self, rule: Rule) -> Dropped {
        Dropped(self.0 | 1 << rule as u32)
    }

    /// Whether the rule is dropped.
    #[must_use]
    pub const fn contains(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u32 != 0
    }
}
