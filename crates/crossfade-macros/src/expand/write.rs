//! Writes: the authority with the caller's own arguments; the secondary, where it is mirrored, with copies, or with
//! what the authority made (R17).

use super::{Side, begun, borrow, boxed, call, carries_state, direct, either, lend, of_each, own, rows, split, type_};
use crate::valid::{Argument, Dao, Form, Keys, Method, MirrorKind, Row, says};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Ident, Index};

pub(crate) fn expand(dao: &Dao, method: &Method, keys: &Keys, mirror: &MirrorKind) -> TokenStream {
    let field = type_::field(method);
    match keys {
        Keys::One { key, row: Row::Known(row) } => {
            let body = body(dao, method, mirror, row.as_ref().unwrap_or(key));
            let named = key.span();
            let key = borrow(key);
            // One reading of what the user named: the row is the key unless it says otherwise.
            let row = row.as_ref().map_or_else(|| quote_spanned!(named=> __crossfade_key), borrow);
            let row_type = rows::id_type(dao).map(|ty| quote!(: &#ty));
            let ticket = begun(dao, &quote!(self.#field.begin_write(__crossfade_key, __crossfade_row).await));
            quote! {
                let __crossfade_ticket = {
                    let __crossfade_key = #key;
                    let __crossfade_row #row_type = #row;
                    #ticket
                };
                #body
            }
        }
        Keys::One { key, row: Row::ToCome(_) | Row::AllToCome { .. } } => {
            let body = match (mirror, Made::of(keys)) {
                (MirrorKind::Snapshot, Some(made)) => made_copied(dao, method, &made),
                (_, made) => replayed(dao, method, mirror, made.as_ref()),
            };
            let key = borrow(key);
            let ticket = begun(dao, &quote!(self.#field.begin_write_of_new(#key).await));
            quote!(let __crossfade_ticket = #ticket; #body)
        }
        Keys::Whole => {
            let ticket = begun(dao, &quote!(self.#field.begin_whole_write().await));
            let body = replayed(dao, method, mirror, None);
            quote!(let __crossfade_ticket = #ticket; #body)
        }
        Keys::Each { argument, key, row, .. } => {
            let (name, refused) = (&method.arguments[*argument].name, super::refused(dao));
            let named = row.as_ref().or(key.as_ref());
            let body = match mirror {
                MirrorKind::Snapshot => all_copied(dao, method, name, named),
                MirrorKind::Replay | MirrorKind::Guess | MirrorKind::Value { .. } => {
                    replayed(dao, method, mirror, None)
                }
            };
            let row = of_each(named);
            let key = of_each(key.as_ref());
            let begin = quote! {
                self.#field.split_write(::core::iter::Iterator::map(
                    ::core::iter::IntoIterator::into_iter(&#name[..]),
                    |each| (#key, #row),
                )).await
            };
            split(method, keys, &quote!(::core::result::Result::map_err(#begin, #refused)), &body)
        }
    }
}

/// From `__crossfade_ticket` to the answer.
fn body(dao: &Dao, method: &Method, mirror: &MirrorKind, row: &Expr) -> TokenStream {
    match mirror {
        MirrorKind::Snapshot => copied(dao, method, row),
        MirrorKind::Replay | MirrorKind::Guess | MirrorKind::Value { .. } => replayed(dao, method, mirror, None),
    }
}

/// The rows whose keys the authority makes, as its answer names them.
enum Made<'a> {
    One(&'a Expr),
    Many { rows: &'a Expr, row: Option<&'a Expr> },
}

impl<'a> Made<'a> {
    fn of(keys: &'a Keys) -> Option<Made<'a>> {
        match keys {
            Keys::One { row: Row::ToCome(row), .. } => Some(Made::One(row)),
            Keys::One { row: Row::AllToCome { rows, row }, .. } => Some(Made::Many { rows, row: row.as_ref() }),
            Keys::One { row: Row::Known(_), .. } | Keys::Each { .. } | Keys::Whole => None,
        }
    }

    /// What the user wrote about them.
    fn written(&self) -> Vec<Expr> {
        match self {
            Made::One(row) => vec![(*row).clone()],
            Made::Many { rows, row } => std::iter::once(*rows).chain(*row).cloned().collect(),
        }
    }

    /// The rows of a batch, to go through one by one.
    fn each(rows: &Expr) -> TokenStream {
        let rows = of_each(Some(rows));
        quote!(::core::iter::IntoIterator::into_iter(#rows))
    }

    /// A borrow of the key of `each`.
    fn key_of_each(row: Option<&Expr>) -> TokenStream {
        row.map_or_else(|| quote!(&each), borrow)
    }
}

/// Owned copies of the arguments that an expression over the answer names, to be taken along as `kept`, and the same
/// arguments lent again.
fn kept(method: &Method, made: &Made<'_>, kept: &Ident) -> (TokenStream, TokenStream) {
    let written = made.written();
    let named = |argument: &&Argument| says(&written, &argument.name);
    let arguments: Vec<&Argument> = method.arguments.iter().filter(named).collect();
    let owned = arguments.iter().map(|argument| own(argument));
    let lent = arguments.iter().enumerate().map(|(place, argument)| {
        let (name, place) = (&argument.name, Index::from(place));
        let lent = lend(argument, &quote!(#kept.#place));
        quote!(let #name = #lent;)
    });
    (quote!(let #kept = (#(#owned,)*);), quote!(let _ = &#kept; #(#lent)*))
}

/// The rows that the authority has named in its answer; and what has to be kept for them.
fn naming(dao: &Dao, method: &Method, made: &Made<'_>) -> (TokenStream, TokenStream) {
    let row_type = rows::id_type(dao).map(|ty| quote!(: &#ty));
    let text = |row: TokenStream| {
        quote!({
            let __crossfade_row #row_type = #row;
            ::crossfade::key::text(__crossfade_row)
        })
    };
    let named = match made {
        Made::One(row) => text(borrow(row)),
        Made::Many { rows, row } => {
            let (each, text) = (Made::each(rows), text(Made::key_of_each(*row)));
            quote! {
                ::core::iter::Iterator::collect::<::crossfade::__private::Vec<_>>(
                    ::core::iter::Iterator::map(#each, |each| #text),
                )
            }
        }
    };
    let (keep, lend) = kept(method, made, &format_ident!("__crossfade_named"));
    let naming = quote! {
        move |answer| {
            #lend
            #named
        }
    };
    (keep, naming)
}

/// The method of the ticket that names one row, or several.
fn named_by(made: &Made<'_>) -> TokenStream {
    match made {
        Made::One(_) => quote!(mirrored_new_detached),
        Made::Many { .. } => quote!(mirrored_new_rows_detached),
    }
}

/// The authority's call with everything of its own, so that it can go on without its caller.
struct Detached {
    /// Owned values, to be made before anything takes the arguments away.
    keep: TokenStream,
    naming: TokenStream,
    call: TokenStream,
}

fn detached(dao: &Dao, method: &Method, made: &Made<'_>) -> Detached {
    let (keep_named, naming) = naming(dao, method, made);
    let owned = method.arguments.iter().map(|argument| match argument.form {
        Form::Value(_) => {
            let name = &argument.name;
            quote!(#name)
        }
        Form::Borrowed(_) | Form::Optional(_) => own(argument),
    });
    let lent = method.arguments.iter().enumerate().map(|(place, argument)| {
        let (name, place) = (&argument.name, Index::from(place));
        match argument.form {
            Form::Value(_) => quote!(let #name = __crossfade_asked.#place;),
            Form::Borrowed(_) | Form::Optional(_) => {
                let lent = lend(argument, &quote!(__crossfade_asked.#place));
                quote!(let #name = #lent;)
            }
        }
    });
    let names: Vec<_> = super::names(method).map(|name| quote!(#name)).collect();
    let calls = Side::BOTH.map(|side| {
        let (field, variant) = (side.field(), side.variant());
        let call = call(dao, side, &quote!(#field), &method.signature.ident, &names);
        quote!(#variant(#field) => #call.await)
    });
    let asking = either(&quote!(__crossfade_authority), |side| {
        let (field, variant) = (side.field(), side.variant());
        quote!(#variant(::core::clone::Clone::clone(&self.#field)))
    });
    let keep = quote! {
        #keep_named
        let __crossfade_asking = #asking;
        let __crossfade_asked = (#(#owned,)*);
    };
    let call = quote! {
        async move {
            let _ = &__crossfade_asked;
            #(#lent)*
            match __crossfade_asking { #(#calls,)* }
        }
    };
    Detached { keep, naming, call }
}

fn effect(dao: &Dao) -> TokenStream {
    match &dao.options.effect {
        Some(effect) => quote!(#effect),
        None => quote!(::crossfade::unknown_effect),
    }
}

fn single(dao: &Dao, method: &Method) -> TokenStream {
    let effect = effect(dao);
    either(&quote!(__crossfade_ticket.authority()), |side| {
        let call = direct(dao, method, side);
        quote!(__crossfade_ticket.single(#effect, #call).await)
    })
}

fn answer(dao: &Dao, method: &Method) -> TokenStream {
    either(&quote!(__crossfade_authority), |side| {
        let call = direct(dao, method, side);
        quote!(#call.await)
    })
}

/// The secondary's call carries the caller's arguments, or what is made of the authority's answer.
fn replayed(dao: &Dao, method: &Method, mirror: &MirrorKind, made: Option<&Made<'_>>) -> TokenStream {
    let (single, answer, effect, kind) = (single(dao, method), answer(dao, method), effect(dao), carries_state(mirror));
    let (wanted, callee, arguments): (Vec<&Argument>, _, Vec<TokenStream>) = match mirror {
        MirrorKind::Value { method: callee, arguments } => {
            let wanted = method.arguments.iter().filter(|argument| says(arguments, &argument.name)).collect();
            (wanted, callee, arguments.iter().map(|argument| quote!(#argument)).collect())
        }
        MirrorKind::Replay | MirrorKind::Guess | MirrorKind::Snapshot => {
            let names = super::names(method).map(|name| quote!(#name)).collect();
            (method.arguments.iter().collect(), &method.signature.ident, names)
        }
    };
    // A call for each of the rows that the authority made.
    let rows_of_calls = match (made, mirror) {
        (Some(Made::Many { rows, .. }), MirrorKind::Value { arguments, .. }) => {
            says(arguments, &format_ident!("each")).then(|| Made::each(rows))
        }
        _ => None,
    };
    let owned = wanted.iter().map(|argument| own(argument));
    let lent: Vec<TokenStream> = wanted
        .iter()
        .enumerate()
        .map(|(place, argument)| {
            let (name, place) = (&argument.name, Index::from(place));
            match argument.form {
                // This copy is used once: it goes to the secondary as it is.
                Form::Value(_) if rows_of_calls.is_none() => quote!(let #name = __crossfade_owned.#place;),
                Form::Value(_) | Form::Borrowed(_) | Form::Optional(_) => {
                    let lent = lend(argument, &quote!(__crossfade_owned.#place));
                    quote!(let #name = #lent;)
                }
            }
        })
        .collect();
    let (keep, show) = match mirror {
        MirrorKind::Value { .. } => {
            let answer = format_ident!("answer");
            (
                Some(quote!(let __crossfade_answer = ::core::clone::Clone::clone(__crossfade_answer);)),
                Some(quote!(let #answer = &__crossfade_answer; let _ = #answer;)),
            )
        }
        MirrorKind::Replay | MirrorKind::Guess | MirrorKind::Snapshot => {
            (Some(quote!(let _ = __crossfade_answer;)), None)
        }
    };
    let again = Side::BOTH.map(|side| {
        let (field, variant) = (side.field(), side.variant());
        let call = boxed(method, &call(dao, side, &quote!(#field), callee, &arguments));
        quote!(#variant(#field) => ::core::result::Result::map(#call.await, ::core::mem::drop))
    });
    let calls = match rows_of_calls {
        None => quote! {
            #(#lent)*
            #show
            match __crossfade_secondary { #(#again,)* }
        },
        Some(rows) => quote! {
            #show
            let mut __crossfade_worst = ::crossfade::__private::Worst::new(#effect);
            for each in #rows {
                #(#lent)*
                __crossfade_worst.add(match &__crossfade_secondary { #(#again,)* });
            }
            __crossfade_worst.done()
        },
    };
    let again = quote! {
        move |__crossfade_answer, _| {
            #keep
            async move {
                let _ = &__crossfade_owned;
                #calls
            }
        }
    };
    let mirrored = match made {
        None => quote!(mirrored(#kind, #effect, async { #answer }, #again)),
        Some(made) => {
            let (Detached { naming, call, .. }, named_by) = (detached(dao, method, made), named_by(made));
            quote!(#named_by(#kind, #effect, #call, #naming, #effect, #again))
        }
    };
    let before = made.map(|made| detached(dao, method, made).keep);
    // The handle of the side that is called second, and of no other: each costs two shared counts.
    let secondary = either(&quote!(__crossfade_authority), |side| {
        let (field, variant) = (side.other().field(), side.other().variant());
        quote!(#variant(::core::clone::Clone::clone(&self.#field)))
    });
    quote! {
        if !__crossfade_ticket.is_mirrored() {
            #single
        } else {
            let __crossfade_authority = __crossfade_ticket.authority();
            let __crossfade_owned = (#(#owned,)*);
            let __crossfade_secondary = #secondary;
            #before
            __crossfade_ticket.#mirrored.await
        }
    }
}

/// The secondary gets the row that the authority now has.
fn copied(dao: &Dao, method: &Method, row: &Expr) -> TokenStream {
    let (single, answer, effect) = (single(dao, method), answer(dao, method), effect(dao));
    let (id, copy) = (rows::own_id(dao, &borrow(row)), copy_one());
    quote! {
        if !__crossfade_ticket.is_mirrored() {
            #single
        } else {
            let __crossfade_authority = __crossfade_ticket.authority();
            let __crossfade_timeout = __crossfade_ticket.secondary_timeout();
            let __crossfade_id = #id;
            let __crossfade_rows = self.rows();
            __crossfade_ticket.mirrored_by(
                ::crossfade::Mirror::State,
                #effect,
                async { #answer },
                ::crossfade::__private::copy_effect,
                move |_, _| #copy,
            ).await
        }
    }
}

/// Copies the row `__crossfade_id`.
fn copy_one() -> TokenStream {
    quote! {
        async move {
            ::core::result::Result::map(
                ::crossfade::repair::reconcile(
                    &__crossfade_rows,
                    __crossfade_authority,
                    &__crossfade_id,
                    __crossfade_timeout,
                )
                .await,
                ::core::mem::drop,
            )
        }
    }
}

/// Copies the rows `__crossfade_ids`.
fn copy_all() -> TokenStream {
    quote! {
        ::crossfade::__private::copy_rows(
            __crossfade_rows,
            __crossfade_authority,
            __crossfade_ids,
            __crossfade_timeout,
        )
    }
}

/// The secondary gets the rows that the authority has named in its answer, as the authority now has them.
fn made_copied(dao: &Dao, method: &Method, made: &Made<'_>) -> TokenStream {
    let (single, effect, named_by) = (single(dao, method), effect(dao), named_by(made));
    let Detached { keep: asked, naming, call } = detached(dao, method, made);
    let (keep, lend) = kept(method, made, &format_ident!("__crossfade_copied"));
    let (ids, copy) = match made {
        Made::One(row) => {
            let id = rows::own_id(dao, &borrow(row));
            (quote!(let __crossfade_id = #id;), copy_one())
        }
        Made::Many { rows, row } => {
            let (each, id) = (Made::each(rows), rows::own_id(dao, &Made::key_of_each(*row)));
            let ids = quote! {
                let __crossfade_ids = ::core::iter::Iterator::collect::<::crossfade::__private::Vec<_>>(
                    ::core::iter::Iterator::map(#each, |each| #id),
                );
            };
            (ids, copy_all())
        }
    };
    quote! {
        if !__crossfade_ticket.is_mirrored() {
            #single
        } else {
            let __crossfade_authority = __crossfade_ticket.authority();
            let __crossfade_timeout = __crossfade_ticket.secondary_timeout();
            #keep
            #asked
            let __crossfade_rows = self.rows();
            __crossfade_ticket.#named_by(
                ::crossfade::Mirror::State,
                #effect,
                #call,
                #naming,
                ::crossfade::__private::copy_effect,
                move |answer, _| {
                    let _ = answer;
                    #lend
                    #ids
                    #copy
                },
            ).await
        }
    }
}

/// The secondary gets the rows that the authority now has: all those of the batch in `name`.
fn all_copied(dao: &Dao, method: &Method, name: &Ident, row: Option<&Expr>) -> TokenStream {
    let (single, answer, effect) = (single(dao, method), answer(dao, method), effect(dao));
    let row = match row {
        // `each` is a borrow already.
        None | Some(Expr::Path(_)) => of_each(row),
        Some(row) => borrow(row),
    };
    let (id, copy) = (rows::own_id(dao, &row), copy_all());
    quote! {
        if !__crossfade_ticket.is_mirrored() {
            #single
        } else {
            let __crossfade_authority = __crossfade_ticket.authority();
            let __crossfade_timeout = __crossfade_ticket.secondary_timeout();
            let __crossfade_ids = ::core::iter::Iterator::collect::<::crossfade::__private::Vec<_>>(
                ::core::iter::Iterator::map(::core::iter::IntoIterator::into_iter(&#name[..]), |each| #id),
            );
            let __crossfade_rows = self.rows();
            __crossfade_ticket.mirrored_by(
                ::crossfade::Mirror::State,
                #effect,
                async { #answer },
                ::crossfade::__private::copy_effect,
                move |_, _| #copy,
            ).await
        }
    }
}
