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
         attribute, where a store has no columns). **lossless**: every value comes back as it was put. **lossy**: only when the file says `lossy`, and what goes\n\
         is said below. **refused**: `crossfade check` names the column and what to do. A narrower column than that is judged on its own by `crossfade check`.\n\n\
         Between two engines decimals compare by number and JSON by value; within one engine both compare to the letter.\n",
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
            for ty in all.iter().filter(|ty| source.fit(ty, None) == Fit::Lossless) {
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
                if let Fit::Lossy(why) | Fit::Refused(why) = &fit {
                    writeln!(out, "| types of {} alone | {} | {why} |", source.kind(), fit.word()).unwrap();
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
