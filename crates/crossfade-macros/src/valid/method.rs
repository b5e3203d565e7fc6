//! One method: its receiver, its arguments, its answer.

use super::{Argument, Errors, Form, Keys, Kind, Method, Row, argument, arguments_of, keys, last_segment};
use crate::parse::{Mark, Word};
use quote::format_ident;
use syn::{Error, FnArg, Ident, ItemTrait, Pat, ReturnType, Signature, TraitItemFn, Type, TypeParamBound};

/// What a marked method is.
pub(super) fn read(method: &TraitItemFn, mark: &Mark, item: &ItemTrait, has_rows: bool) -> Result<Method, Error> {
    let mut signature = method.sig.clone();
    let name = signature.ident.clone();
    let one_sided = matches!(mark.word, Word::SourceOnly | Word::TargetOnly);
    check_receiver(&signature, mark)?;
    if !one_sided {
        check_async(&signature, mark)?;
        check_output(&signature, mark)?;
    }
    let mut arguments = Vec::new();
    let mut errors = Errors::default();
    for (place, input) in signature.inputs.iter_mut().enumerate() {
        let FnArg::Typed(argument) = input else { continue };
        let named = match &mut *argument.pat {
            Pat::Ident(pattern) => {
                pattern.mutability = None;
                Ok(pattern.ident.clone())
            }
            Pat::Wild(_) => Ok(format_ident!("__crossfade_argument_{place}")),
            other => Err(Error::new_spanned(other, "give the argument a name, and take it apart in the body")),
        };
        let Some(name) = errors.keep(named) else { continue };
        *argument.pat = plain(&name);
        let form = if one_sided { Ok(Form::Value((*argument.ty).clone())) } else { argument::form(&argument.ty, mark) };
        if let Some(form) = errors.keep(form) {
            arguments.push(Argument { name, form });
        }
    }
    if let Some(error) = errors.0 {
        return Err(error);
    }
    let kind = match mark.word {
        Word::Read => Kind::Read {
            keys: keys::of(mark, &arguments, has_rows)?,
            compare: mark.compare.clone(),
            eventual: mark.eventual.is_some(),
            looked_up: mark.key_of.is_some(),
        },
        Word::Write => Kind::Write {
            keys: keys::of(mark, &arguments, has_rows)?,
            mirror: keys::mirror(mark, &name, item, has_rows)?,
        },
        Word::Snapshot => match &mark.key {
            Some(key) => Kind::Read {
                keys: Keys::One { key: key.clone(), row: Row::Known(None) },
                compare: None,
                eventual: false,
                looked_up: false,
            },
            None => Kind::OneSide,
        },
        Word::Restore | Word::Scan => Kind::OneSide,
        Word::SourceOnly => Kind::SourceOnly,
        Word::TargetOnly => Kind::TargetOnly,
    };
    let cfg = method.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect();
    Ok(Method { signature, cfg, arguments, kind, word: mark.word, span: mark.span })
}

fn plain(name: &Ident) -> Pat {
    Pat::Ident(syn::PatIdent { attrs: Vec::new(), by_ref: None, mutability: None, ident: name.clone(), subpat: None })
}

fn check_receiver(signature: &Signature, mark: &Mark) -> Result<(), Error> {
    let name = mark.word.name();
    match signature.receiver() {
        None => Err(Error::new(
            signature.ident.span(),
            format!("`#[{name}]` runs on an implementation: make `&self` the first argument"),
        )),
        Some(receiver)
            if receiver.reference.is_none() || receiver.mutability.is_some() || receiver.colon_token.is_some() =>
        {
            Err(Error::new_spanned(
                receiver,
                "both implementations are shared by many tasks: take `&self`, and keep what changes behind a lock",
            ))
        }
        Some(_) => Ok(()),
    }
}

fn check_async(signature: &Signature, mark: &Mark) -> Result<(), Error> {
    if signature.asyncness.is_some() {
        return Ok(());
    }
    let name = &signature.ident;
    if let ReturnType::Type(_, output) = &signature.output {
        if last_segment(output).is_some_and(|last| last == "Pin") {
            let why =
                "`#[async_trait]` has been here already: put `#[crossfade::dao]` over `#[async_trait]`, not under it";
            return Err(Error::new_spanned(output, why));
        }
        if is_stream(output) {
            return Err(stream(output));
        }
    }
    Err(Error::new(
        signature.fn_token.span,
        format!("`#[{}]` goes on an async method: write `async fn {name}`", mark.word.name()),
    ))
}

fn check_output(signature: &Signature, mark: &Mark) -> Result<(), Error> {
    let ReturnType::Type(_, output) = &signature.output else {
        let why = format!(
            "`{}` returns nothing, so that neither a refusal nor a failure could reach its caller: write \
             `-> Result<(), YourError>`",
            signature.ident
        );
        return Err(Error::new(signature.paren_token.span.close(), why));
    };
    if is_stream(output) {
        return Err(stream(output));
    }
    if !last_segment(output).is_some_and(|last| last.to_string().ends_with("Result")) {
        let why = format!(
            "a refusal or a failure has to reach the caller of `#[{}]`: write `-> Result<…, YourError>`",
            mark.word.name()
        );
        return Err(Error::new_spanned(output, why));
    }
    if let Some(reference) = argument::find_reference(output) {
        let why = "the answer of one side can't borrow from it while the other is asked: return an owned value";
        return Err(Error::new_spanned(reference, why));
    }
    Ok(())
}

fn is_stream(output: &Type) -> bool {
    let named = |segment: &Ident| segment.to_string().ends_with("Stream");
    match output {
        Type::ImplTrait(bounds) => bounds.bounds.iter().any(|bound| {
            matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| named(&last.ident)))
        }),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            named(&last.ident) || arguments_of(&last.arguments).iter().any(is_stream)
        }),
        _ => false,
    }
}

fn stream(output: &Type) -> Error {
    let why = "a stream can't be compared or stay on its side: return pages instead, each with the place where the next \
               one begins (`-> Result<Page<…>, …>`)";
    Error::new_spanned(output, why)
}
