//! From the SDK's errors to ours, and whether a request may have done something. Texts of the service that may quote values are left out.

use std::{error::Error, io};

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::{ErrorKind, StoreError};

/// Why a request has no good answer.
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// Whether it may have been done all the same.
    pub(super) unknown: bool,
}

impl Failure {
    /// Nothing was done, and asking again slower may help.
    pub(super) fn is_slow_down(&self) -> bool {
        !self.unknown && matches!(self.error.kind(), ErrorKind::Throttled | ErrorKind::Conflict)
    }
}

/// The kind of a service error by its code, and whether the request may have been done.
fn of_code(code: &str) -> (ErrorKind, bool) {
    match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "LimitExceededException" => (ErrorKind::Throttled, false),
        "TransactionConflictException"
        | "TransactionInProgressException"
        | "TransactionCanceledException"
        | "ReplicatedWriteConflictException"
        | "ResourceInUseException" => (ErrorKind::Conflict, false),
        "ResourceNotFoundException" => (ErrorKind::NoSuchTable, false),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "OptInRequired" => (ErrorKind::Denied, false),
        "ItemCollectionSizeLimitExceededException" => (ErrorKind::TooLarge, false),
        "ValidationException" => (ErrorKind::Refused, false),
        "SerializationException" | "UnknownOperationException" => (ErrorKind::Protocol, false),
        // InternalServerError, ServiceUnavailable and what is not known: it may have been done.
        _ => (ErrorKind::Lost, true),
    }
}

/// `what` failed.
pub(super) fn of<E, R>(what: &str, shown: &str, e: SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let failure = |kind, unknown, text: String| Failure { error: StoreError::new(kind, text), unknown };
    match &e {
        SdkError::ServiceError(service) => {
            let code = service.err().code().unwrap_or("no code");
            let message = service.err().message().unwrap_or_default();
            let (kind, unknown) = of_code(code);
            match kind {
                ErrorKind::Refused => {
                    let lower = message.to_ascii_lowercase();
                    if lower.contains("item size") {
                        failure(
                            ErrorKind::TooLarge,
                            false,
                            format!("{what}: the item is larger than the 400 KB that dynamodb takes"),
                        )
                    } else if lower.contains("key element does not match") || lower.contains("type mismatch for key") {
                        failure(
                            ErrorKind::SchemaChanged,
                            false,
                            format!("{what}: the table has another key by now: run `check` again"),
                        )
                    } else {
                        failure(kind, false, format!("{what}: dynamodb refuses the request ({code}{})", reason(&lower)))
                    }
                }
                ErrorKind::NoSuchTable => {
                    failure(kind, false, format!("{what}: there is no such table in {shown}: check name and region"))
                }
                ErrorKind::Denied => failure(
                    kind,
                    false,
                    format!("{what}: {shown} refuses the credentials or a right is missing ({code})"),
                ),
                ErrorKind::Throttled => {
                    failure(kind, false, format!("{what}: {shown} asks for a slower pace ({code})"))
                }
                ErrorKind::Conflict => failure(
                    kind,
                    false,
                    format!("{what}: the item is part of a transaction or change under way ({code})"),
                ),
                _ => failure(kind, unknown, format!("{what}: {shown} answers {code}")),
            }
        }
        SdkError::ConstructionFailure(_) => Failure {
            error: StoreError::new(ErrorKind::Protocol, format!("{what}: the request could not be made"))
                .caused_by(chain(&e)),
            unknown: false,
        },
        SdkError::DispatchFailure(_) => {
            let text = chain(&e);
            if !never_sent(&e) {
                return Failure {
                    error: StoreError::new(ErrorKind::Lost, format!("{what}: the connection to {shown} broke"))
                        .caused_by(text),
                    unknown: true,
                };
            }
            if text.contains("credentials") {
                let error = StoreError::new(
                    ErrorKind::Denied,
                    format!(
                        "{what}: no credentials for {shown}: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    ),
                );
                return Failure { error: error.caused_by(text), unknown: false };
            }
            Failure {
                error: StoreError::new(
                    ErrorKind::Unreachable,
                    format!("{what}: cannot reach {shown}: check region, endpoint and network"),
                )
                .caused_by(text),
                unknown: false,
            }
        }
        SdkError::TimeoutError(_) => failure(ErrorKind::Lost, true, format!("{what}: no answer from {shown} in time")),
        _ => Failure {
            error: StoreError::new(ErrorKind::Lost, format!("{what}: an answer of {shown} that cannot be read"))
                .caused_by(chain(&e)),
            unknown: true,
        },
    }
}

/// The part of a validation message that is known to quote no values.
fn reason(lower: &str) -> &'static str {
    const KNOWN: [(&str, &str); 6] = [
        ("expression size", ": the expression is larger than 4 KB"),
        ("too many operators", ": the expression has more than 300 operators"),
        ("duplicates", ": a key twice in one batch"),
        ("size of hashkey", ": the partition key is larger than 2048 bytes"),
        ("aggregated size of all range keys", ": the sort key is larger than 1024 bytes"),
        ("secondary index", ": an attribute does not fit a secondary index"),
    ];
    KNOWN.iter().find(|(part, _)| lower.contains(part)).map_or("", |(_, text)| text)
}

fn sources<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(e), |e| (*e).source())
}

/// Whether it is sure that no byte of the request left this process. In doubt it is not.
fn never_sent(e: &(dyn Error + 'static)) -> bool {
    sources(e).any(|e| {
        let refused = e.downcast_ref::<io::Error>().is_some_and(|e| {
            matches!(
                e.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            )
        });
        let text = e.to_string();
        refused
            || text.contains("dns error")
            || text.contains("tcp connect error")
            || text.contains("HTTP connect timeout")
            || text.contains("credentials")
    })
}

/// The whole chain as one text: the SDK's own `Display` stops at the first word.
fn chain(e: &(dyn Error + 'static)) -> String {
    let mut out = String::new();
    for e in sources(e) {
        let text = e.to_string();
        if !out.ends_with(&text) {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&text);
        }
    }
    out
}
