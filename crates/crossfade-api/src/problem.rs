//! Why a request was refused: RFC 9457 problem documents with stable codes, each with a runbook.

use crate::exit::Exit;
use crate::wire::BlockerDoc;
use serde::{Deserialize, Serialize};

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])+ $variant:ident, $code:literal, $status:literal, $title:literal, $exit:ident;)+) => {
        /// A stable code: machines and runbooks go by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])+ #[serde(rename = $code)] $variant,)+
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The code as text.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $code,)+ }
            }

            /// The HTTP status it comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)+ }
            }

            /// What it says in general.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ }
            }

            /// How a command that met it exits.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Code::$variant => Exit::$exit,)+ }
            }
        }
    };
}

codes! {
    /// The body or a parameter cannot be read.
    Malformed, "malformed", 400, "the request cannot be read", Usage;
    /// No token, or none that is known.
    Unauthenticated, "unauthenticated", 401, "a token is needed", Usage;
    /// The token's role does not allow it.
    Forbidden, "forbidden", 403, "the token's role does not allow this", Usage;
    /// There is no such migration, instance, run or token.
    NotFound, "not-found", 404, "there is no such thing", Usage;
    /// The path takes another method.
    MethodNotAllowed, "method-not-allowed", 405, "this path takes another method", Usage;
    /// The instance has to register again.
    UnknownInstance, "unknown-instance", 404, "the instance is not registered", Failed;
    /// Somebody else was faster: the revision is not the one that was looked at.
    RevisionChanged, "revision-changed", 409, "the plan has changed since it was looked at", Refused;
    /// The plane was restored from a backup and lacks revisions that the instance's disk remembers.
    Behind, "plane-behind", 409, "the control plane has forgotten revisions", Refused;
    /// Another step is not finished.
    StepUnderWay, "step-under-way", 409, "another step is under way", Refused;
    /// No step is under way.
    NoStep, "no-step", 409, "no step is under way", Refused;
    /// Instances that have not been heard of block the next revision.
    Silent, "silent-instances", 409, "instances are silent", Refused;
    /// The law allows no such step.
    Unlawful, "unlawful-step", 409, "the protocol allows no such step", Refused;
    /// A gate refuses; the blockers are named.
    Gate, "gate-refused", 409, "a gate refuses the step", Refused;
    /// The step asks for the migration's name.
    ConfirmationNeeded, "confirmation-needed", 409, "type the migration's name to confirm", Refused;
    /// The migration is paused.
    Paused, "paused", 409, "the migration is paused", Refused;
    /// The migration has ended.
    Retired, "retired", 409, "the migration is retired", Refused;
    /// The instance, run or token cannot do that now.
    NotReady, "not-ready", 409, "this cannot be done now", Refused;
    /// There is a migration of this name with other properties.
    Exists, "exists", 409, "there is one of this name already", Refused;
    /// A run has the source of the migration as its target, or the target as its source.
    SwappedSides, "swapped-sides", 409, "source and target are swapped", Refused;
    /// The body is larger than allowed.
    TooLarge, "too-large", 413, "the request is too large", Failed;
    /// The body is not JSON.
    NotJson, "not-json", 415, "the body has to be JSON", Usage;
    /// The value can be read but not used.
    Invalid, "invalid", 422, "a value cannot be used", Usage;
    /// Too many requests.
    TooManyRequests, "too-many-requests", 429, "too many requests", Failed;
    /// The server's storage failed: nothing was changed.
    Storage, "storage", 503, "the server cannot write its log", Failed;
    /// The server is stopping or starting.
    Unavailable, "unavailable", 503, "the server cannot answer now", Unreachable;
}

/// Written out: derived from within a macro, the document would list the names of variants instead of the codes.
#[cfg(feature = "openapi")]
mod schema {
    use super::Code;
    use utoipa::openapi::schema::{ObjectBuilder, Type};

    impl utoipa::PartialSchema for Code {
        fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
            let names = Code::ALL.iter().map(|code| code.name());
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(names))
                .description(Some("A stable code: machines and runbooks go by it."))
                .into()
        }
    }

    impl utoipa::ToSchema for Code {}
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// The runbook of the code, a URI reference.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: Box<str>,
    /// What the code says in general.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and the next act.
    pub detail: String,
    /// The stable code.
    pub code: Code,
    /// What stands in the way, when a gate refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<BlockerDoc>,
    /// For whom the migration waits, by instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
}

impl Problem {
    /// The problem with this code and detail.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            kind: runbook(code.name()).into(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            blockers: Vec::new(),
            waiting_for: Vec::new(),
        }
    }

    /// The same, with what stands in the way.
    #[must_use]
    pub fn with_blockers(mut self, blockers: Vec<BlockerDoc>) -> Problem {
        self.blockers = blockers;
        self
    }

    /// The same, with for whom it waits.
    #[must_use]
    pub fn waiting_for(mut self, instances: Vec<String>) -> Problem {
        self.waiting_for = instances;
        self
    }
}

/// Where the runbook of a code is, a URI reference that the server answers.
#[must_use]
pub fn runbook(code: &str) -> String {
    format!("/runbooks/{code}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_json() {
        for code in Code::ALL {
            let problem = Problem::new(*code, "x");
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!(json["code"], code.name(), "serde and name() differ");
            assert!((400..600).contains(&code.status()));
            assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
        }
    }
}
