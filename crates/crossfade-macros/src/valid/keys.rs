//! What decides where an operation goes, and how a write reaches the other side.

use super::{Argument, Form, Keys, MirrorKind, Row, arguments_of};
use crate::parse::{Mark, MirrorWord};
use proc_macro2::{TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::{Error, Expr, FnArg, Ident, ItemTrait, TraitItem, Type, parse_quote};

/// The keys that a mark names, or why they can't be.
pub(super) fn of(mark: &Mark, arguments: &[Argument], has_rows: bool) -> Result<Keys, Error> {
    let name = mark.word.name();
    if let (Some(aligned), None) = (mark.aligned, &mark.keys) {
        let why = "`aligned` says that the answer has one value for each of several keys, in their order: write `keys = …` too";
        return Err(Error::new(aligned, why));
    }
    if let Some(key_of) = &mark.key_of {
        if mark.key.is_some() || mark.keys.is_some() || mark.whole.is_some() {
            let why = "`key_of` looks the cohort key up: leave out either `key_of` or the keys";
            return Err(Error::new_spanned(key_of, why));
        }
        return Ok(Keys::One { key: key_of.clone(), row: Row::Known(None) });
    }
    if let Some(whole) = mark.whole {
        if mark.key.is_some() || mark.row.is_some() || mark.rows.is_some() || mark.keys.is_some() {
            let why = "`whole` says that no key can split it: leave out either `whole` or the keys";
            return Err(Error::new(whole, why));
        }
        return Ok(Keys::Whole);
    }
    if let Some(keys) = &mark.keys {
        let Some((place, argument)) = arguments.iter().enumerate().find(|(_, argument)| argument.name == *keys) else {
            return Err(Error::new(
                keys.span(),
                format!("there is no argument `{keys}`: name the one that holds the keys"),
            ));
        };
        let (item, slice) = match &argument.form {
            Form::Borrowed(Type::Slice(slice)) => ((*slice.elem).clone(), true),
            Form::Value(Type::Path(path)) if path.path.segments.last().is_some_and(|last| last.ident == "Vec") => {
                match path.path.segments.last().map(|last| arguments_of(&last.arguments)).as_deref() {
                    Some([item]) => (item.clone(), false),
                    _ => return Err(Error::new(keys.span(), "write what is in the `Vec`")),
                }
            }
            _ => {
                let why = format!("`{keys}` has to be split between the sides: make it a slice (`&[T]`) or a `Vec<T>`");
                return Err(Error::new(keys.span(), why));
            }
        };
        if let Some(row) = mark.rows.as_ref().or(mark.row.as_ref().filter(|row| is_made(row, arguments))) {
            let why = "the rows of several keys are known before: write `row = each.id`. A batch whose ids the database \
                       makes is written for one key at a time (`key = user, rows = answer, row = each.id`), or is `whole`";
            return Err(Error::new_spanned(row, why));
        }
        return Ok(Keys::Each {
            argument: place,
            item: Box::new(item),
            slice,
            key: mark.key.clone(),
            row: mark.row.clone(),
            aligned: mark.aligned.is_some(),
        });
    }
    match &mark.key {
        Some(key) => {
            let row = match (&mark.rows, &mark.row) {
                (Some(rows), row) => {
                    if !is_made(rows, arguments) {
                        let why = "`rows` names the rows that the authority made, in its answer: write `rows = answer` with \
                                   `row = each.id`, or `keys = …` for rows that are known before";
                        return Err(Error::new_spanned(rows, why));
                    }
                    if let Some(answer) = row.as_ref().filter(|row| is_made(row, arguments)) {
                        let why = "`row` is the key of each of the rows: write `row = each.id`";
                        return Err(Error::new_spanned(answer, why));
                    }
                    check_made(mark, rows, has_rows)?;
                    Row::AllToCome { rows: rows.clone(), row: row.clone() }
                }
                (None, Some(row)) if is_made(row, arguments) => {
                    check_made(mark, row, has_rows)?;
                    Row::ToCome(row.clone())
                }
                (None, row) => Row::Known(row.clone()),
            };
            Ok(Keys::One { key: key.clone(), row })
        }
        None => {
            let example = arguments.first().map_or_else(|| "user_id".to_owned(), |argument| argument.name.to_string());
            let why = format!(
                "which key decides the side of this {name}? Write `#[{name}(key = {example})]` with the argument or field \
                 that the rollout goes by; `keys = …` for several; `whole` for a method that no key can split"
            );
            Err(Error::new(mark.span, why))
        }
    }
}

/// A key that the authority makes is handed on, or its row copied.
fn check_made(mark: &Mark, made: &Expr, has_rows: bool) -> Result<(), Error> {
    let copied = mark.mirror.is_none() && has_rows;
    if !copied && matches!(mark.mirror, None | Some(MirrorWord::Replay | MirrorWord::Guess)) {
        let why = "the authority makes this key, and the other side would make another: write `mirror = value(put)` with a \
                   method that takes the answer, or `mirror = snapshot`";
        return Err(Error::new_spanned(made, why));
    }
    Ok(())
}

/// The row's key is in the authority's answer.
fn is_made(row: &Expr, arguments: &[Argument]) -> bool {
    let answer = format_ident!("answer");
    says(std::slice::from_ref(row), &answer) && arguments.iter().all(|argument| argument.name != answer)
}

/// Whether any of these expressions says this name.
pub(crate) fn says(exprs: &[Expr], name: &Ident) -> bool {
    fn within(tokens: TokenStream, name: &Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == *name,
            TokenTree::Group(group) => within(group.stream(), name),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    exprs.iter().any(|expr| within(quote!(#expr), name))
}

/// How a write reaches the other side, or why it can't. Where nothing is said, the row is copied if that is possible,
/// and marked otherwise: nothing shows that the call may be repeated.
pub(super) fn mirror(mark: &Mark, name: &Ident, item: &ItemTrait, has_rows: bool) -> Result<MirrorKind, Error> {
    match &mark.mirror {
        None if has_rows && mark.whole.is_none() => Ok(MirrorKind::Snapshot),
        None => Ok(MirrorKind::Guess),
        Some(MirrorWord::Replay) => Ok(MirrorKind::Replay),
        Some(MirrorWord::Guess) => Ok(MirrorKind::Guess),
        Some(MirrorWord::Snapshot(span)) => {
            if !has_rows {
                let why =
                    "`mirror = snapshot` copies the row: the trait needs a `#[snapshot]` and a `#[restore]` method";
                return Err(Error::new(*span, why));
            }
            if mark.whole.is_some() {
                let why = "`mirror = snapshot` copies rows, and nothing says which rows a `whole` write touches: leave \
                           `mirror` out, and every call makes the table suspect until a verification; `mirror = replay` \
                           if the method is blind and deterministic";
                return Err(Error::new(*span, why));
            }
            Ok(MirrorKind::Snapshot)
        }
        Some(MirrorWord::Value { method, arguments }) => {
            let found = item.items.iter().find_map(|part| match part {
                TraitItem::Fn(found) if found.sig.ident == *method => Some(&found.sig),
                _ => None,
            });
            let Some(found) = found else {
                let why = format!(
                    "the trait has no method `{method}`: add one that puts the value which `{name}` made into a side"
                );
                return Err(Error::new(method.span(), why));
            };
            let takes = found.inputs.len().saturating_sub(1);
            let arguments = match arguments {
                Some(arguments) if arguments.len() == takes => arguments.clone(),
                None if takes == 1 => match found.inputs.last() {
                    Some(FnArg::Typed(input)) if matches!(&*input.ty, Type::Reference(_)) => vec![parse_quote!(answer)],
                    _ => vec![parse_quote!(::core::clone::Clone::clone(answer))],
                },
                Some(_) | None => {
                    let why = format!(
                        "`{method}` takes {takes} arguments: write `mirror = value({method}(…))` with the arguments of \
                         `{name}` and `answer`, a reference to what the authority answered"
                    );
                    return Err(Error::new(method.span(), why));
                }
            };
            Ok(MirrorKind::Value { method: method.clone(), arguments })
        }
    }
}
