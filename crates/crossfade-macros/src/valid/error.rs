//! Which error the caller gets.

use super::{Errors, result_of};
use crate::parse::{Mark, Options, Word};
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemTrait, TraitItem, TraitItemFn, Type};

/// The associated type that methods return as their error.
pub(super) fn associated(item: &ItemTrait, marked: &[(&TraitItemFn, Mark)]) -> Option<Ident> {
    let associated = |name: &Ident| {
        item.items.iter().any(|part| matches!(part, TraitItem::Type(associated) if associated.ident == *name))
    };
    marked.iter().find_map(|(method, mark)| {
        if matches!(mark.word, Word::SourceOnly | Word::TargetOnly) {
            return None;
        }
        let (_, Type::Path(error)) = result_of(&method.sig)? else { return None };
        let mut segments = error.path.segments.iter();
        let (first, second) = (segments.next()?, segments.next()?);
        (first.ident == "Self" && associated(&second.ident)).then(|| second.ident.clone())
    })
}

/// Whether the options say enough, and not too much.
pub(super) fn check(options: &Options, associated: Option<&Ident>, errors: &mut Errors) {
    let of_sides = [
        options.source_error.as_ref().map(Spanned::span),
        options.target_error.as_ref().map(Spanned::span),
        options.map_source.as_ref().map(Spanned::span),
        options.map_target.as_ref().map(Spanned::span),
    ];
    match (associated, &options.error) {
        (None, Some(error)) => {
            let why = "`error` names what an associated error type is on the generated type, and no method of this trait \
                       returns one: leave it out, or write `type Error;` and return `Self::Error`";
            errors.add(Error::new_spanned(error, why));
        }
        (Some(name), None) => {
            for given in [&options.refused, &options.effect].into_iter().flatten() {
                let why = format!(
                    "which type is `Self::{name}` here? Write `error = YourError` too, or leave this out and give the \
                     error `From<crossfade::Refused>`"
                );
                errors.add(Error::new_spanned(given, why));
            }
            if let Some(span) = of_sides.into_iter().flatten().next() {
                errors.add(Error::new(span, "two error types become a third: write `error = YourError` too"));
            }
        }
        (None, None) => {
            if let Some(span) = of_sides.into_iter().flatten().next() {
                let why = "both sides return the same error type here: to give each its own, write `type Error;` in the \
                           trait, return `Self::Error`, and add `error = YourError`";
                errors.add(Error::new(span, why));
            }
        }
        (Some(_), Some(_)) => {
            let pairs = [
                (&options.source_error, &options.map_source, "source"),
                (&options.target_error, &options.map_target, "target"),
            ];
            for (error, map, side) in pairs {
                if let (None, Some(map)) = (error, map) {
                    let why = format!("what does it map? Write `{side}_error = …` with the error type of the {side}");
                    errors.add(Error::new_spanned(map, why));
                }
            }
        }
    }
}
