//! To come.
use proc_macro::TokenStream;
/// To come.
#[proc_macro_attribute]
pub fn dao(_: TokenStream, item: TokenStream) -> TokenStream { item }
/// To come.
#[proc_macro_derive(Key)]
pub fn key(_: TokenStream) -> TokenStream { TokenStream::new() }
