//! `docs/reference/types.md` is what the stores say, for every pair of them. `CROSSFADE_BLESS=1` writes it anew.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "dynamodb", feature = "mysql", feature = "redis"))]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::{fmt::Write as _, sync::Arc};

use crossfade_stores::{ColumnType, Fit, Store, StoreKind, conformance};

async fn stores() -> Vec<Arc<dyn Store>> {
    let urls = [
        "postgres://nobody@127.0.0.1/x",
        "mysql://nobody@127.0.0.1/x",
        "sqlite://x.db",
        "dynamodb://eu-west-1?endpoint=http://127.0.0.1:1",
        "redis://127.0.0.1/0",
    ];
    let mut out = Vec::new();
    for url in urls {
        // Nothing is connected to.
        out.push(crossfade_stores::open(&url.parse().unwrap()).await.unwrap());
    }
    out
}

fn name(ty: &ColumnType) -> String {
    match ty {
        ColumnType::Enum { .. } => "enum".to_owned(),
        ColumnType::Text { max: Some(_) } => "text(n)".to_owned(),
        ColumnType::Decimal { precision: Some(_) } => "decimal(p,s)".to_owned(),
        other => other.to_string(),
    }
}

fn document(stores: &[Arc<dyn Store>]) -> String {
    let mut out = String::from(
        "# Types between stores\n\n<!-- Made by `CROSSFADE_BLESS=1 cargo test -p crossfade-stores --all-features --test types` from what the stores say. -->\n\n\
         A column of the source keeps its type; the question is how the target keeps its values, in the column that the target would make for it (or in an\n\
         attribute, where a store has no columns). **lossless**: every value comes back as it was put. **lossy**: some values do not, and which is\n\
         said below; `crossfade check` names the words of `lossy` that accept it (see [config](config.md)). **refused**: `crossfade check` names the column and what\n\
         to do. A narrower column than that is judged on its own by `crossfade check`.\n\n\
         Between two engines decimals compare by number and JSON by value; within one engine both compare to the letter.\n\n\
         What these tables do not say:\n\n\
         - A loss that only refuses rows needs no word where the target's column is of the very type of the source's.\n\
         - Types of one engine alone, arrays in more than one dimension and everything else go into a text column by `lossy = \"text\"`, as their own client prints them.\n\
         - MariaDB and MySQL have dates and times of the years 1 to 9999 without infinities; others are refused, row by row. Digits of a second that a column does not keep\n  \
           are refused by row, unless the file says `round` or `truncate`.\n\
         - PostgreSQL takes no NUL in a text and none in `jsonb`: such rows are refused.\n\
         - MySQL (not MariaDB) keeps numbers in JSON as doubles: one with more digits is found as a difference.\n\
         - SQLite keeps a 32-bit float as the double that prints the same. The double with the same bits is taken for the same float.\n\
         - A row of DynamoDB with an attribute that no column takes is refused by the attribute's name; see `rest` in [config](config.md).\n\
         - Computed columns are read like others, and never written.\n",
    );
    let all = conformance::all_types();
    for source in stores {
        for target in stores.iter().filter(|t| t.kind() != source.kind()) {
            write!(
                out,
                "\n## {} → {}\n\n| type | in {} | |\n|---|---|---|\n",
                source.kind(),
                target.kind(),
                target.kind()
            )
            .unwrap();
            // What a source cannot hold, it cannot send.
            for ty in all.iter().filter(|ty| !matches!(source.fit(ty, None), Fit::Refused(_))) {
                let fit = target.fit(ty, None);
                let why = match &fit {
                    Fit::Lossless => "",
                    Fit::Lossy(why) | Fit::Refused(why) => why,
                };
                writeln!(out, "| {} | {} | {why} |", name(ty), fit.word()).unwrap();
            }
            let own = ColumnType::Native { engine: source.kind().scheme().to_owned(), name: "…".to_owned() };
            if matches!(source.kind(), StoreKind::Postgres | StoreKind::Mysql) {
                let fit = target.fit(&own, None);
                if fit != Fit::Lossless {
                    writeln!(
                        out,
                        "| types of {} alone | {}, but for `lossy = \"text\"` into a text | a type that only one engine knows |",
                        source.kind(),
                        fit.word()
                    )
                    .unwrap();
                }
            }
        }
    }
    out
}

#[tokio::test]
async fn the_reference_says_what_the_stores_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/types.md");
    let said = document(&stores().await);
    assert!(
        said.contains("## postgres → dynamodb") && said.contains("refused") && said.contains("lossy"),
        "every word occurs"
    );
    if std::env::var_os("CROSSFADE_BLESS").is_some() {
        std::fs::write(path, &said).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, said, "docs/reference/types.md is old: make it anew with CROSSFADE_BLESS=1");
}
