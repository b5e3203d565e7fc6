//! The jobs, their peers and their bars.

use super::command::{Took, timed};
use super::dynamo::{self, Emulator};
use super::lab::{Lab, psql};
use super::peers::shell;
use super::writers::{self, Users};
use anyhow::{Context as _, ensure};
use std::process::Command;
use std::time::Duration;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Job {
    PostgresBulk,
    PostgresBulkPgcopydb,
    PostgresBulkSling,
    PostgresBesideWrites,
    PostgresSqlite,
    PostgresMariadb,
    DynamodbBulk,
    DynamodbCareful,
    VerifyEqual,
    VerifyDiffering,
    VerifyMariadb,
}

/// What the project has promised itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    /// The peer's seconds over ours.
    pub(crate) at_least: f64,
    pub(crate) rows_per_second: Option<f64>,
}

/// One round of one job.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) rows: u64,
    pub(crate) seconds: f64,
    pub(crate) peer_seconds: f64,
    pub(crate) resident_kb: u64,
    /// The users' writes, where there are any.
    pub(crate) users: Option<Users>,
    /// The same users beside the peer: what a full machine does to them, whoever fills it.
    pub(crate) users_beside_peer: Option<Users>,
    /// Of a verification that finds differences: the same one over the same rows when they are equal.
    pub(crate) equal_seconds: Option<f64>,
}

impl Round {
    /// Without what only some jobs have.
    fn of(rows: u64, took: &Took, peer_seconds: f64) -> Round {
        Round {
            rows,
            seconds: took.seconds,
            peer_seconds,
            resident_kb: took.resident_kb,
            users: None,
            users_beside_peer: None,
            equal_seconds: None,
        }
    }
}

/// What the users feel with nothing else going on is looked at for so long.
const QUIET: Duration = Duration::from_secs(5);

const PIPE: &str = "psql -qX \"$SOURCE\" -c 'COPY t TO STDOUT (FORMAT binary)' | psql -qX \"$TARGET\" -c 'COPY t FROM STDIN (FORMAT binary)'";
const PIPE_MARIADB: &str = "psql -qX \"$SOURCE\" -c \"COPY (SELECT id, user_id, kind, body, at AT TIME ZONE 'UTC' FROM t) TO STDOUT\" | \
     MYSQL_PWD=\"$PASSWORD\" mariadb --local-infile=1 -h \"$HOST\" -P \"$PORT\" -u \"$NAME\" \"$DATABASE\" \
     -e \"LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE t CHARACTER SET utf8mb4\"";
const TABLE_MARIADB: &str = "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, user_id longtext NOT NULL, kind longtext NOT NULL, body json NOT NULL, at timestamp(6) NOT NULL) CHARACTER SET utf8mb4";

impl Job {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Job::PostgresBulk => "postgres-bulk",
            Job::PostgresBulkPgcopydb => "postgres-bulk-pgcopydb",
            Job::PostgresBulkSling => "postgres-bulk-sling",
            Job::PostgresBesideWrites => "postgres-beside-writes",
            Job::PostgresSqlite => "postgres-sqlite",
            Job::PostgresMariadb => "postgres-mariadb",
            Job::DynamodbBulk => "dynamodb-bulk",
            Job::DynamodbCareful => "dynamodb-careful",
            Job::VerifyEqual => "verify-equal",
            Job::VerifyDiffering => "verify-differing",
            Job::VerifyMariadb => "verify-mariadb",
        }
    }

    pub(crate) fn peer(self) -> &'static str {
        match self {
            Job::PostgresBulk | Job::PostgresBesideWrites | Job::PostgresSqlite => "psql COPY | COPY, binary",
            Job::PostgresBulkPgcopydb => "pgcopydb, one job",
            Job::PostgresBulkSling => "sling 1.4.11",
            Job::PostgresMariadb => "psql COPY | LOAD DATA",
            Job::DynamodbBulk => "a bare BatchWriteItem loader",
            Job::DynamodbCareful => "a bare conditional-put loader",
            Job::VerifyEqual | Job::VerifyDiffering | Job::VerifyMariadb => "reladiff 0.6.0",
        }
    }

    pub(crate) fn bar(self) -> Bar {
        let (at_least, rows_per_second) = match self {
            Job::PostgresBulk => (0.95, None),
            Job::PostgresBulkPgcopydb => (1.0, None),
            Job::PostgresBulkSling => (2.0, None),
            Job::PostgresBesideWrites => (0.6, None),
            // Judged by its rate: SQLite has no pipe of its own.
            Job::PostgresSqlite => (0.0, Some(150_000.0)),
            Job::PostgresMariadb => (0.8, None),
            Job::DynamodbBulk | Job::DynamodbCareful => (0.7, None),
            Job::VerifyEqual => (2.0, None),
            Job::VerifyDiffering => (4.0, None),
            Job::VerifyMariadb => (1.0, None),
        };
        Bar { at_least, rows_per_second }
    }

    pub(crate) fn needs_reladiff(self) -> bool {
        matches!(self, Job::VerifyEqual | Job::VerifyDiffering | Job::VerifyMariadb)
    }

    /// The peer, then ours, on the same rows.
    pub(crate) fn round(self, lab: &Lab, rows: u64) -> anyhow::Result<Round> {
        match self {
            Job::PostgresBulk => {
                let peer_seconds = pipe(lab)?;
                lab.empty_target()?;
                backfill(lab, &lab.target, peer_seconds, &["--exclusive"])
            }
            Job::PostgresBulkPgcopydb => {
                lab.empty_target()?;
                let peer_seconds = timed(&mut lab.peers.pgcopydb(lab), &[0])?.seconds;
                lab.empty_target()?;
                backfill(lab, &lab.target, peer_seconds, &["--exclusive"])
            }
            Job::PostgresBulkSling => {
                lab.empty_target()?;
                let peer_seconds = timed(&mut lab.peers.sling(lab), &[0])?.seconds;
                lab.empty_target()?;
                backfill(lab, &lab.target, peer_seconds, &["--exclusive"])
            }
            Job::PostgresBesideWrites => {
                let peer_seconds = pipe(lab)?;
                // What they write to the target is not in the pipe's way: it would end at the first row that is there.
                psql(
                    &lab.target,
                    "DROP TABLE IF EXISTS beside; CREATE TABLE beside (LIKE t INCLUDING ALL) WITH (autovacuum_enabled = off)",
                )?;
                let users = writers::start(&lab.source, &lab.target, "beside", rows)?;
                let quiet = users.felt_for(QUIET);
                pipe(lab)?;
                let users_beside_peer = Some(Users { quiet, beside: users.end()? });
                lab.empty_target()?;
                let users = writers::start(&lab.source, &lab.target, "t", rows)?;
                let quiet = users.felt_for(QUIET);
                let (took, _) = lab.crossfade(&lab.target, "backfill", &["--restart"], &[0])?;
                let beside = users.end()?;
                let (_, verified) = lab.crossfade(&lab.target, "verify", &[], &[0])?;
                ensure!(verified["verdict"] == "verified", "beside writes: {verified}");
                let users = Some(Users { quiet, beside });
                Ok(Round { users, users_beside_peer, ..Round::of(rows, &took, peer_seconds) })
            }
            Job::PostgresSqlite => {
                let peer_seconds = pipe(lab)?;
                let file = lab.file("target.db");
                if file.exists() {
                    std::fs::remove_file(&file)?;
                }
                rusqlite::Connection::open(&file)?.execute_batch(
                    "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, kind TEXT NOT NULL, body JSON NOT NULL, at TIMESTAMPTZ NOT NULL)",
                )?;
                backfill(lab, &format!("sqlite://{}", file.display()), peer_seconds, &["--exclusive"])
            }
            Job::PostgresMariadb => {
                mariadb(lab, TABLE_MARIADB)?;
                let peer_seconds = load_mariadb(lab)?;
                mariadb(lab, TABLE_MARIADB)?;
                backfill(lab, &lab.mysql, peer_seconds, &["--exclusive"])
            }
            Job::DynamodbBulk | Job::DynamodbCareful => {
                let rows = rows / 40;
                let bulk = self == Job::DynamodbBulk;
                psql(&lab.source, "ALTER TABLE t RENAME TO whole")?;
                psql(
                    &lab.source,
                    &format!(
                        "CREATE TABLE t (LIKE whole INCLUDING ALL); INSERT INTO t SELECT * FROM whole WHERE id <= {rows}"
                    ),
                )?;
                let peer_seconds = dynamo::bare(&Emulator::start()?, &lab.source, bulk)?;
                let emulator = Emulator::start()?;
                let arguments: &[&str] = if bulk { &["--exclusive"] } else { &[] };
                let round = backfill(lab, &emulator.url(), peer_seconds, arguments);
                psql(&lab.source, "DROP TABLE t; ALTER TABLE whole RENAME TO t")?;
                round
            }
            Job::VerifyEqual => {
                pipe(lab)?;
                verify(lab, &lab.target, 0)
            }
            Job::VerifyDiffering => {
                pipe(lab)?;
                let scattered = "SELECT id FROM t ORDER BY md5(id::text) LIMIT 100";
                psql(&lab.target, &format!("UPDATE t SET kind = kind || '!' WHERE id IN ({scattered})"))?;
                let differing = verify(lab, &lab.target, 100)?;
                psql(&lab.target, "UPDATE t SET kind = rtrim(kind, '!') WHERE kind LIKE '%!'")?;
                let (equal, _) = ours(lab, &lab.target, 0)?;
                Ok(Round { equal_seconds: Some(equal.seconds), ..differing })
            }
            Job::VerifyMariadb => {
                mariadb(lab, TABLE_MARIADB)?;
                load_mariadb(lab)?;
                verify(lab, &lab.mysql, 0)
            }
        }
    }
}

/// Fills the empty target by the shell's own means; seconds.
fn pipe(lab: &Lab) -> anyhow::Result<f64> {
    lab.empty_target()?;
    let seconds = timed(&mut shell(PIPE, &[("SOURCE", &lab.source), ("TARGET", &lab.target)]), &[0])?.seconds;
    psql(&lab.target, "ANALYZE t")?;
    Ok(seconds)
}

/// Into an empty target. The rows are those that an earlier job's users have left.
fn backfill(lab: &Lab, target: &str, peer_seconds: f64, arguments: &[&str]) -> anyhow::Result<Round> {
    let (took, result) = lab.crossfade(target, "backfill", &[&["--restart"], arguments].concat(), &[0])?;
    let rows = result["rows_read"].as_u64().unwrap_or(0);
    ensure!(rows > 0 && result["rows_written"] == rows, "every row was to be written: {result}");
    Ok(Round::of(rows, &took, peer_seconds))
}

fn verify(lab: &Lab, target: &str, differing: u64) -> anyhow::Result<Round> {
    let theirs = timed(&mut lab.peers.reladiff(lab, target), &[0, 1])?;
    // Each differing row is a line for the old one and a line for the new one.
    let found = theirs.output.lines().filter(|line| line.starts_with(['+', '-'])).count() as u64;
    ensure!(found == 2 * differing, "reladiff found {found} lines, {} were to be found", 2 * differing);
    let (took, rows) = ours(lab, target, differing)?;
    Ok(Round::of(rows, &took, theirs.seconds))
}

/// Our own verification, and how many rows the source has.
fn ours(lab: &Lab, target: &str, differing: u64) -> anyhow::Result<(Took, u64)> {
    let (took, result) = lab.crossfade(target, "verify", &[], &[0, 4])?;
    let rows = result["rows_source"].as_u64().unwrap_or(0);
    ensure!(
        rows > 0 && result["rows_target"] == rows && result["different"] == differing,
        "{differing} rows were to differ: {result}"
    );
    Ok((took, rows))
}

/// The parts of `mysql://NAME:PASSWORD@HOST:PORT/DATABASE`, by the names of the shell's variables.
fn mariadb_parts(url: &str) -> Option<[(&'static str, &str); 5]> {
    let (user, place) = url.strip_prefix("mysql://")?.split_once('@')?;
    let ((name, password), (address, database)) = (user.split_once(':')?, place.split_once('/')?);
    let (host, port) = address.split_once(':')?;
    Some([("NAME", name), ("PASSWORD", password), ("HOST", host), ("PORT", port), ("DATABASE", database)])
}

fn mariadb(lab: &Lab, sql: &str) -> anyhow::Result<()> {
    let parts = mariadb_parts(&lab.mysql).context("the URL of MariaDB has not the expected parts")?;
    let text = "MYSQL_PWD=\"$PASSWORD\" mariadb -h \"$HOST\" -P \"$PORT\" -u \"$NAME\" \"$DATABASE\" -e \"$SQL\"";
    let mut command: Command = shell(text, &parts);
    timed(command.env("SQL", sql), &[0]).map(drop)
}

fn load_mariadb(lab: &Lab) -> anyhow::Result<f64> {
    let parts = mariadb_parts(&lab.mysql).context("the URL of MariaDB has not the expected parts")?;
    let mut command = shell(PIPE_MARIADB, &parts);
    Ok(timed(command.env("SOURCE", &lab.source), &[0])?.seconds)
}
