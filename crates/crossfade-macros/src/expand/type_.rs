//! The type that runs both sides, its constructors, and what the other files say about its generics.

use super::Side;
use crate::valid::{Dao, Kind, Method};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::visit_mut::VisitMut;
use syn::{GenericParam, Generics, Ident, TraitItem, Type, parse_quote};

pub(crate) fn expand(dao: &Dao) -> TokenStream {
    let (vis, name, trait_name) = (&dao.item.vis, &dao.name, &dao.item.ident);
    let (source, target) = (Side::Source.parameter(), Side::Target.parameter());
    let (parameters, arguments, marker) = parameters(dao);
    let sides = sides(dao);
    let (impl_generics, path, where_clause) = header(dao);
    let operations: Vec<_> = dao.methods.iter().filter_map(operation).collect();
    let cfgs: Vec<_> = operations
        .iter()
        .map(|(_, method)| {
            let cfg = &method.cfg;
            quote!(#(#cfg)*)
        })
        .collect();
    let fields: Vec<_> = operations.iter().map(|(field, _)| field).collect();
    let titles: Vec<_> = operations.iter().map(|(_, method)| method.signature.ident.unraw().to_string()).collect();
    let doc = format!(
        "[`{trait_name}`] on both sides of a migration: each call takes one decision of the plan, and goes to the source, \
         the target, or both."
    );
    let attach = dao.rows.as_ref().map(|_| quote!(__crossfade_table.attach_rows(__crossfade_dao.rows());));
    let table = match &dao.options.table {
        Some(table) => quote!(::core::option::Option::Some(#table)),
        None => quote!(::core::option::Option::None),
    };
    let lines = super::operations::lines(dao);
    let rows = dao.rows.as_ref().map(|_| {
        let rows = super::rows::name(dao);
        quote! {
            /// The rows of both sides, for repair, backfill and verification.
            #[must_use]
            #vis fn rows(&self) -> #rows<#source, #target, #(#arguments),*> {
                #rows {
                    __crossfade_source: ::core::clone::Clone::clone(&self.__crossfade_source),
                    __crossfade_target: ::core::clone::Clone::clone(&self.__crossfade_target),
                    __crossfade_marker: ::core::marker::PhantomData,
                }
            }
        }
    });
    let debug = format!("{name}");
    quote! {
        #[doc = #doc]
        #vis struct #name<#sides #(#parameters),*> {
            __crossfade_source: ::crossfade::__private::Arc<#source>,
            __crossfade_target: ::crossfade::__private::Arc<#target>,
            __crossfade_migration: ::crossfade::Migration,
            #(#cfgs #fields: ::crossfade::Operation,)*
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
                    __crossfade_migration: ::core::clone::Clone::clone(&self.__crossfade_migration),
                    #(#cfgs #fields: ::core::clone::Clone::clone(&self.#fields),)*
                    __crossfade_marker: ::core::marker::PhantomData,
                }
            }
        }

        #[automatically_derived]
        impl<#sides #(#parameters),*> ::core::fmt::Debug
            for #name<#source, #target, #(#arguments),*>
        {
            fn fmt(&self, __crossfade_f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::DebugTuple::finish(
                    ::core::fmt::Formatter::debug_tuple(__crossfade_f, #debug).field(&self.__crossfade_migration),
                )
            }
        }

        impl #impl_generics #path #where_clause {
            /// Puts the original and the new implementation together under a migration.
            ///
            /// # Panics
            /// When the table has a DAO in this migration already; `try_new` returns that as an error. Make the DAO
            /// once and clone it.
            #[must_use]
            #[track_caller]
            #vis fn new(source: #source, target: #target, migration: ::crossfade::Migration) -> Self
            where
                #source: ::core::marker::Sized,
                #target: ::core::marker::Sized,
            {
                Self::from_arcs(
                    ::crossfade::__private::Arc::new(source),
                    ::crossfade::__private::Arc::new(target),
                    migration,
                )
            }

            /// As `new`, with implementations that others share.
            ///
            /// # Panics
            /// When the table has a DAO in this migration already; `try_from_arcs` returns that as an error. Make the
            /// DAO once and clone it.
            #[must_use]
            #[track_caller]
            #vis fn from_arcs(
                source: ::crossfade::__private::Arc<#source>,
                target: ::crossfade::__private::Arc<#target>,
                migration: ::crossfade::Migration,
            ) -> Self {
                match Self::try_from_arcs(source, target, migration) {
                    ::core::result::Result::Ok(__crossfade_dao) => __crossfade_dao,
                    ::core::result::Result::Err(__crossfade_taken) => {
                        ::crossfade::__private::panic_taken(&__crossfade_taken)
                    }
                }
            }

            /// As `new`, but returns an error where `new` panics.
            ///
            /// # Errors
            /// The table has a DAO in this migration already.
            #vis fn try_new(
                source: #source,
                target: #target,
                migration: ::crossfade::Migration,
            ) -> ::core::result::Result<Self, ::crossfade::TableTaken>
            where
                #source: ::core::marker::Sized,
                #target: ::core::marker::Sized,
            {
                Self::try_from_arcs(
                    ::crossfade::__private::Arc::new(source),
                    ::crossfade::__private::Arc::new(target),
                    migration,
                )
            }

            /// As `from_arcs`, but returns an error where `from_arcs` panics.
            ///
            /// # Errors
            /// The table has a DAO in this migration already.
            #vis fn try_from_arcs(
                source: ::crossfade::__private::Arc<#source>,
                target: ::crossfade::__private::Arc<#target>,
                migration: ::crossfade::Migration,
            ) -> ::core::result::Result<Self, ::crossfade::TableTaken> {
                let __crossfade_operations = ::crossfade::__private::operations(&[#lines]);
                let __crossfade_spec =
                    ::crossfade::__private::TableSpec { table: #table, operations: &__crossfade_operations };
                let __crossfade_table = match ::crossfade::__private::claim_table(&migration, __crossfade_spec) {
                    ::core::result::Result::Ok(__crossfade_table) => __crossfade_table,
                    ::core::result::Result::Err(__crossfade_taken) => {
                        return ::core::result::Result::Err(__crossfade_taken);
                    }
                };
                let __crossfade_dao = Self {
                    #(#cfgs #fields: __crossfade_table.operation(#titles),)*
                    __crossfade_source: source,
                    __crossfade_target: target,
                    __crossfade_migration: migration,
                    __crossfade_marker: ::core::marker::PhantomData,
                };
                #attach
                ::core::result::Result::Ok(__crossfade_dao)
            }

            /// The migration that it asks.
            #[must_use]
            #vis fn migration(&self) -> &::crossfade::Migration {
                &self.__crossfade_migration
            }

            #rows
        }
    }
}

/// The field that holds a method's operation, for the methods that have one.
fn operation(method: &Method) -> Option<(Ident, &Method)> {
    match method.kind {
        Kind::Read { .. } | Kind::Write { .. } => Some((field(method), method)),
        Kind::OneSide | Kind::SourceOnly | Kind::TargetOnly => None,
    }
}

/// The field that holds a method's operation.
pub(crate) fn field(method: &Method) -> Ident {
    format_ident!("__crossfade_on_{}", method.signature.ident.unraw())
}

/// The parameters of both sides, declared.
pub(crate) fn sides(dao: &Dao) -> TokenStream {
    let unsized_sides = unsized_sides(dao);
    let sides = Side::BOTH.map(Side::parameter);
    quote!(#(#sides: #unsized_sides,)*)
}

/// `dyn` implementations are possible with `#[async_trait]` alone.
fn unsized_sides(dao: &Dao) -> Option<TokenStream> {
    dao.unsized_sides.then(|| quote!(?::core::marker::Sized+))
}

/// The trait's own parameters for a struct: declared, used, and marked as used.
pub(crate) fn parameters(dao: &Dao) -> (Vec<TokenStream>, Vec<TokenStream>, TokenStream) {
    let (mut declared, mut used, mut marked) = (Vec::new(), Vec::new(), Vec::new());
    for parameter in &dao.item.generics.params {
        match parameter {
            GenericParam::Type(parameter) => {
                let name = &parameter.ident;
                declared.push(quote!(#name));
                used.push(quote!(#name));
                marked.push(quote!(*const #name));
            }
            GenericParam::Const(parameter) => {
                let (name, ty) = (&parameter.ident, &parameter.ty);
                declared.push(quote!(const #name: #ty));
                used.push(quote!(#name));
            }
            // Refused before: the generated type runs the other side on tasks of their own.
            GenericParam::Lifetime(_) => {}
        }
    }
    (declared, used, quote!(fn() -> (#(#marked,)*)))
}

/// `Trait<…>`.
pub(crate) fn trait_path(dao: &Dao) -> TokenStream {
    let name = &dao.item.ident;
    let (_, generics, _) = dao.item.generics.split_for_impl();
    quote!(#name #generics)
}

/// `<Source as Trait<…>>`.
pub(crate) fn callee(dao: &Dao, side: Side) -> TokenStream {
    let (parameter, the_trait) = (side.parameter(), trait_path(dao));
    quote!(<#parameter as #the_trait>)
}

/// What an `impl` over both sides begins with: its generics, the type, and its bounds.
pub(crate) fn header(dao: &Dao) -> (TokenStream, TokenStream, TokenStream) {
    let (_, arguments, _) = parameters(dao);
    let (source, target) = (Side::Source.parameter(), Side::Target.parameter());
    let name = &dao.name;
    let (generics, clause) = bounds(dao);
    (generics, quote!(#name<#source, #target, #(#arguments),*>), clause)
}

/// Generics and bounds of an `impl` over both sides.
pub(crate) fn bounds(dao: &Dao) -> (TokenStream, TokenStream) {
    let (source, target) = (Side::Source.parameter(), Side::Target.parameter());
    let trait_name = &dao.item.ident;
    let mut generics: Generics = dao.item.generics.clone();
    let own: Vec<GenericParam> = generics.params.iter().cloned().collect();
    let arguments = own.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) => Some(&parameter.ident),
        GenericParam::Const(parameter) => Some(&parameter.ident),
        GenericParam::Lifetime(_) => None,
    });
    let arguments: Vec<_> = arguments.map(|name| quote!(#name)).collect();
    let bound = |side: Side| {
        let same = associated_names(dao).filter_map(|name| match (error_of(dao, name, side), side) {
            (Some(error), _) => Some(quote!(#name = #error)),
            (None, Side::Source) => None,
            (None, Side::Target) => {
                let source = callee(dao, Side::Source);
                Some(quote!(#name = #source::#name))
            }
        });
        let inner: Vec<TokenStream> = arguments.iter().cloned().chain(same).collect();
        if inner.is_empty() { quote!(#trait_name) } else { quote!(#trait_name<#(#inner),*>) }
    };
    let (source_bound, target_bound) = (bound(Side::Source), bound(Side::Target));
    let unsized_sides = unsized_sides(dao);
    let mut params: Vec<GenericParam> = vec![
        parse_quote!(#source: #unsized_sides #source_bound + ::core::marker::Send + ::core::marker::Sync + 'static),
        parse_quote!(#target: #unsized_sides #target_bound + ::core::marker::Send + ::core::marker::Sync + 'static),
    ];
    params.extend(own.iter().cloned());
    generics.params = params.into_iter().collect();
    let clause = generics.make_where_clause();
    for parameter in &own {
        if let GenericParam::Type(parameter) = parameter {
            let name = &parameter.ident;
            clause.predicates.push(parse_quote!(#name: ::core::marker::Send + ::core::marker::Sync + 'static));
        }
    }
    for name in associated_names(dao) {
        if error_of(dao, name, Side::Source).is_some() {
            continue;
        }
        let source = callee(dao, Side::Source);
        clause.predicates.push(parse_quote!(#source::#name: ::core::marker::Send + 'static));
        if dao.associated_error.as_ref() == Some(name) {
            clause.predicates.push(parse_quote!(#source::#name: ::core::convert::From<::crossfade::Refused>));
        }
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    (quote!(#impl_generics), quote!(#where_clause))
}

fn associated_names(dao: &Dao) -> impl Iterator<Item = &Ident> {
    dao.item.items.iter().filter_map(|part| match part {
        TraitItem::Type(associated) => Some(&associated.ident),
        _ => None,
    })
}

/// What an associated type is on one side, where the user named it.
fn error_of<'a>(dao: &'a Dao, name: &Ident, side: Side) -> Option<&'a Type> {
    if dao.associated_error.as_ref() != Some(name) {
        return None;
    }
    let own = match side {
        Side::Source => &dao.options.source_error,
        Side::Target => &dao.options.target_error,
    };
    own.as_ref().or(dao.options.error.as_ref())
}

/// The associated types of the generated type.
pub(crate) fn associated(dao: &Dao) -> Vec<TokenStream> {
    let types = associated_names(dao).map(|name| {
        let ty = associated_type(dao, name);
        quote!(type #name = #ty;)
    });
    types.collect()
}

fn associated_type(dao: &Dao, name: &Ident) -> TokenStream {
    match (&dao.options.error, dao.associated_error.as_ref() == Some(name)) {
        (Some(error), true) => quote!(#error),
        (Some(_) | None, _) => {
            let source = callee(dao, Side::Source);
            quote!(#source::#name)
        }
    }
}

/// How an error of this side becomes one of the generated type's; none where they are the same.
pub(crate) fn error_map(dao: &Dao, side: Side) -> Option<TokenStream> {
    let (own, map) = match side {
        Side::Source => (&dao.options.source_error, &dao.options.map_source),
        Side::Target => (&dao.options.target_error, &dao.options.map_target),
    };
    own.as_ref()?;
    Some(match map {
        Some(map) => quote!(#map),
        None => quote!(::core::convert::From::from),
    })
}

/// A type of the trait's, outside of the trait: without `Self::`.
pub(crate) fn outside(dao: &Dao, ty: &Type) -> Type {
    struct Outside<'a>(&'a Dao);
    impl VisitMut for Outside<'_> {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            let found = match ty {
                Type::Path(path) if path.qself.is_none() && path.path.segments.len() == 2 => {
                    let (first, second) = (&path.path.segments[0], &path.path.segments[1]);
                    (first.ident == "Self").then(|| associated_type(self.0, &second.ident))
                }
                _ => None,
            };
            match found {
                Some(tokens) => *ty = parse_quote!(#tokens),
                None => syn::visit_mut::visit_type_mut(self, ty),
            }
        }
    }
    let mut ty = ty.clone();
    Outside(dao).visit_type_mut(&mut ty);
    ty
}
