//! Writes: the authority with the caller's own arguments; the secondary, where it is mirrored, with copies, or with
//! what the authority made (R17).

use super::{Side, begun, borrow, call, carries_state, direct, either, lend, of_each, own, rows, split, type_};
use crate::valid::{Argument, Dao, Form, Keys, Method, MirrorKind, Row, says};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Index};

pub(crate) fn expand(dao: &Dao, method: &Method, keys: &Keys, mirror: &MirrorKind) -> TokenStream {
    let field = type_::field(method);
    match keys {
        Keys::One { key, row: Row::Known(row) } => {
            let body = body(dao, method, mirror, row.as_ref().unwrap_or(key), None);
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
        Keys::One { key, row: Row::ToCome(row) } => {
            let body = body(dao, method, mirror, row, Some(row));
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
            let row = of_each(row.as_ref().or(key.as_ref()));
            let key = of_each(key.as_ref());
            let begin = quote! {
                self.#field.split_write(::core::iter::Iterator::map(
                    ::core::iter::IntoIterator::into_iter(&#name[..]),
                    |each| (#key, #row),
                )).await
            };
            let body = replayed(dao, method, mirror, None);
            split(method, keys, &quote!(::core::result::Result::map_err(#begin, #refused)), &body)
        }
    }
}

/// From `__crossfade_ticket` to the answer. `made`: where the answer has the key that the authority made.
fn body(dao: &Dao, method: &Method, mirror: &MirrorKind, row: &Expr, made: Option<&Expr>) -> TokenStream {
    match mirror {
        MirrorKind::Snapshot => copied(dao, method, row, made),
        MirrorKind::Replay | MirrorKind::Guess | MirrorKind::Value { .. } => replayed(dao, method, mirror, made),
    }
}

/// The row that the authority has named in its answer.
fn naming(dao: &Dao, made: &Expr) -> TokenStream {
    let row_type = rows::id_type(dao).map(|ty| quote!(: &#ty));
    let row = borrow(made);
    quote! {
        |answer| {
            let __crossfade_row #row_type = #row;
            ::crossfade::key::text(__crossfade_row)
        }
    }
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
fn replayed(dao: &Dao, method: &Method, mirror: &MirrorKind, made: Option<&Expr>) -> TokenStream {
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
    let owned = wanted.iter().map(|argument| own(argument));
    let lent = wanted.iter().enumerate().map(|(place, argument)| {
        let (name, place) = (&argument.name, Index::from(place));
        match argument.form {
            // This copy is used once: it goes to the secondary as it is.
            Form::Value(_) => quote!(let #name = __crossfade_owned.#place;),
            Form::Borrowed(_) | Form::Optional(_) => {
                let lent = lend(argument, &quote!(__crossfade_owned.#place));
                quote!(let #name = #lent;)
            }
        }
    });
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
        let call = call(dao, side, &quote!(#field), callee, &arguments);
        quote!(#variant(#field) => ::core::result::Result::map(#call.await, ::core::mem::drop))
    });
    let again = quote! {
        move |__crossfade_answer, _| {
            #keep
            async move {
                let _ = &__crossfade_owned;
                #(#lent)*
                #show
                match __crossfade_secondary { #(#again,)* }
            }
        }
    };
    let mirrored = match made {
        None => quote!(mirrored(#kind, #effect, async { #answer }, #again)),
        Some(made) => {
            let naming = naming(dao, made);
            quote!(mirrored_new(#kind, #effect, async { #answer }, #naming, #effect, #again))
        }
    };
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
            __crossfade_ticket.#mirrored.await
        }
    }
}

/// The secondary gets the row that the authority now has.
fn copied(dao: &Dao, method: &Method, row: &Expr, made: Option<&Expr>) -> TokenStream {
    let (single, answer, effect, borrowed) = (single(dao, method), answer(dao, method), effect(dao), borrow(row));
    let id = rows::own_id(dao, &borrowed);
    let id = quote!(let __crossfade_id = #id;);
    let (before, after) = if made.is_some() { (None, Some(id)) } else { (Some(id), None) };
    let copy = quote!(::crossfade::__private::copy_effect);
    let again = quote! {
        move |answer, _| {
            let _ = answer;
            #after
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
    };
    let mirrored = match made {
        None => quote!(mirrored_by(::crossfade::Mirror::State, #effect, async { #answer }, #copy, #again)),
        Some(made) => {
            let naming = naming(dao, made);
            quote!(mirrored_new(::crossfade::Mirror::State, #effect, async { #answer }, #naming, #copy, #again))
        }
    };
    quote! {
        if !__crossfade_ticket.is_mirrored() {
            #single
        } else {
            let __crossfade_authority = __crossfade_ticket.authority();
            let __crossfade_timeout = __crossfade_ticket.secondary_timeout();
            #before
            let __crossfade_rows = self.rows();
            __crossfade_ticket.#mirrored.await
        }
    }
}
