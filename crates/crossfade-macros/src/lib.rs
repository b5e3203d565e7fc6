//! `#[crossfade::dao]` and `#[derive(crossfade::Key)]`.
//!
//! | step | file |
//! |---|---|
//! | what was written | `parse` |
//! | what it means, or why not | `valid` |
//! | the code | `expand`: the trait, the type, reads, writes, rows, the text of the operations |
//! | keys | `key` |
//!
//! Absent here: any decision. The generated code asks the library, which asks the plan.

mod expand;
mod key;
mod parse;
mod valid;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// From a DAO trait, the type that runs it on both sides: see `docs/reference/dao.md`.
#[proc_macro_attribute]
pub fn dao(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as parse::Options);
    let item = parse_macro_input!(item as syn::Item);
    let made = match item {
        syn::Item::Trait(item) => {
            let bare = expand::bare(&item);
            valid::Dao::new(options, item).map(|dao| expand::dao(&dao)).unwrap_or_else(|error| {
                // The trait itself stays, so that the only errors are those that say what to write.
                let error = error.into_compile_error();
                quote::quote!(#error #bare)
            })
        }
        other => syn::Error::new_spanned(
            other,
            "#[crossfade::dao] goes on a trait: the one that the old and the new implementation share",
        )
        .into_compile_error(),
    };
    made.into()
}

/// `Key` and `ParseKey` of a struct: the text of its field, or of its fields joined.
#[proc_macro_derive(Key)]
pub fn key(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    key::expand(&item).unwrap_or_else(syn::Error::into_compile_error).into()
}
