//! Reads: the authority with the caller's own arguments; the other side, where it is compared, with copies.

use super::{begun, borrow, call, direct, either, lend, of_each, own, split, type_};
use crate::valid::{Dao, Keys, Method};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Expr, Index};

pub(crate) fn expand(dao: &Dao, method: &Method, keys: &Keys, compare: Option<&Expr>, eventual: bool) -> TokenStream {
    let field = type_::field(method);
    let body = body(dao, method, compare, eventual);
    match keys {
        Keys::One { key, .. } => {
            let key = borrow(key);
            let ticket = begun(dao, &quote!(self.#field.begin_read(#key)));
            quote!(let __crossfade_ticket = #ticket; #body)
        }
        Keys::Whole => {
            let ticket = begun(dao, &quote!(self.#field.begin_whole_read()));
            quote!(let __crossfade_ticket = #ticket; #body)
        }
        Keys::Each { argument, key, .. } => {
            let (name, refused, key) = (&method.arguments[*argument].name, super::refused(dao), of_each(key.as_ref()));
            let begin = quote! {
                self.#field.split_read(::core::iter::Iterator::map(
                    ::core::iter::IntoIterator::into_iter(&#name[..]),
                    |each| #key,
                ))
            };
            split(method, keys, &quote!(::core::result::Result::map_err(#begin, #refused)), &body)
        }
    }
}

/// From `__crossfade_ticket` to the answer.
fn body(dao: &Dao, method: &Method, compare: Option<&Expr>, eventual: bool) -> TokenStream {
    let authority = quote!(__crossfade_ticket.authority());
    let single = either(&authority, |side| {
        let call = direct(dao, method, side);
        quote!(__crossfade_ticket.single(#call).await)
    });
    let answer = either(&quote!(__crossfade_authority), |side| {
        let call = direct(dao, method, side);
        quote!(#call.await)
    });
    let owned = method.arguments.iter().map(own);
    let again = either(&quote!(__crossfade_side), |side| {
        let lent: Vec<_> = method
            .arguments
            .iter()
            .enumerate()
            .map(|(place, argument)| {
                let place = Index::from(place);
                lend(argument, &quote!(__crossfade_owned.#place))
            })
            .collect();
        let field = side.field();
        let call = call(dao, side, &quote!(#field), &method.signature.ident, &lent);
        quote!(#call.await)
    });
    let comparator = match compare {
        Some(compare) => quote!(#compare),
        None => quote_spanned!(method.span=> ::crossfade::compare::equality()),
    };
    let compared = quote_spanned!(method.span=> __crossfade_ticket.compared(#comparator, async { #answer }, __crossfade_again).await);
    let eventual = eventual.then(|| quote!(let __crossfade_ticket = __crossfade_ticket.eventual();));
    quote! {
        if !__crossfade_ticket.is_compared() {
            #single
        } else {
            #eventual
            let __crossfade_authority = #authority;
            let __crossfade_owned = ::crossfade::__private::Arc::new((#(#owned,)*));
            let __crossfade_source = ::core::clone::Clone::clone(&self.__crossfade_source);
            let __crossfade_target = ::core::clone::Clone::clone(&self.__crossfade_target);
            let __crossfade_again = move |__crossfade_side: ::crossfade::Side| {
                let __crossfade_owned = ::core::clone::Clone::clone(&__crossfade_owned);
                let __crossfade_source = ::core::clone::Clone::clone(&__crossfade_source);
                let __crossfade_target = ::core::clone::Clone::clone(&__crossfade_target);
                async move {
                    let _ = &__crossfade_owned;
                    #again
                }
            };
            #compared
        }
    }
}
