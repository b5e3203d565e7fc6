//! How an argument is made owned for the other side, or why it can't be.

use super::{Form, arguments_of};
use crate::parse::Mark;
use syn::visit_mut::VisitMut;
use syn::{Error, GenericArgument, PathArguments, Type};

/// How the argument is made owned, or why it can't be.
pub(super) fn form(ty: &Type, mark: &Mark) -> Result<Form, Error> {
    match ty {
        Type::Reference(reference) => {
            if let Some(mutability) = &reference.mutability {
                let why = format!(
                    "`&mut` can't be given to both sides by `#[{}]`: take `&` or a value, and return what changed",
                    mark.word.name()
                );
                return Err(Error::new(mutability.span, why));
            }
            if let Type::TraitObject(object) = &*reference.elem {
                return Err(Error::new_spanned(
                    object,
                    "a trait object can't be made owned for the other side: take a type that is `Clone`",
                ));
            }
            refuse_inner(&reference.elem)?;
            Ok(Form::Borrowed((*reference.elem).clone()))
        }
        Type::ImplTrait(_) => Err(Error::new_spanned(
            ty,
            "`impl Trait` can't be kept for the other side: take the type itself (`&str`, `&[T]`, `Vec<T>`)",
        )),
        Type::Path(path) => {
            if let Some(last) = path.path.segments.last()
                && last.ident == "Option"
                && let [Type::Reference(reference)] = arguments_of(&last.arguments).as_slice()
                && reference.mutability.is_none()
            {
                refuse_inner(&reference.elem)?;
                return Ok(Form::Optional((*reference.elem).clone()));
            }
            refuse_inner(ty)?;
            Ok(Form::Value(ty.clone()))
        }
        _ => {
            refuse_inner(ty)?;
            Ok(Form::Value(ty.clone()))
        }
    }
}

fn refuse_inner(ty: &Type) -> Result<(), Error> {
    match find_reference(ty) {
        None => Ok(()),
        Some(borrow) => Err(Error::new_spanned(
            borrow,
            "this borrow lies too deep to be made owned for the other side: take `&T`, `&[T]`, `Option<&T>` or an owned value",
        )),
    }
}

/// A reference or lifetime inside a type, unless it is `'static`.
pub(super) fn find_reference(ty: &Type) -> Option<Type> {
    struct Find(Option<Type>);
    impl VisitMut for Find {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if self.0.is_some() {
                return;
            }
            let lent = |lifetime: &syn::Lifetime| lifetime.ident != "static";
            let borrows = match ty {
                Type::Reference(reference) => reference.lifetime.as_ref().is_none_or(lent),
                Type::Path(path) => path.path.segments.iter().any(|segment| match &segment.arguments {
                    PathArguments::AngleBracketed(list) => {
                        list.args.iter().any(|inner| matches!(inner, GenericArgument::Lifetime(name) if lent(name)))
                    }
                    PathArguments::None | PathArguments::Parenthesized(_) => false,
                }),
                _ => false,
            };
            if borrows {
                self.0 = Some(ty.clone());
            } else {
                syn::visit_mut::visit_type_mut(self, ty);
            }
        }
    }
    let mut find = Find(None);
    find.visit_type_mut(&mut ty.clone());
    find.0
}
