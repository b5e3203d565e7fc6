//! Two tables on real databases, with a script around each.

#![expect(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "tests may panic")]
#![allow(dead_code, reason = "most tests do not use all of it, and one does")]

#[cfg(all(feature = "mysql", feature = "dynamodb"))]
pub mod engines;

use std::{path::PathBuf, sync::Arc};

use crossfade_api::config::Config;
use crossfade_stores::{Capabilities, Store, faults::FaultyTable};
use crossfade_transfer::{
    Pair, backfill,
    pace::Control,
    pair,
    progress::{Counters, Event, Observer, Silent},
    verify,
};

pub fn server() -> String {
    std::env::var("CROSSFADE_TEST_POSTGRES").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

pub async fn sql_at(url: &str, text: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let running = tokio::spawn(connection);
    client.batch_execute(text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
    drop(client);
    running.await.unwrap().unwrap();
}

/// Where rows go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// Another schema of the same server.
    Postgres,
    /// A file.
    Sqlite,
}

/// A migration of one table `t` from a schema of PostgreSQL.
pub struct Lab {
    pub name: String,
    pub source_url: String,
    pub target_url: String,
    pub source: Arc<dyn Store>,
    pub target: Arc<dyn Store>,
    pub to: To,
    pub file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// `source_ddl` and `target_ddl` make table `t` on each side.
    pub async fn new(name: &str, to: To, source_ddl: &str, target_ddl: &str) -> Lab {
        let name = format!("{name}_{}", std::process::id());
        let with = |schema: &str| {
            format!("{}{}options=-csearch_path%3D{schema}", server(), if server().contains('?') { '&' } else { '?' })
        };
        let schemas = [format!("{name}_a"), format!("{name}_b")];
        for schema in &schemas {
            sql_at(&server(), &format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("target.db");
        let source_url = with(&schemas[0]);
        sql_at(&source_url, source_ddl).await;
        let target_url = match to {
            To::Postgres => with(&schemas[1]),
            To::Sqlite => format!("sqlite://{}", file.display()),
        };
        match to {
            To::Postgres => sql_at(&target_url, target_ddl).await,
            To::Sqlite => rusqlite::Connection::open(&file)
                .unwrap()
                .execute_batch(&format!("PRAGMA journal_mode = wal; {target_ddl}"))
                .unwrap(),
        }
        let source = crossfade_stores::open(&source_url.parse().unwrap()).await.unwrap();
        let target = crossfade_stores::open(&target_url.parse().unwrap()).await.unwrap();
        Lab { name, source_url, target_url, source, target, to, file, _folder: folder }
    }

    pub async fn end(self) {
        sql_at(&server(), &format!("DROP SCHEMA {0}_a CASCADE; DROP SCHEMA {0}_b CASCADE", self.name)).await;
    }

    pub fn folder(&self) -> &std::path::Path {
        self.file.parent().unwrap()
    }

    pub async fn at_source(&self, text: &str) {
        sql_at(&self.source_url, text).await;
    }

    pub async fn at_target(&self, text: &str) {
        match self.to {
            To::Postgres => sql_at(&self.target_url, text).await,
            To::Sqlite => {
                let (file, text) = (self.file.clone(), text.to_owned());
                tokio::task::spawn_blocking(move || {
                    let c = rusqlite::Connection::open(file).unwrap();
                    c.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
                    c.execute_batch(&text).unwrap();
                })
                .await
                .unwrap();
            }
        }
    }

    /// What a live write does to both sides, in order, as a future for a script.
    pub fn on_both(&self, text: &str) -> futures::future::BoxFuture<'static, ()> {
        self.on(text, text)
    }

    /// Different texts for the sides; an empty one is not run.
    pub fn on(&self, source: &str, target: &str) -> futures::future::BoxFuture<'static, ()> {
        let (source_url, target_url, file, to) =
            (self.source_url.clone(), self.target_url.clone(), self.file.clone(), self.to);
        let (source, target) = (source.to_owned(), target.to_owned());
        Box::pin(async move {
            if !source.is_empty() {
                sql_at(&source_url, &source).await;
            }
            if target.is_empty() {
                return;
            }
            match to {
                To::Postgres => sql_at(&target_url, &target).await,
                To::Sqlite => tokio::task::spawn_blocking(move || {
                    let c = rusqlite::Connection::open(file).unwrap();
                    c.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
                    c.execute_batch(&target).unwrap();
                })
                .await
                .unwrap(),
            }
        })
    }

    /// Opens both sides with a script around each; `config` is the table's part of the file.
    pub async fn pair(
        &self,
        config: &str,
        change: impl Fn(&mut Capabilities),
    ) -> (Pair, Arc<FaultyTable>, Arc<FaultyTable>) {
        let text = format!(
            "[migration.m]\nsource = \"postgres://x\"\ntarget = \"postgres://x\"\n[migration.m.table.t]\n{config}"
        );
        let config = Config::parse(&text).unwrap().migration["m"].table["t"].clone();
        let opened = pair::open(&self.source, &self.target, "t", &config).await.unwrap();
        let source = FaultyTable::new(opened.source.clone(), &change);
        let target = FaultyTable::new(opened.target.clone(), &change);
        let pair = pair::opened(
            "t",
            source.clone(),
            target.clone(),
            (*opened.map).clone(),
            opened.cache,
            if self.to == To::Postgres { pair::Engines::Same } else { pair::Engines::Different },
        );
        (pair, source, target)
    }
}

pub const COHORT: &str = "cohort = [\"id\"]";

pub fn options() -> backfill::Options {
    backfill::Options {
        adaptive: false,
        parallel: 2,
        chunk_rows: Some(100),
        extra: backfill::Extra::Delete,
        ..backfill::Options::default()
    }
}

pub async fn backfill(
    pair: &Pair,
    options: &backfill::Options,
) -> Result<backfill::Report, crossfade_transfer::TransferError> {
    backfill::run(pair, options, &Control::default(), &Arc::new(Counters::default()), &silent()).await
}

pub async fn verify(pair: &Pair) -> verify::Outcome {
    let options = verify::Options {
        part_rows: 20,
        range_rows: 50,
        parallel: 2,
        generations: vec![std::time::Duration::from_millis(1); 3],
        ..verify::Options::default()
    };
    verify::run(pair, &options, &Control::default(), &Arc::new(Counters::default()), &silent()).await.unwrap()
}

pub fn silent() -> Arc<dyn Observer> {
    Arc::new(Silent)
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Notes(pub tokio::sync::watch::Sender<Vec<Event>>);

impl Observer for Notes {
    fn event(&self, event: Event) {
        self.0.send_modify(|all| all.push(event));
    }
}
