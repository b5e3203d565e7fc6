//! What travels over `/v1`: the server, the library, the command and the dashboard speak these types and no others.
//!
//! Names are kebab-case, durations and times are whole milliseconds, latencies whole microseconds, revisions text.
//! Readers ignore fields that they do not know, so that fields may be added.

mod instance;
mod observation;
mod operate;
mod status;
mod token;

pub use instance::{
    Acknowledgement, Departure, Heartbeat, HeartbeatAnswer, InstanceKind, LONGEST_MARK_KEY, MARK_BYTES_AT_ONCE,
    MARKS_AT_ONCE, MarkChange, MarkDoc, MarkRef, Outcome, Progress, Publication, Registered, Registration, RunEnd,
    RunTicket, SidesDoc, TableDoc, TableDoubt,
};
pub use observation::{Comparisons, MismatchSample, Observations, OperationDoc, SideDoc};
pub use operate::{
    AutoRequest, ConfirmOperationsRequest, CreateRequest, EvictRequest, OptionsRequest, Preview, RampRequest,
    RetireRequest, RollbackRequest, StepAnswer, WriterRequest,
};
pub use status::{
    AutoDoc, BackfillDoc, BlockerDoc, CannotCheckDoc, DriftDoc, EvidenceDoc, GateDoc, HistoryEntry, HistoryPage,
    InstanceDoc, Instances, Ladder, LastStepDoc, LatencyDoc, MarksPage, MigrationList, OperationStatus, OperationsDoc,
    OwnedMark, Protection, Rung, StageName, Status, StepDoc, VerificationDoc, WindowDoc,
};
pub use token::{IssuedToken, Role, TokenDoc, TokenList, TokenRequest};
