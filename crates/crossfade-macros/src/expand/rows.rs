//! The rows of both sides: `RowPair` from `#[snapshot]` and `#[restore]`, `ScanRows` from `#[scan]`.

use super::{Side, borrow, call, either, type_};
use crate::valid::{Dao, Form, RowMethods, ScanMethod};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Ident, Type};

/// The type that stands for the rows.
pub(crate) fn name(dao: &Dao) -> Ident {
    format_ident!("{}Rows", dao.name)
}

/// The row key as the snapshot takes it, without the borrow; none without rows.
pub(crate) fn id_type(dao: &Dao) -> Option<Type> {
    dao.rows.as_ref().map(|rows| type_::outside(dao, bare_id(rows)))
}

fn bare_id(rows: &RowMethods) -> &Type {
    match &rows.id {
        Form::Borrowed(ty) | Form::Optional(ty) | Form::Value(ty) => ty,
    }
}

/// An owned row key of a borrow of what the user named.
pub(crate) fn own_id(dao: &Dao, row: &TokenStream) -> TokenStream {
    match id_type(dao) {
        Some(ty) => quote!({ let __crossfade_row: &#ty = #row; ::crossfade::__private::own::<#ty>(__crossfade_row) }),
        None => TokenStream::new(),
    }
}

pub(crate) fn expand(dao: &Dao) -> TokenStream {
    let Some(rows) = &dao.rows else { return TokenStream::new() };
    let (vis, name, dao_name) = (&dao.item.vis, name(dao), &dao.name);
    let (source, target) = (Side::Source.parameter(), Side::Target.parameter());
    let (parameters, arguments, marker) = type_::parameters(dao);
    let (impl_generics, where_clause) = type_::bounds(dao);
    let sides = type_::sides(dao);
    let doc = format!("The rows of both sides of a [`{dao_name}`], for repair, backfill and verification.");
    let (id, row, error) =
        (type_::outside(dao, bare_id(rows)), type_::outside(dao, &rows.row), type_::outside(dao, &rows.error));
    let side = quote!(__crossfade_side);
    let id_argument = match rows.id {
        Form::Borrowed(_) | Form::Optional(_) => quote!(::crossfade::__private::lend::<#id>(__crossfade_id)),
        Form::Value(_) => quote!(::core::clone::Clone::clone(__crossfade_id)),
    };
    let snapshot = either(&side, |side| {
        let field = side.field();
        let call = call(dao, side, &quote!(self.#field), &rows.snapshot, std::slice::from_ref(&id_argument));
        quote!(#call.await)
    });
    let restore = either(&side, |side| {
        let field = side.field();
        let arguments = [id_argument.clone(), quote!(__crossfade_seen), quote!(__crossfade_row)];
        let call = call(dao, side, &quote!(self.#field), &rows.restore, &arguments);
        quote!(#call.await)
    });
    let owned_id = quote!(<#id as ::crossfade::__private::ToOwned>::Owned);
    let scan = rows.scan.as_ref().map(|scan| scan_rows(dao, scan, &row, &error, &owned_id));
    quote! {
        #[doc = #doc]
        #vis struct #name<#sides #(#parameters),*> {
            __crossfade_source: ::crossfade::__private::Arc<#source>,
            __crossfade_target: ::crossfade::__private::Arc<#target>,
            __crossfade_marker: ::core::marker::PhantomData<#marker>,
        }

        #[automatically_derived]
        impl<#sides #(#parameters),*> ::core::clone::Clone
            for #name<#source, #target, #(#arguments),*>
        {
            fn clone(&self) -> Self {
                Self {
                    __crossfade_source: ::core::clone::Clone::clone(&self.__crossfade_source),
                    __crossfade_target: ::core::clone::Clone::clone(&self.__crossfade_target),
                    __crossfade_marker: ::core::marker::PhantomData,
                }
            }
        }

        #[automatically_derived]
        impl<#sides #(#parameters),*> ::core::fmt::Debug
            for #name<#source, #target, #(#arguments),*>
        {
            fn fmt(&self, __crossfade_f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Formatter::write_str(__crossfade_f, ::core::stringify!(#name))
            }
        }

        #[automatically_derived]
        impl #impl_generics ::crossfade::rows::RowPair for #name<#source, #target, #(#arguments),*> #where_clause {
            type Id = #owned_id;
            type Row = #row;
            type Error = #error;

            async fn snapshot(
                &self,
                __crossfade_side: ::crossfade::Side,
                __crossfade_id: &Self::Id,
            ) -> ::core::result::Result<::core::option::Option<Self::Row>, Self::Error> {
                #snapshot
            }

            async fn restore(
                &self,
                __crossfade_side: ::crossfade::Side,
                __crossfade_id: &Self::Id,
                __crossfade_seen: ::core::option::Option<&Self::Row>,
                __crossfade_row: ::core::option::Option<&Self::Row>,
            ) -> ::core::result::Result<::core::primitive::bool, Self::Error> {
                #restore
            }
        }

        #scan
    }
}

fn scan_rows(dao: &Dao, scan: &ScanMethod, row: &Type, error: &Type, owned_id: &TokenStream) -> TokenStream {
    let name = name(dao);
    let (source, target) = (Side::Source.parameter(), Side::Target.parameter());
    let (_, arguments, _) = type_::parameters(dao);
    let (impl_generics, where_clause) = type_::bounds(dao);
    let page = either(&quote!(__crossfade_side), |side| {
        let field = side.field();
        let arguments = [quote!(__crossfade_after), quote!(__crossfade_limit)];
        let call = call(dao, side, &quote!(self.#field), &scan.method, &arguments);
        quote!(#call.await)
    });
    let (key, id) = (borrow(&scan.key), own_id(dao, &borrow(&scan.row)));
    quote! {
        #[automatically_derived]
        impl #impl_generics ::crossfade::rows::ScanRows for #name<#source, #target, #(#arguments),*> #where_clause {
            async fn scan(
                &self,
                __crossfade_side: ::crossfade::Side,
                __crossfade_after: ::core::option::Option<::crossfade::rows::Cursor>,
                __crossfade_limit: ::core::primitive::usize,
            ) -> ::core::result::Result<::crossfade::rows::Page<#row>, #error> {
                #page
            }

            fn id_of(&self, row: &#row) -> #owned_id {
                #id
            }

            fn key_of(&self, row: &#row) -> ::crossfade::__private::String {
                ::crossfade::key::text(#key)
            }
        }
    }
}
