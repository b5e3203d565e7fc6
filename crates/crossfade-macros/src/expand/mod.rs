//! The code. Paths are absolute, and every name of its own begins with `__crossfade`.

mod alike;
mod operations;
mod read;
mod rows;
mod trait_;
mod type_;
mod write;

use crate::valid::{Argument, Dao, Form, Keys, Kind, Method, MirrorKind};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, Ident, ItemTrait};

/// The trait alone, without the marks.
pub(crate) fn bare(item: &ItemTrait) -> TokenStream {
    trait_::expand(item)
}

/// Everything that `#[dao]` makes.
pub(crate) fn dao(dao: &Dao) -> TokenStream {
    let the_trait = trait_::expand(&dao.item);
    let the_type = type_::expand(dao);
    let rows = rows::expand(dao);
    let implementation = implementation(dao);
    quote!(#the_trait #the_type #rows #implementation)
}

/// The trait, for the generated type.
fn implementation(dao: &Dao) -> TokenStream {
    let (impl_generics, path, where_clause) = type_::header(dao);
    let (the_trait, async_trait) = (type_::trait_path(dao), &dao.async_trait);
    let types = type_::associated(dao);
    let methods = dao.methods.iter().map(|method| {
        let (cfg, signature) = (&method.cfg, &method.signature);
        let body = match &method.kind {
            Kind::Read { keys: Keys::One { key, .. }, compare, eventual, looked_up: true } => {
                read::looked_up(dao, method, key, compare.as_ref(), *eventual)
            }
            Kind::Read { keys, compare, eventual, looked_up: _ } => {
                read::expand(dao, method, keys, compare.as_ref(), *eventual)
            }
            Kind::Write { keys, mirror } => write::expand(dao, method, keys, mirror),
            Kind::OneSide => {
                let (refused, name) = (refused(dao), method.signature.ident.unraw().to_string());
                let unused = method.arguments.iter().map(|argument| &argument.name);
                quote! {
                    #(let _ = #unused;)*
                    ::core::result::Result::Err((#refused)(::crossfade::Refused::OneSide { method: #name }))
                }
            }
            Kind::SourceOnly => one_side(dao, method, Side::Source),
            Kind::TargetOnly => one_side(dao, method, Side::Target),
        };
        let alike = alike::check(dao, method);
        quote!(#(#cfg)* #signature { #alike #body })
    });
    quote! {
        #async_trait
        #[automatically_derived]
        impl #impl_generics #the_trait for #path #where_clause {
            #(#types)*
            #(#methods)*
        }
    }
}

fn one_side(dao: &Dao, method: &Method, side: Side) -> TokenStream {
    let name = &method.signature.ident;
    let arguments: Vec<_> = names(method).map(|name| quote!(#name)).collect();
    let receiver = side.field();
    if method.signature.asyncness.is_none() {
        let callee = type_::callee(dao, side);
        return quote!(#callee::#name(&*self.#receiver, #(#arguments),*));
    }
    let call = call(dao, side, &quote!(self.#receiver), name, &arguments);
    quote!(#call.await)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

impl Side {
    const BOTH: [Side; 2] = [Side::Source, Side::Target];

    fn field(self) -> Ident {
        match self {
            Side::Source => quote::format_ident!("__crossfade_source"),
            Side::Target => quote::format_ident!("__crossfade_target"),
        }
    }

    fn parameter(self) -> Ident {
        match self {
            Side::Source => quote::format_ident!("__CrossfadeSource"),
            Side::Target => quote::format_ident!("__CrossfadeTarget"),
        }
    }

    fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }

    /// What holds the handle of one side or the other.
    fn variant(self) -> TokenStream {
        match self {
            Side::Source => quote!(::crossfade::__private::OneOf::Source),
            Side::Target => quote!(::crossfade::__private::OneOf::Target),
        }
    }

    fn path(self) -> TokenStream {
        match self {
            Side::Source => quote!(::crossfade::Side::Source),
            Side::Target => quote!(::crossfade::Side::Target),
        }
    }
}

/// A call on one side, whose error is that of the generated type.
fn call(dao: &Dao, side: Side, receiver: &TokenStream, method: &Ident, arguments: &[TokenStream]) -> TokenStream {
    let callee = type_::callee(dao, side);
    let call = quote!(#callee::#method(&*#receiver, #(#arguments),*));
    match type_::error_map(dao, side) {
        Some(map) => quote!(::crossfade::__private::map_err(#call, #map)),
        None => call,
    }
}

/// A `match` on a side with a call in each arm.
fn either(side: &TokenStream, arm: impl Fn(Side) -> TokenStream) -> TokenStream {
    let arms = Side::BOTH.map(|side| {
        let (pattern, body) = (side.path(), arm(side));
        quote!(#pattern => #body)
    });
    quote!(match #side { #(#arms,)* })
}

fn names(method: &Method) -> impl Iterator<Item = &Ident> {
    method.arguments.iter().map(|argument| &argument.name)
}

/// The call for the caller: arguments go straight through.
fn direct(dao: &Dao, method: &Method, side: Side) -> TokenStream {
    let (arguments, field): (Vec<_>, _) = (names(method).map(|name| quote!(#name)).collect(), side.field());
    boxed(method, &call(dao, side, &quote!(self.#field), &method.signature.ident, &arguments))
}

/// A call of a method over several keys goes to the heap: its body stands in the generated method twice, for one part
/// and for several, with a call of either side for each way, and the compiler gives many of them room of their own.
/// Such a method allocates anyhow.
fn boxed(method: &Method, call: &TokenStream) -> TokenStream {
    match &method.kind {
        Kind::Read { keys: Keys::Each { .. }, .. } | Kind::Write { keys: Keys::Each { .. }, .. } => {
            quote!(::crossfade::__private::boxed(|| #call))
        }
        Kind::Read { .. } | Kind::Write { .. } | Kind::OneSide | Kind::SourceOnly | Kind::TargetOnly => call.clone(),
    }
}

/// `refused = …`, or `From`.
fn refused(dao: &Dao) -> TokenStream {
    match &dao.options.refused {
        Some(path) => quote!(#path),
        None => quote!(::crossfade::__private::FromRefused::from_refused),
    }
}

/// An owned copy of an argument.
fn own(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.form {
        Form::Borrowed(ty) => quote_spanned!(ty.span()=> ::crossfade::__private::own::<#ty>(#name)),
        Form::Optional(ty) => quote_spanned!(ty.span()=> ::crossfade::__private::own_option::<#ty>(#name)),
        Form::Value(ty) => quote_spanned!(ty.span()=> ::core::clone::Clone::clone(&#name)),
    }
}

/// The argument again, from its owned copy.
fn lend(argument: &Argument, owned: &TokenStream) -> TokenStream {
    match &argument.form {
        Form::Borrowed(ty) => quote!(::crossfade::__private::lend::<#ty>(&#owned)),
        Form::Optional(ty) => quote!(::crossfade::__private::lend_option::<#ty>(&#owned)),
        Form::Value(_) => quote!(::core::clone::Clone::clone(&#owned)),
    }
}

/// A borrow of what the user named. Without brackets around it where it needs none, so that no lint finds them.
fn borrow(expr: &Expr) -> TokenStream {
    match expr {
        Expr::Path(_)
        | Expr::Field(_)
        | Expr::MethodCall(_)
        | Expr::Call(_)
        | Expr::Index(_)
        | Expr::Lit(_)
        | Expr::Tuple(_)
        | Expr::Paren(_)
        | Expr::Macro(_) => quote_spanned!(expr.span()=> &#expr),
        _ => quote_spanned!(expr.span()=> &(#expr)),
    }
}

/// What an expression over `each` gives: a borrow where it names a place, a value where it makes one.
fn of_each(expr: Option<&Expr>) -> TokenStream {
    match expr {
        None => quote!(each),
        Some(Expr::Path(path)) => quote!(#path),
        Some(place @ (Expr::Field(_) | Expr::Index(_))) => quote_spanned!(place.span()=> &#place),
        Some(value) => quote!(#value),
    }
}

/// The parts of an operation over several keys, one after the other: `body` runs `__crossfade_ticket` with the keys of
/// its part. The usual case, where all keys go the same way, passes every argument straight through.
fn split(method: &Method, keys: &Keys, parts: &TokenStream, body: &TokenStream) -> TokenStream {
    let Keys::Each { argument, item, slice, aligned, .. } = keys else { return TokenStream::new() };
    let Some(named) = method.arguments.get(*argument) else { return TokenStream::new() };
    let name = &named.name;
    let others = method.arguments.iter().enumerate().filter(|(place, _)| place != argument).filter_map(|(_, other)| {
        let name = &other.name;
        match &other.form {
            Form::Value(_) => Some(quote!(let #name = ::core::clone::Clone::clone(&#name);)),
            Form::Borrowed(_) | Form::Optional(_) => None,
        }
    });
    let subset = quote! {
        ::core::iter::Iterator::collect::<::crossfade::__private::Vec<#item>>(::core::iter::Iterator::map(
            ::core::iter::IntoIterator::into_iter(&__crossfade_part.places),
            |__crossfade_place| ::core::clone::Clone::clone(&#name[*__crossfade_place]),
        ))
    };
    let merging = if *aligned {
        quote!(::crossfade::__private::Aligned::new())
    } else {
        quote!(::crossfade::__private::Merged::new())
    };
    let lend = slice.then(|| quote!(let #name: &[#item] = &#name;));
    quote! {
        let mut __crossfade_parts = match #parts {
            ::core::result::Result::Ok(__crossfade_parts) => __crossfade_parts,
            ::core::result::Result::Err(__crossfade_error) => return ::core::result::Result::Err(__crossfade_error),
        };
        if __crossfade_parts.len() == 1 {
            if let ::core::option::Option::Some(__crossfade_part) = __crossfade_parts.pop() {
                let __crossfade_ticket = __crossfade_part.ticket;
                return #body;
            }
        }
        let mut __crossfade_merging = #merging;
        for __crossfade_part in __crossfade_parts {
            let __crossfade_answer = {
                let #name = #subset;
                #lend
                #(#others)*
                let __crossfade_ticket = __crossfade_part.ticket;
                #body
            };
            match __crossfade_answer {
                ::core::result::Result::Ok(__crossfade_answer) => {
                    __crossfade_merging.add(&__crossfade_part.places, __crossfade_answer);
                }
                ::core::result::Result::Err(__crossfade_error) => {
                    return ::core::result::Result::Err(__crossfade_error);
                }
            }
        }
        ::core::result::Result::Ok(__crossfade_merging.done())
    }
}

/// The ticket out of a `begin_…`, or the caller's error.
fn begun(dao: &Dao, begin: &TokenStream) -> TokenStream {
    let refused = refused(dao);
    quote! {
        match #begin {
            ::core::result::Result::Ok(__crossfade_ticket) => __crossfade_ticket,
            ::core::result::Result::Err(__crossfade_refused) => {
                return ::core::result::Result::Err((#refused)(__crossfade_refused));
            }
        }
    }
}

/// What the library is told about a mirror (R17).
fn carries_state(mirror: &MirrorKind) -> TokenStream {
    match mirror {
        MirrorKind::Guess => quote!(::crossfade::Mirror::Guess),
        MirrorKind::Replay | MirrorKind::Snapshot | MirrorKind::Value { .. } => quote!(::crossfade::Mirror::State),
    }
}
