//! The operations of a table are keyed alike: by one type, as far as types tell.
//!
//! The key of one method is an expression over its arguments, so that only the compiler knows its type. Each method gets a closure that is never called, in which the key
//! of the table's first write stands beside its own.

use super::{borrow, of_each};
use crate::valid::{Argument, Dao, Form, Keys, Kind, Method, says};
use proc_macro2::{TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::Expr;
use syn::spanned::Spanned;

/// Shows to the compiler that this method is keyed as the table's first write.
pub(crate) fn check(dao: &Dao, method: &Method) -> TokenStream {
    let Some(first) = dao.methods.iter().find(|method| is_plain(method)) else { return TokenStream::new() };
    if std::ptr::eq(first, method) || matches!(method.kind, Kind::Read { looked_up: true, .. }) {
        return TokenStream::new();
    }
    let (Some((own, span)), Some((others, _))) = (shape(method), shape(first)) else { return TokenStream::new() };
    // Each of several is what its iterator lends.
    let own = match keys(method) {
        Some(Keys::Each { argument, .. }) => {
            let name = &method.arguments[*argument].name;
            quote!({ let each = &#name[0]; #own })
        }
        _ => own,
    };
    let arguments = arguments(first);
    quote_spanned! {span=>
        let _ = || {
            #[allow(unused_imports)]
            use ::crossfade::__private::{HasNoShape as _, HasShape as _};
            let __crossfade_own = #own;
            let _ = |#arguments| ::crossfade::__private::keyed_like(&__crossfade_own, &#others);
        };
    }
}

fn keys(method: &Method) -> Option<&Keys> {
    match &method.kind {
        Kind::Read { keys, .. } | Kind::Write { keys, .. } => Some(keys),
        Kind::OneSide | Kind::SourceOnly | Kind::TargetOnly => None,
    }
}

/// The shape of a method's key, and where the key stands.
fn shape(method: &Method) -> Option<(TokenStream, proc_macro2::Span)> {
    let (key, span) = match keys(method)? {
        Keys::One { key, .. } => (borrow(key), key.span()),
        Keys::Each { key, argument, .. } => {
            let key = key.as_ref();
            let of = of_each(key);
            (quote!(&#of), key.map_or_else(|| method.arguments[*argument].name.span(), Spanned::span))
        }
        Keys::Whole => return None,
    };
    Some((quote_spanned!(span=> (&::crossfade::__private::type_of(#key)).shape()), span))
}

/// A write whose arguments can be named elsewhere.
fn is_plain(method: &Method) -> bool {
    let has_key = matches!(&method.kind, Kind::Write { keys: Keys::One { .. } | Keys::Each { .. }, .. });
    has_key
        && method.cfg.is_empty()
        && method.signature.generics.params.is_empty()
        && needed(method).all(|argument| {
            let ty = ty(argument);
            !has_impl(ty)
        })
}

/// The arguments that the key is made of.
fn needed(method: &Method) -> impl Iterator<Item = &Argument> {
    let (key, each): (Option<&Expr>, Option<usize>) = match keys(method) {
        Some(Keys::One { key, .. }) => (Some(key), None),
        Some(Keys::Each { key, argument, .. }) => (key.as_ref(), Some(*argument)),
        Some(Keys::Whole) | None => (None, None),
    };
    method.arguments.iter().enumerate().filter_map(move |(place, argument)| {
        let said = key.is_some_and(|key| says(std::slice::from_ref(key), &argument.name));
        (said && each != Some(place)).then_some(argument)
    })
}

fn arguments(method: &Method) -> TokenStream {
    let named = needed(method).map(|argument| {
        let (name, ty) = (&argument.name, ty(argument));
        quote!(#name: #ty)
    });
    let each = match keys(method) {
        Some(Keys::Each { item, .. }) => Some(quote!(each: &#item)),
        _ => None,
    };
    let all = named.chain(each);
    quote!(#(#all),*)
}

fn ty(argument: &Argument) -> TokenStream {
    match &argument.form {
        Form::Borrowed(ty) => quote!(&#ty),
        Form::Optional(ty) => quote!(::core::option::Option<&#ty>),
        Form::Value(ty) => quote!(#ty),
    }
}

/// `impl Trait`, which a closure can't take.
fn has_impl(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "impl",
        TokenTree::Group(group) => has_impl(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
