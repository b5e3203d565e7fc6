//! Reads: the authority with the caller's own arguments; the other side, where it is compared, with copies.

use super::{begun, borrow, boxed, call, direct, either, lend, of_each, own, split, type_};
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

/// A read whose cohort key is found by a lookup of the user's, before the decision.
pub(crate) fn looked_up(
    dao: &Dao,
    method: &Method,
    lookup: &Expr,
    compare: Option<&Expr>,
    eventual: bool,
) -> TokenStream {
    let (field, body) = (type_::field(method), body(dao, method, compare, eventual));
    let ticket = begun(dao, &quote!(self.#field.begin_read(&__crossfade_key)));
    quote! {
        let __crossfade_key = match (#lookup).await {
            ::core::result::Result::Ok(__crossfade_key) => __crossfade_key,
            ::core::result::Result::Err(__crossfade_error) => {
                return ::core::result::Result::Err(::core::convert::From::from(__crossfade_error));
            }
        };
        let __crossfade_ticket = #ticket;
        #body
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
        let call = boxed(method, &call(dao, side, &quote!(#field), &method.signature.ident, &lent));
        quote!(#call.await)
    });
    let compared = match compare {
        Some(compare) => quote_spanned! {method.span=>
            __crossfade_ticket.compared(#compare, async { #answer }, __crossfade_again).await
        },
        // The answer's type decides, as the compiler knows it: an alias is no other type.
        None => quote_spanned! {method.span=> {
            let (__crossfade_type, __crossfade_call) = ::crossfade::__private::answer_of(async { #answer });
            let __crossfade_comparator = {
                #[allow(unused_imports)]
                use ::crossfade::__private::{ChooseEquality as _, ChooseRows as _};
                (&__crossfade_type).comparator()
            };
            __crossfade_ticket.compared(__crossfade_comparator, __crossfade_call, __crossfade_again).await
        }},
    };
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
