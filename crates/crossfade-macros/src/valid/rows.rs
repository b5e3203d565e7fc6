//! Snapshot, restore and scan go together.

use super::{Errors, Form, RowMethods, ScanMethod, arguments_of, result_of};
use crate::parse::{Mark, Word};
use syn::{Error, FnArg, TraitItemFn, Type};

/// The row methods among the marked ones.
pub(super) fn find(marked: &[(&TraitItemFn, Mark)], errors: &mut Errors) -> Option<RowMethods> {
    let mut one = |word: Word| {
        let mut found = marked.iter().filter(|(_, mark)| mark.word == word);
        let first = found.next();
        if let Some((again, mark)) = found.next() {
            let why = format!("a trait has one `#[{}]`: `{}` is a second", word.name(), again.sig.ident);
            errors.add(Error::new(mark.span, why));
        }
        first
    };
    let (snapshot, restore, scan) = (one(Word::Snapshot), one(Word::Restore), one(Word::Scan));
    let (snapshot, restore) = match (snapshot, restore, scan) {
        (Some((snapshot, _)), Some((restore, _)), _) => (snapshot, restore),
        (Some((_, mark)), None, _) => {
            let why = "repair also has to put rows back: add `#[restore] async fn restore(&self, id, seen: Option<&Row>, \
                       row: Option<&Row>) -> Result<bool, …>`";
            errors.add(Error::new(mark.span, why));
            return None;
        }
        (None, Some((_, mark)), _) | (None, None, Some((_, mark))) => {
            let why = format!(
                "`#[{}]` goes with a way to read one row: add `#[snapshot] async fn snapshot(&self, id) -> \
                 Result<Option<Row>, …>`{}",
                mark.word.name(),
                if mark.word == Word::Scan { " and a `#[restore]`" } else { "" },
            );
            errors.add(Error::new(mark.span, why));
            return None;
        }
        (None, None, None) => return None,
    };
    let typed = |method: &TraitItemFn| -> Vec<Type> {
        let typed = method.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(argument) => Some((*argument.ty).clone()),
            FnArg::Receiver(_) => None,
        });
        typed.collect()
    };
    let (ids, puts) = (typed(snapshot), typed(restore));
    let [id] = ids.as_slice() else {
        let why = "a snapshot takes the row key and nothing else; a key of several parts is a struct with \
                   `#[derive(crossfade::Key)]` or a tuple";
        errors.add(Error::new_spanned(&snapshot.sig.inputs, why));
        return None;
    };
    if puts.len() != 3 {
        let why = "a restore takes the row key, the row it expects, and the row it puts: `(&self, id, seen: Option<&Row>, \
                   row: Option<&Row>)`";
        errors.add(Error::new_spanned(&restore.sig.inputs, why));
        return None;
    }
    let id = match id {
        Type::Reference(reference) => Form::Borrowed((*reference.elem).clone()),
        other => Form::Value(other.clone()),
    };
    let answer = result_of(&snapshot.sig).and_then(|(value, error)| match value {
        Type::Path(path) => {
            let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
            Some((arguments_of(&last.arguments).into_iter().next()?, error))
        }
        _ => None,
    });
    let Some((row, error)) = answer else {
        let why =
            "a snapshot answers with the row or none: write `-> Result<Option<Row>, YourError>`, both types in full";
        errors.add(Error::new_spanned(&snapshot.sig.output, why));
        return None;
    };
    let scan = match scan {
        None => None,
        Some((method, Mark { key: Some(key), row: Some(row), .. })) => {
            Some(ScanMethod { method: method.sig.ident.clone(), key: key.clone(), row: row.clone() })
        }
        Some((_, mark)) => {
            let why = "a scanned row has to say whose it is: write `#[scan(key = row.user_id, row = row.id)]`, where `row` \
                       is the row";
            errors.add(Error::new(mark.span, why));
            return None;
        }
    };
    Some(RowMethods { snapshot: snapshot.sig.ident.clone(), restore: restore.sig.ident.clone(), id, row, error, scan })
}
