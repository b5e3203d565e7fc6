//! `#[derive(Key)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, GenericParam, Index, Member, Type, parse_quote};

/// The implementations; only `Key` for a struct that borrows, since no text gives that back.
pub(crate) fn expand(item: &DeriveInput) -> Result<TokenStream, Error> {
    let fields = match &item.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            let why = "an enum has no canonical text of its own: implement crossfade::Key by hand, with one stable text per variant";
            return Err(Error::new(data.enum_token.span, why));
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span, "a union has no canonical text: use a struct"));
        }
    };
    let parts: Vec<(Member, &Field)> = members(fields).filter(|(_, field)| !is_phantom(&field.ty)).collect();
    if parts.is_empty() {
        let why = "a key without fields would be the same for every row: give it the field that tells rows apart";
        return Err(Error::new(item.ident.span(), why));
    }
    let name = &item.ident;
    let with_text = match parts.as_slice() {
        [(member, _)] => quote!(::crossfade::Key::with_text(&self.#member, __crossfade_use)),
        several => {
            let texts = several.iter().map(|(member, _)| quote!(::crossfade::key::text(&self.#member)));
            quote!(__crossfade_use(&::crossfade::__private::join_parts(&[#(#texts),*])))
        }
    };
    let generics = bounded(item, &parts, &parse_quote!(::crossfade::Key));
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let key = quote! {
        #[automatically_derived]
        impl #impl_generics ::crossfade::Key for #name #type_generics #where_clause {
            #[inline]
            fn with_text<__CrossfadeR>(
                &self,
                __crossfade_use: impl ::core::ops::FnOnce(&::core::primitive::str) -> __CrossfadeR,
            ) -> __CrossfadeR {
                #with_text
            }
        }
    };
    if item.generics.lifetimes().next().is_some() {
        return Ok(key);
    }
    // `Id<u64>` and `Id<&u64>` are one key, so that generic ones are not told apart.
    let shape = item.generics.params.is_empty().then(|| {
        quote! {
            #[automatically_derived]
            impl ::crossfade::key::KeyShape for #name {
                type Shape = ::crossfade::key::Named<Self>;
            }
        }
    });
    let generics = bounded(item, &parts, &parse_quote!(::crossfade::ParseKey));
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let count = parts.len();
    let split = (count > 1)
        .then(|| quote!(let mut __crossfade_parts = __crossfade_text.splitn(#count, ::crossfade::key::PART);));
    let text = if count > 1 { quote!(__crossfade_parts.next()?) } else { quote!(__crossfade_text) };
    let (mut lets, mut inits) = (Vec::new(), Vec::new());
    for (place, (member, field)) in members(fields).enumerate() {
        let (ty, part) = (&field.ty, format_ident!("__crossfade_part_{place}"));
        if is_phantom(ty) {
            inits.push(quote!(#member: ::core::marker::PhantomData));
        } else {
            lets.push(quote!(let #part = <#ty as ::crossfade::ParseKey>::parse_key(#text)?;));
            inits.push(quote!(#member: #part));
        }
    }
    Ok(quote! {
        #key
        #shape
        #[automatically_derived]
        impl #impl_generics ::crossfade::ParseKey for #name #type_generics #where_clause {
            fn parse_key(__crossfade_text: &::core::primitive::str) -> ::core::option::Option<Self> {
                #split
                #(#lets)*
                ::core::option::Option::Some(Self { #(#inits),* })
            }
        }
    })
}

fn members(fields: &Fields) -> impl Iterator<Item = (Member, &Field)> {
    fields.iter().enumerate().map(|(place, field)| {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index { index: u32::try_from(place).unwrap_or(u32::MAX), span: field.span() }),
        };
        (member, field)
    })
}

fn is_phantom(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "PhantomData"))
}

/// The generics of the struct, with a bound for each part that depends on a type parameter.
fn bounded(item: &DeriveInput, parts: &[(Member, &Field)], bound: &syn::Path) -> syn::Generics {
    let mut generics = item.generics.clone();
    let generic = generics.params.iter().any(|param| matches!(param, GenericParam::Type(_)));
    if generic {
        let clause = generics.make_where_clause();
        for (_, field) in parts {
            let ty = &field.ty;
            clause.predicates.push(parse_quote!(#ty: #bound));
        }
    }
    generics
}
