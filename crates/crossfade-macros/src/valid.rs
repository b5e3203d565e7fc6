//! What it means, or why not: a [`Dao`] is a trait that can be run on both sides.

use crate::parse::{Mark, MirrorWord, Options, Word};
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ItemTrait, Pat, PathArguments, ReturnType, Signature,
    TraitItem, TraitItemFn, Type, TypeParamBound, parse_quote,
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
    Read { keys: Keys, compare: Option<Expr>, eventual: bool },
    Write { keys: Keys, mirror: MirrorKind },
    /// `#[restore]`, `#[scan]` and a `#[snapshot]` without a key: of one side, never of both.
    OneSide,
    SourceOnly,
    TargetOnly,
}

/// What decides where an operation goes.
pub(crate) enum Keys {
    One { key: Expr, row: Row },
    /// Split by key (R18).
    Each { argument: usize, item: Box<Type>, slice: bool, key: Option<Expr>, row: Option<Expr>, aligned: bool },
    Whole,
}

/// What a write names its row by.
pub(crate) enum Row {
    /// Known before; none: the cohort key.
    Known(Option<Expr>),
    /// In the authority's answer.
    ToCome(Expr),
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
        let rows = rows(&marked, &mut errors);
        let mut methods = Vec::new();
        for (method, mark) in &marked {
            if let Some(method) = errors.keep(self::method(method, mark, &item, rows.is_some())) {
                methods.push(method);
            }
        }
        let associated_error = associated_error(&item, &marked);
        check_errors(&options, associated_error.as_ref(), &mut errors);
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

fn method(method: &TraitItemFn, mark: &Mark, item: &ItemTrait, has_rows: bool) -> Result<Method, Error> {
    let mut signature = method.sig.clone();
    let name = signature.ident.clone();
    let one_sided = matches!(mark.word, Word::SourceOnly | Word::TargetOnly);
    check_receiver(&signature, mark)?;
    if !one_sided {
        check_async(&signature, mark)?;
        check_output(&signature, mark)?;
    }
    let mut arguments = Vec::new();
    let mut errors = Errors::default();
    for (place, input) in signature.inputs.iter_mut().enumerate() {
        let FnArg::Typed(argument) = input else { continue };
        let named = match &mut *argument.pat {
            Pat::Ident(pattern) => {
                pattern.mutability = None;
                Ok(pattern.ident.clone())
            }
            Pat::Wild(_) => Ok(format_ident!("__crossfade_argument_{place}")),
            other => Err(Error::new_spanned(other, "give the argument a name, and take it apart in the body")),
        };
        let Some(name) = errors.keep(named) else { continue };
        *argument.pat = plain(&name);
        let form = if one_sided { Ok(Form::Value((*argument.ty).clone())) } else { form(&argument.ty, mark) };
        if let Some(form) = errors.keep(form) {
            arguments.push(Argument { name, form });
        }
    }
    if let Some(error) = errors.0 {
        return Err(error);
    }
    let kind = match mark.word {
        Word::Read => Kind::Read {
            keys: keys(mark, &arguments)?,
            compare: mark.compare.clone(),
            eventual: mark.eventual.is_some(),
        },
        Word::Write => Kind::Write { keys: keys(mark, &arguments)?, mirror: mirror(mark, &name, item, has_rows)? },
        Word::Snapshot => match &mark.key {
            Some(key) => Kind::Read {
                keys: Keys::One { key: key.clone(), row: Row::Known(None) },
                compare: None,
                eventual: false,
            },
            None => Kind::OneSide,
        },
        Word::Restore | Word::Scan => Kind::OneSide,
        Word::SourceOnly => Kind::SourceOnly,
        Word::TargetOnly => Kind::TargetOnly,
    };
    let cfg = method.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect();
    Ok(Method { signature, cfg, arguments, kind, span: mark.span })
}

fn plain(name: &Ident) -> Pat {
    Pat::Ident(syn::PatIdent {
        attrs: Vec::new(),
        by_ref: None,
        mutability: None,
        ident: name.clone(),
        subpat: None,
    })
}

fn check_receiver(signature: &Signature, mark: &Mark) -> Result<(), Error> {
    let name = mark.word.name();
    match signature.receiver() {
        None => Err(Error::new(
            signature.ident.span(),
            format!("`#[{name}]` runs on an implementation: make `&self` the first argument"),
        )),
        Some(receiver) if receiver.reference.is_none() || receiver.mutability.is_some() || receiver.colon_token.is_some() => {
            Err(Error::new_spanned(
                receiver,
                "both implementations are shared by many tasks: take `&self`, and keep what changes behind a lock",
            ))
        }
        Some(_) => Ok(()),
    }
}

fn check_async(signature: &Signature, mark: &Mark) -> Result<(), Error> {
    if signature.asyncness.is_some() {
        return Ok(());
    }
    let name = &signature.ident;
    if let ReturnType::Type(_, output) = &signature.output {
        if last_segment(output).is_some_and(|last| last == "Pin") {
            let why = "`#[async_trait]` has been here already: put `#[crossfade::dao]` over `#[async_trait]`, not under it";
            return Err(Error::new_spanned(output, why));
        }
        if is_stream(output) {
            return Err(stream(output));
        }
    }
    Err(Error::new(
        signature.fn_token.span,
        format!("`#[{}]` goes on an async method: write `async fn {name}`", mark.word.name()),
    ))
}

fn check_output(signature: &Signature, mark: &Mark) -> Result<(), Error> {
    let ReturnType::Type(_, output) = &signature.output else {
        let why = format!(
            "`{}` returns nothing, so that neither a refusal nor a failure could reach its caller: write \
             `-> Result<(), YourError>`",
            signature.ident
        );
        return Err(Error::new(signature.paren_token.span.close(), why));
    };
    if is_stream(output) {
        return Err(stream(output));
    }
    if !last_segment(output).is_some_and(|last| last.to_string().ends_with("Result")) {
        let why = format!(
            "a refusal or a failure has to reach the caller of `#[{}]`: write `-> Result<…, YourError>`",
            mark.word.name()
        );
        return Err(Error::new_spanned(output, why));
    }
    if let Some(reference) = find_reference(output) {
        let why = "the answer of one side can't borrow from it while the other is asked: return an owned value";
        return Err(Error::new_spanned(reference, why));
    }
    Ok(())
}

fn is_stream(output: &Type) -> bool {
    let named = |segment: &Ident| segment.to_string().ends_with("Stream");
    match output {
        Type::ImplTrait(bounds) => bounds.bounds.iter().any(|bound| {
            matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| named(&last.ident)))
        }),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            named(&last.ident) || arguments_of(&last.arguments).iter().any(is_stream)
        }),
        _ => false,
    }
}

fn stream(output: &Type) -> Error {
    let why = "a stream can't be compared or stay on its side: return pages instead, each with the place where the next \
               one begins (`-> Result<Page<…>, …>`)";
    Error::new_spanned(output, why)
}

/// How the argument is made owned, or why it can't be.
fn form(ty: &Type, mark: &Mark) -> Result<Form, Error> {
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
                return Err(Error::new_spanned(object, "a trait object can't be made owned for the other side: take a type that is `Clone`"));
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
fn find_reference(ty: &Type) -> Option<Type> {
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

fn keys(mark: &Mark, arguments: &[Argument]) -> Result<Keys, Error> {
    let name = mark.word.name();
    if let (Some(aligned), None) = (mark.aligned, &mark.keys) {
        let why = "`aligned` says that the answer has one value for each of several keys, in their order: write `keys = …` too";
        return Err(Error::new(aligned, why));
    }
    if let Some(whole) = mark.whole {
        if mark.key.is_some() || mark.row.is_some() || mark.keys.is_some() {
            let why = "`whole` says that no key can split it: leave out either `whole` or the keys";
            return Err(Error::new(whole, why));
        }
        return Ok(Keys::Whole);
    }
    if let Some(keys) = &mark.keys {
        let Some((place, argument)) = arguments.iter().enumerate().find(|(_, argument)| argument.name == *keys) else {
            return Err(Error::new(keys.span(), format!("there is no argument `{keys}`: name the one that holds the keys")));
        };
        let (item, slice) = match &argument.form {
            Form::Borrowed(Type::Slice(slice)) => ((*slice.elem).clone(), true),
            Form::Value(Type::Path(path)) if path.path.segments.last().is_some_and(|last| last.ident == "Vec") => {
                match path.path.segments.last().map(|last| arguments_of(&last.arguments)).as_deref() {
                    Some([item]) => (item.clone(), false),
                    _ => return Err(Error::new(keys.span(), "write what is in the `Vec`")),
                }
            }
            _ => {
                let why = format!("`{keys}` has to be split between the sides: make it a slice (`&[T]`) or a `Vec<T>`");
                return Err(Error::new(keys.span(), why));
            }
        };
        if let Some(row) = mark.row.as_ref().filter(|row| is_made(row, arguments)) {
            return Err(Error::new_spanned(row, "the rows of several keys are known before: write `row = each.id`"));
        }
        return Ok(Keys::Each { argument: place, item: Box::new(item), slice, key: mark.key.clone(), row: mark.row.clone(), aligned: mark.aligned.is_some() });
    }
    match &mark.key {
        Some(key) => {
            let row = match &mark.row {
                Some(row) if is_made(row, arguments) => {
                    if matches!(mark.mirror, None | Some(MirrorWord::Replay | MirrorWord::Guess)) {
                        let why = "the authority makes this key, and the other side would make another: write \
                                   `mirror = value(put)` with a method that takes the answer, or `mirror = snapshot`";
                        return Err(Error::new_spanned(row, why));
                    }
                    Row::ToCome(row.clone())
                }
                row => Row::Known(row.clone()),
            };
            Ok(Keys::One { key: key.clone(), row })
        }
        None => {
            let example = arguments.first().map_or_else(|| "user_id".to_owned(), |argument| argument.name.to_string());
            let why = format!(
                "which key decides the side of this {name}? Write `#[{name}(key = {example})]` with the argument or field \
                 that the rollout goes by; `keys = …` for several; `whole` for a method that no key can split"
            );
            Err(Error::new(mark.span, why))
        }
    }
}

/// The row's key is in the authority's answer.
fn is_made(row: &Expr, arguments: &[Argument]) -> bool {
    let answer = format_ident!("answer");
    says(std::slice::from_ref(row), &answer) && arguments.iter().all(|argument| argument.name != answer)
}

/// Whether any of these expressions says this name.
pub(crate) fn says(exprs: &[Expr], name: &Ident) -> bool {
    fn within(tokens: TokenStream, name: &Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == *name,
            TokenTree::Group(group) => within(group.stream(), name),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    exprs.iter().any(|expr| within(quote!(#expr), name))
}

fn mirror(mark: &Mark, name: &Ident, item: &ItemTrait, has_rows: bool) -> Result<MirrorKind, Error> {
    match &mark.mirror {
        None | Some(MirrorWord::Replay) => Ok(MirrorKind::Replay),
        Some(MirrorWord::Guess) => Ok(MirrorKind::Guess),
        Some(MirrorWord::Snapshot(span)) => {
            if !has_rows {
                let why = "`mirror = snapshot` copies the row: the trait needs a `#[snapshot]` and a `#[restore]` method";
                return Err(Error::new(*span, why));
            }
            if mark.keys.is_some() || mark.whole.is_some() {
                let why = "`mirror = snapshot` copies one row: write each row by a call of its own, or `mirror = replay`";
                return Err(Error::new(*span, why));
            }
            Ok(MirrorKind::Snapshot)
        }
        Some(MirrorWord::Value { method, arguments }) => {
            let found = item.items.iter().find_map(|part| match part {
                TraitItem::Fn(found) if found.sig.ident == *method => Some(&found.sig),
                _ => None,
            });
            let Some(found) = found else {
                let why = format!("the trait has no method `{method}`: add one that puts the value which `{name}` made into a side");
                return Err(Error::new(method.span(), why));
            };
            let takes = found.inputs.len().saturating_sub(1);
            let arguments = match arguments {
                Some(arguments) if arguments.len() == takes => arguments.clone(),
                None if takes == 1 => match found.inputs.last() {
                    Some(FnArg::Typed(input)) if matches!(&*input.ty, Type::Reference(_)) => vec![parse_quote!(answer)],
                    _ => vec![parse_quote!(::core::clone::Clone::clone(answer))],
                },
                Some(_) | None => {
                    let why = format!(
                        "`{method}` takes {takes} arguments: write `mirror = value({method}(…))` with the arguments of \
                         `{name}` and `answer`, a reference to what the authority answered"
                    );
                    return Err(Error::new(method.span(), why));
                }
            };
            Ok(MirrorKind::Value { method: method.clone(), arguments })
        }
    }
}

fn rows(marked: &[(&TraitItemFn, Mark)], errors: &mut Errors) -> Option<RowMethods> {
    let mut one = |word: Word| {
        let mut found = marked.iter().filter(|(_, mark)| mark.word == word);
        let first = found.next();
        if let Some((again, mark)) = found.next() {
            let why = format!("a trait has one `#[{}]`: `{}` is a second", word.name(), again.sig.ident);
            errors.add(Error::new(mark.span, why));
        }
        first
    };
    let (snapshot, restore, scan) = (one(Word::Snapshot), one(Word::Restore), one(Word::Scan));
    let (snapshot, restore) = match (snapshot, restore, scan) {
        (Some((snapshot, _)), Some((restore, _)), _) => (snapshot, restore),
        (Some((_, mark)), None, _) => {
            let why = "repair also has to put rows back: add `#[restore] async fn restore(&self, id, seen: Option<&Row>, \
                       row: Option<&Row>) -> Result<bool, …>`";
            errors.add(Error::new(mark.span, why));
            return None;
        }
        (None, Some((_, mark)), _) | (None, None, Some((_, mark))) => {
            let why = format!(
                "`#[{}]` goes with a way to read one row: add `#[snapshot] async fn snapshot(&self, id) -> \
                 Result<Option<Row>, …>`{}",
                mark.word.name(),
                if mark.word == Word::Scan { " and a `#[restore]`" } else { "" },
            );
            errors.add(Error::new(mark.span, why));
            return None;
        }
        (None, None, None) => return None,
    };
    let typed = |method: &TraitItemFn| -> Vec<Type> {
        let typed = method.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(argument) => Some((*argument.ty).clone()),
            FnArg::Receiver(_) => None,
        });
        typed.collect()
    };
    let (ids, puts) = (typed(snapshot), typed(restore));
    let [id] = ids.as_slice() else {
        let why = "a snapshot takes the row key and nothing else; a key of several parts is a struct with \
                   `#[derive(crossfade::Key)]` or a tuple";
        errors.add(Error::new_spanned(&snapshot.sig.inputs, why));
        return None;
    };
    if puts.len() != 3 {
        let why = "a restore takes the row key, the row it expects, and the row it puts: `(&self, id, seen: Option<&Row>, \
                   row: Option<&Row>)`";
        errors.add(Error::new_spanned(&restore.sig.inputs, why));
        return None;
    }
    let id = match id {
        Type::Reference(reference) => Form::Borrowed((*reference.elem).clone()),
        other => Form::Value(other.clone()),
    };
    let answer = result_of(&snapshot.sig).and_then(|(value, error)| match value {
        Type::Path(path) => {
            let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
            Some((arguments_of(&last.arguments).into_iter().next()?, error))
        }
        _ => None,
    });
    let Some((row, error)) = answer else {
        let why = "a snapshot answers with the row or none: write `-> Result<Option<Row>, YourError>`, both types in full";
        errors.add(Error::new_spanned(&snapshot.sig.output, why));
        return None;
    };
    let scan = match scan {
        None => None,
        Some((method, Mark { key: Some(key), row: Some(row), .. })) => {
            Some(ScanMethod { method: method.sig.ident.clone(), key: key.clone(), row: row.clone() })
        }
        Some((_, mark)) => {
            let why = "a scanned row has to say whose it is: write `#[scan(key = row.user_id, row = row.id)]`, where `row` \
                       is the row";
            errors.add(Error::new(mark.span, why));
            return None;
        }
    };
    Some(RowMethods { snapshot: snapshot.sig.ident.clone(), restore: restore.sig.ident.clone(), id, row, error, scan })
}

/// The associated type that methods return as their error.
fn associated_error(item: &ItemTrait, marked: &[(&TraitItemFn, Mark)]) -> Option<Ident> {
    let associated = |name: &Ident| {
        item.items.iter().any(|part| matches!(part, TraitItem::Type(associated) if associated.ident == *name))
    };
    marked.iter().find_map(|(method, mark)| {
        if matches!(mark.word, Word::SourceOnly | Word::TargetOnly) {
            return None;
        }
        let (_, Type::Path(error)) = result_of(&method.sig)? else { return None };
        let mut segments = error.path.segments.iter();
        let (first, second) = (segments.next()?, segments.next()?);
        (first.ident == "Self" && associated(&second.ident)).then(|| second.ident.clone())
    })
}

fn check_errors(options: &Options, associated: Option<&Ident>, errors: &mut Errors) {
    let of_sides = [
        options.source_error.as_ref().map(Spanned::span),
        options.target_error.as_ref().map(Spanned::span),
        options.map_source.as_ref().map(Spanned::span),
        options.map_target.as_ref().map(Spanned::span),
    ];
    match (associated, &options.error) {
        (None, Some(error)) => {
            let why = "`error` names what an associated error type is on the generated type, and no method of this trait \
                       returns one: leave it out, or write `type Error;` and return `Self::Error`";
            errors.add(Error::new_spanned(error, why));
        }
        (Some(name), None) => {
            for given in [&options.refused, &options.effect].into_iter().flatten() {
                let why = format!(
                    "which type is `Self::{name}` here? Write `error = YourError` too, or leave this out and give the \
                     error `From<crossfade::Refused>`"
                );
                errors.add(Error::new_spanned(given, why));
            }
            if let Some(span) = of_sides.into_iter().flatten().next() {
                errors.add(Error::new(span, "two error types become a third: write `error = YourError` too"));
            }
        }
        (None, None) => {
            if let Some(span) = of_sides.into_iter().flatten().next() {
                let why = "both sides return the same error type here: to give each its own, write `type Error;` in the \
                           trait, return `Self::Error`, and add `error = YourError`";
                errors.add(Error::new(span, why));
            }
        }
        (Some(_), Some(_)) => {
            let pairs = [
                (&options.source_error, &options.map_source, "source"),
                (&options.target_error, &options.map_target, "target"),
            ];
            for (error, map, side) in pairs {
                if let (None, Some(map)) = (error, map) {
                    let why = format!("what does it map? Write `{side}_error = …` with the error type of the {side}");
                    errors.add(Error::new_spanned(map, why));
                }
            }
        }
    }
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
