//! The trait as the user wrote it, without the marks; `async fn` says that its future is `Send`.

use crate::parse::Word;
use crate::valid::is_async_trait;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemTrait, ReturnType, TraitItem, TraitItemFn, parse_quote};

pub(crate) fn expand(item: &ItemTrait) -> TokenStream {
    let mut item = item.clone();
    // With #[async_trait] the futures are boxed, and `Send` already.
    let native = !item.attrs.iter().any(is_async_trait);
    for part in &mut item.items {
        if let TraitItem::Fn(method) = part {
            method.attrs.retain(|attribute| !Word::ALL.iter().any(|word| attribute.path().is_ident(word.name())));
            if native && method.sig.asyncness.is_some() {
                say_send(method);
            }
        }
    }
    quote!(#item)
}

fn say_send(method: &mut TraitItemFn) {
    method.sig.asyncness = None;
    let output = match &method.sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, output) => quote!(#output),
    };
    method.sig.output = parse_quote!(-> impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    if let Some(body) = &mut method.default {
        *body = parse_quote!({ async move #body });
        if method.sig.receiver().is_some() {
            method.sig.generics.make_where_clause().predicates.push(parse_quote!(Self: ::core::marker::Sync));
        }
    }
}
