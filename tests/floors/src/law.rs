//! The floors and the bans. A change here is a change of the architecture: say why in `docs/adr/`.

/// Every member of the workspace and its floor. A crate may depend on lower floors only, never on its own.
pub const FLOORS: &[(&str, u8)] = &[
    ("crossfade-core", 0),
    ("crossfade-macros", 0),
    ("crossfade-api", 1),
    ("crossfade", 2),
    ("crossfade-stores", 3),
    ("crossfade-transfer", 4),
    ("crossfade-server", 5),
    // What a user would write, and what the demo of the command shows.
    ("crossfade-example-events", 5),
    ("crossfade-cli", 6),
    // For development only: nothing may depend on these.
    ("crossfade-models", 7),
    ("crossfade-bench", 7),
    ("crossfade-floors", 7),
    ("crossfade-interleavings", 7),
    ("crossfade-torture", 7),
];

/// Everything, down to the last transitive dependency, that a crate may stand on.
pub struct Closed {
    /// The crate.
    pub name: &'static str,
    /// All that it may pull in.
    pub may: &'static [&'static str],
    /// Why the list is closed.
    pub reason: &'static str,
}

/// Crates whose whole dependency tree is listed.
pub const CLOSED: &[Closed] = &[
    Closed {
        name: "crossfade-core",
        may: &[
            "serde",
            "serde_core",
            "serde_derive",
            "thiserror",
            "thiserror-impl",
            "xxhash-rust",
            "proc-macro2",
            "quote",
            "syn",
            "unicode-ident",
        ],
        reason: "the law has no async, clock, randomness or I/O, and a model checker runs it millions of times",
    },
    Closed {
        name: "crossfade-macros",
        may: &["proc-macro2", "quote", "syn", "unicode-ident"],
        reason: "every user compiles the macro before anything else",
    },
];

/// A dependency that must not be in a crate's tree.
pub struct Banned {
    /// The crate whose tree is looked at.
    pub below: &'static str,
    /// What must not be in it.
    pub names: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// Bans that reach through all dependencies.
pub const BANNED: &[Banned] = &[
    Banned {
        below: "crossfade-api",
        names: &["tokio", "hyper", "axum", "reqwest"],
        reason: "wire and config types are read by tools that have no runtime",
    },
    Banned {
        below: "crossfade",
        names: &[
            "tokio-postgres",
            "deadpool-postgres",
            "mysql_async",
            "rusqlite",
            "libsqlite3-sys",
            "redis",
            "aws-sdk-dynamodb",
            "dynoxide-rs",
            "axum",
            "clap",
            "ratatui",
            "indicatif",
        ],
        reason: "an application pays for no driver, server or terminal that it did not choose",
    },
    Banned {
        below: "crossfade-cli",
        names: &["openssl-sys", "native-tls"],
        reason: "TLS is rustls: the binary builds with Rust alone and runs on any Linux",
    },
    Banned {
        below: "crossfade-cli",
        names: &["stateright", "proptest", "trybuild", "loom", "shuttle", "launchdarkly-server-sdk", "scientisto"],
        reason: "tools of proof and peers of measurement are for development",
    },
];

/// Bans on a crate's own `[dependencies]`, for every product crate below the command.
pub const BANNED_BELOW_COMMAND: (&[&str], &str) = (
    &["anyhow", "miette", "eyre", "color-eyre"],
    "library errors are types per operation; `anyhow` belongs to the command and to tests",
);
