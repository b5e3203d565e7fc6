//! The stores on real servers: all do the same, and none says more than it knows.

use super::{Store, dump, prepare};
use crate::dao::{Orders, Row, RowError, RowId, Rows, Sessions};
use crate::drive::servers::Database;
use mysql_async::prelude::Queryable;
use std::net::{Ipv4Addr, SocketAddr};

fn id(text: &str) -> RowId {
    RowId(text.to_owned())
}

fn row(name: &str, value: &str, count: i64) -> Row {
    Row { id: id(name), value: value.to_owned(), count }
}

async fn all(store: &Store, page: usize) -> Vec<Row> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = Rows::scan(store, after, page).await.unwrap();
        rows.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return rows,
        }
    }
}

async fn does_what_it_should(url: &str) {
    prepare(url, 2).await.unwrap();
    let store = Store::new("source", url, 3).unwrap();
    let (r, n, c) = (id("r1.0"), id("n1.0"), id("c1.0"));
    assert_eq!(store.get(&r).await.unwrap(), None);
    store.put(&r, "a").await.unwrap();
    store.put(&r, "b").await.unwrap();
    assert_eq!(store.get(&r).await.unwrap(), Some(row("r1.0", "b", 0)));

    assert_eq!(store.increment(&n).await.unwrap(), 1);
    assert_eq!(store.increment(&n).await.unwrap(), 2);
    store.set(&n, 41).await.unwrap();
    assert_eq!(store.increment(&n).await.unwrap(), 42);
    assert_eq!(store.claim(&c, "first").await.unwrap(), "first");
    assert_eq!(store.claim(&c, "second").await.unwrap(), "first");

    // Compare and set: of what is there byte by byte, also where nothing changes by it.
    let (old, new) = (row("r1.0", "b", 0), row("r1.0", "c", 7));
    for other in [row("r1.0", "B", 0), row("r1.0", "b ", 0), row("r1.0", "b", 1)] {
        assert!(!Rows::restore(&store, &r, Some(&other), Some(&new)).await.unwrap(), "{other:?}");
        assert!(!Rows::restore(&store, &r, Some(&other), None).await.unwrap(), "{other:?}");
    }
    assert!(!Rows::restore(&store, &r, None, Some(&new)).await.unwrap());
    assert!(!Rows::restore(&store, &r, None, None).await.unwrap());
    assert!(Rows::restore(&store, &r, Some(&old), Some(&old)).await.unwrap());
    assert!(Rows::restore(&store, &r, Some(&old), Some(&new)).await.unwrap());
    assert_eq!(store.get(&r).await.unwrap(), Some(new.clone()));
    assert!(Rows::restore(&store, &r, Some(&new), None).await.unwrap());
    assert_eq!(store.get(&r).await.unwrap(), None);
    assert!(!Rows::restore(&store, &r, Some(&new), Some(&old)).await.unwrap());
    assert!(Rows::restore(&store, &r, None, None).await.unwrap());
    assert!(Rows::restore(&store, &r, None, Some(&old)).await.unwrap());
    store.delete(&r).await.unwrap();
    store.delete(&r).await.unwrap();
    assert_eq!(store.get(&r).await.unwrap(), None);

    // So many times that every batch was left unfinished once, where that can be.
    for turn in 0..12 {
        let some = [row("r2.0", &format!("x{turn}"), 0), row("r2.1", &format!("y{turn}"), 0)];
        store.put_all(&some).await.unwrap();
        let found = store.get_all(&[id("r2.1"), id("r9.9"), id("r2.0")]).await.unwrap();
        assert_eq!(found, [Some(some[1].clone()), None, Some(some[0].clone())]);
    }

    let expected =
        [row("c1.0", "first", 0), row("n1.0", "", 42), row("r2.0", "x11", 0), row("r2.1", "y11", 0)].to_vec();
    for page in [1, 2, 3, 100] {
        let mut rows = all(&store, page).await;
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(rows, expected, "by {page}");
    }
    let mut rows = dump(url, "rows").await.unwrap();
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(rows, expected);

    // Ids go up by two, and each table has rows of its own under the same ids.
    let (orders, sessions) = (store.table("orders"), store.table("sessions"));
    for number in ["2", "4"] {
        assert_eq!(orders.create(7, "made").await.unwrap(), row(number, "made", 7));
        Sessions::open(&sessions, &row(number, "open", number.parse().unwrap())).await.unwrap();
    }
    Sessions::expire(&sessions, 3).await.unwrap();
    assert_eq!(dump(url, "sessions").await.unwrap(), [row("4", "open", 4)]);
    Orders::store(&orders, &row("2", "changed", 7)).await.unwrap();
    assert_eq!(orders.order(7, &id("2")).await.unwrap(), Some(row("2", "changed", 7)));
}

#[tokio::test]
async fn rows_of_postgres_are_swapped_as_a_whole_and_outlive_a_kill() {
    let server = Database::server("postgres").await.unwrap();
    does_what_it_should(&server.url).await;
    outlives_a_kill(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn rows_of_mariadb_are_swapped_as_a_whole_and_outlive_a_kill() {
    let server = Database::server("mysql").await.unwrap();
    does_what_it_should(&server.url).await;
    undoes_what_waits_too_long(&server.url).await;
    outlives_a_kill(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn rows_of_redis_are_swapped_as_a_whole_and_outlive_a_kill() {
    let server = Database::server("redis").await.unwrap();
    does_what_it_should(&server.url).await;
    admits_half_a_script(&server.url).await;
    outlives_a_kill(&server).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn rows_of_dynamodb_are_swapped_as_a_whole_and_batches_are_finished() {
    let database = dynoxide::Database::memory().unwrap();
    let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let url = format!("dynamodb://{}/", listener.local_addr().unwrap());
    let serving = tokio::spawn(dynoxide::server::serve_on(listener, database));
    does_what_it_should(&url).await;
    serving.abort();
}

/// A write that waits for a lock is ended by the server before its caller gives up, and is refused for good.
async fn undoes_what_waits_too_long(url: &str) {
    let store = Store::new("source", url, 3).unwrap();
    let held = id("r3.0");
    store.put(&held, "before").await.unwrap();
    let mut other = mysql_async::Conn::from_url(url).await.unwrap();
    other.query_drop("BEGIN").await.unwrap();
    other.query_drop("UPDATE `rows` SET count = 5 WHERE id = 'r3.0'").await.unwrap();
    let said = store.put(&held, "late").await;
    assert!(matches!(said, Err(RowError::Rejected("by the database"))), "{said:?}");
    other.query_drop("COMMIT").await.unwrap();
    assert_eq!(store.get(&held).await.unwrap(), Some(row("r3.0", "before", 5)));
    other.disconnect().await.unwrap();
    store.delete(&held).await.unwrap();
}

/// A script that fails half-way is no refusal: what it did before stays.
async fn admits_half_a_script(url: &str) {
    let store = Store::new("source", url, 3).unwrap();
    let mut other = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut rename = async |from: &str, to: &str| {
        let () = ::redis::cmd("RENAME").arg(from).arg(to).query_async(&mut other).await.unwrap();
    };
    // What names the ids is a hash now.
    rename("rows", "rows.kept").await;
    rename("rows:n1.0", "rows").await;
    let said = store.put(&id("r3.0"), "half").await;
    assert!(matches!(said, Err(RowError::Unknown("the script failed"))), "{said:?}");
    rename("rows", "rows:n1.0").await;
    rename("rows.kept", "rows").await;
    assert_eq!(store.get(&id("r3.0")).await.unwrap(), Some(row("r3.0", "half", 0)));
    store.delete(&id("r3.0")).await.unwrap();
}

/// Callers write until the server is killed: what was acknowledged is there afterwards, and whatever more is there was
/// not refused.
async fn outlives_a_kill(server: &Database) {
    let store = Store::new("source", &server.url, 4).unwrap();
    let mut writers = Vec::new();
    let (acknowledged, mut seen) = tokio::sync::watch::channel(0);
    for writer in 0..4 {
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        writers.push(tokio::spawn(async move {
            let counter = id(&format!("n9{writer}.0"));
            let (mut done, mut open) = (0, 0);
            loop {
                match store.increment(&counter).await {
                    Ok(count) => {
                        done = count;
                        acknowledged.send_modify(|all| *all += 1);
                    }
                    Err(RowError::Unknown(_)) => open += 1,
                    // Nothing is there to connect to.
                    Err(RowError::Rejected(_) | RowError::Held(_)) => return (counter, done, open),
                }
            }
        }));
    }
    seen.wait_for(|all| *all >= 100).await.unwrap();
    server.kill().await.unwrap();
    let mut told = Vec::new();
    for writer in writers {
        told.push(writer.await.unwrap());
    }
    server.restart().await.unwrap();
    for (counter, done, open) in told {
        let count = store.get(&counter).await.unwrap().map_or(0, |row| row.count);
        assert!((done..=done + open).contains(&count), "{done} acknowledged, {open} open, {count} there");
    }
}
