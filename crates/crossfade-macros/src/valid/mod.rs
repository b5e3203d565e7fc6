//! What it means, or why not: a [`Dao`] is a trait that can be run on both sides.

mod argument;
mod error;
mod keys;
mod method;
mod rows;

pub(crate) use keys::says;

use crate::parse::{Mark, Options, Word};
use proc_macro2::Span;
use quote::format_ident;
use syn::{
    Attribute, Error, Expr, GenericArgument, Ident, ItemTrait, PathArguments, ReturnType, Signature, TraitItem,
    TraitItemFn, Type, TypeParamBound,
};

/// A trait that can be run on both sides.
pub(crate) struct Dao {
    pub(crate) options: Options,
    pub(crate) item: ItemTrait,
    pub(crate) name: Ident,
    /// `#[async_trait]`, as the user wrote it.
    pub(crate) async_trait: Option<Attribute>,
    pub(crate) methods: Vec<Method>,
    pub(crate) rows: Option<RowMethods>,
    /// The implementations may be trait objects.
    pub(crate) unsized_sides: bool,
    /// The error is an associated type of the trait.
    pub(crate) associated_error: Option<Ident>,
}

/// A method that the generated type implements.
pub(crate) struct Method {
    /// With every argument named.
    pub(crate) signature: Signature,
    /// `#[cfg]`s: they go wherever the method goes.
    pub(crate) cfg: Vec<Attribute>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) kind: Kind,
    /// The word of the mark.
    pub(crate) word: Word,
    /// Where the mark stands.
    pub(crate) span: Span,
}

/// An argument besides `&self`.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) form: Form,
}

/// How an argument is made owned, and lent again.
pub(crate) enum Form {
    /// `&T`: `ToOwned`, then `Borrow`.
    Borrowed(Type),
    /// `Option<&T>`.
    Optional(Type),
    /// `T`: `Clone`.
    Value(Type),
}

/// What a method does.
pub(crate) enum Kind {
    Read {
        keys: Keys,
        compare: Option<Expr>,
        eventual: bool,
        /// The key is found by a call that is awaited.
        looked_up: bool,
    },
    Write {
        keys: Keys,
        mirror: MirrorKind,
    },
    /// `#[restore]`, `#[scan]` and a `#[snapshot]` without a key: of one side, never of both.
    OneSide,
    SourceOnly,
    TargetOnly,
}

/// What decides where an operation goes.
pub(crate) enum Keys {
    One {
        key: Expr,
        row: Row,
    },
    /// Split by key (R18).
    Each {
        argument: usize,
        item: Box<Type>,
        slice: bool,
        key: Option<Expr>,
        row: Option<Expr>,
        aligned: bool,
    },
    Whole,
}

/// What a write names its row by.
pub(crate) enum Row {
    /// Known before; none: the cohort key.
    Known(Option<Expr>),
    /// In the authority's answer.
    ToCome(Expr),
    /// Any number of them, in the authority's answer: `rows` names what holds them, `row` the key of each.
    AllToCome { rows: Expr, row: Option<Expr> },
}

/// How a write reaches the secondary (R17).
pub(crate) enum MirrorKind {
    Replay,
    Guess,
    Snapshot,
    Value { method: Ident, arguments: Vec<Expr> },
}

/// The methods that make a `RowPair`, and perhaps a `ScanRows`.
pub(crate) struct RowMethods {
    pub(crate) snapshot: Ident,
    pub(crate) restore: Ident,
    pub(crate) id: Form,
    pub(crate) row: Type,
    pub(crate) error: Type,
    pub(crate) scan: Option<ScanMethod>,
}

/// `#[scan(key = …, row = …)]`.
pub(crate) struct ScanMethod {
    pub(crate) method: Ident,
    pub(crate) key: Expr,
    pub(crate) row: Expr,
}

/// Collects errors, so that one build shows them all.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn keep<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

impl Dao {
    pub(crate) fn new(options: Options, item: ItemTrait) -> Result<Dao, Error> {
        let mut errors = Errors::default();
        check_trait(&item, &mut errors);
        let async_trait = item.attrs.iter().find(|attribute| is_async_trait(attribute)).cloned();
        if let Some(attribute) = &async_trait
            && !matches!(attribute.meta, syn::Meta::Path(_))
        {
            let why = "the other side is read and written on another task: write `#[async_trait]` without `?Send`";
            errors.add(Error::new_spanned(attribute, why));
        }
        let mut marked: Vec<(&TraitItemFn, Mark)> = Vec::new();
        for part in &item.items {
            match part {
                TraitItem::Fn(method) => {
                    if let Some(mark) = errors.keep(mark_of(method)).flatten() {
                        marked.push((method, mark));
                    }
                }
                TraitItem::Const(constant) if constant.default.is_none() => errors.add(Error::new_spanned(
                    constant,
                    "two implementations have two constants: give it a default, or make it a method",
                )),
                _ => {}
            }
        }
        let rows = rows::find(&marked, &mut errors);
        let mut methods = Vec::new();
        for (method, mark) in &marked {
            if let Some(method) = errors.keep(method::read(method, mark, &item, rows.is_some())) {
                methods.push(method);
            }
        }
        let associated_error = error::associated(&item, &marked);
        error::check(&options, associated_error.as_ref(), &mut errors);
        if let Some(error) = errors.0 {
            return Err(error);
        }
        let sized = item.supertraits.iter().any(is_sized) || methods.iter().any(needs_sized);
        let unsized_sides = async_trait.is_some() && !sized;
        let name = options.name.clone().unwrap_or_else(|| format_ident!("Migrating{}", item.ident));
        Ok(Dao { options, name, async_trait, methods, rows, unsized_sides, associated_error, item })
    }
}

pub(crate) fn is_async_trait(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident == "async_trait")
}

fn is_sized(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == "Sized"))
}

/// `where Self: Sized`.
fn needs_sized(method: &Method) -> bool {
    method.signature.generics.where_clause.iter().flat_map(|clause| &clause.predicates).any(|predicate| {
        matches!(predicate, syn::WherePredicate::Type(predicate)
            if last_segment(&predicate.bounded_ty).is_some_and(|ty| ty == "Self") && predicate.bounds.iter().any(is_sized))
    })
}

fn check_trait(item: &ItemTrait, errors: &mut Errors) {
    if let Some(lifetime) = item.generics.lifetimes().next() {
        let why = "the generated type runs the other side on tasks of their own, which can't borrow: move the lifetime \
                   from the trait to its methods";
        errors.add(Error::new_spanned(lifetime, why));
    }
    if let Some(unsafety) = &item.unsafety {
        errors.add(Error::new(unsafety.span, "no unsafe code is generated: take `unsafe` off the trait"));
    }
    for part in &item.items {
        if let TraitItem::Type(associated) = part
            && !associated.generics.params.is_empty()
        {
            let why = "a generic associated type can't be the same on both sides: make it a type without parameters";
            errors.add(Error::new_spanned(&associated.generics, why));
        }
    }
}

fn mark_of(method: &TraitItemFn) -> Result<Option<Mark>, Error> {
    let mut found: Option<Mark> = None;
    for mark in method.attrs.iter().filter_map(Mark::of) {
        let mark = mark?;
        if let Some(first) = &found {
            let why = format!("`{}` is `#[{}]` already: leave one out", method.sig.ident, first.word.name());
            return Err(Error::new(mark.span, why));
        }
        found = Some(mark);
    }
    if found.is_none() && method.default.is_none() {
        let why = format!(
            "crossfade can't tell what `{}` does: write `#[read(key = …)]`, `#[write(key = …)]`, `#[source_only]` or \
             `#[target_only]` over it, or give it a body",
            method.sig.ident
        );
        return Err(Error::new(method.sig.ident.span(), why));
    }
    Ok(found)
}

/// The two arguments of `Result<T, E>`.
fn result_of(signature: &Signature) -> Option<(Type, Type)> {
    let ReturnType::Type(_, output) = &signature.output else { return None };
    let Type::Path(path) = &**output else { return None };
    let mut arguments = arguments_of(&path.path.segments.last()?.arguments).into_iter();
    Some((arguments.next()?, arguments.next()?))
}

fn arguments_of(arguments: &PathArguments) -> Vec<Type> {
    match arguments {
        PathArguments::AngleBracketed(list) => list
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty.clone()),
                _ => None,
            })
            .collect(),
        PathArguments::None | PathArguments::Parenthesized(_) => Vec::new(),
    }
}

fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| &last.ident),
        _ => None,
    }
}
