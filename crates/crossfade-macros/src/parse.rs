//! What was written: the options of `#[dao(…)]` and the marks of the methods, word by word.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, Ident, LitStr, Meta, Token, Type};

/// `table = …, refused = …, effect = …, name = …, …`
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) table: Option<LitStr>,
    pub(crate) refused: Option<Expr>,
    pub(crate) effect: Option<Expr>,
    pub(crate) name: Option<Ident>,
    pub(crate) error: Option<Type>,
    pub(crate) source_error: Option<Type>,
    pub(crate) target_error: Option<Type>,
    pub(crate) map_source: Option<Expr>,
    pub(crate) map_target: Option<Expr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Options, Error> {
        let mut options = Options::default();
        while !input.is_empty() {
            let word = Ident::parse_any(input)?;
            let equals = |input: ParseStream<'_>| -> Result<(), Error> {
                input
                    .parse::<Token![=]>()
                    .map(drop)
                    .map_err(|_| Error::new(word.span(), format!("`{word}` needs a value: write `{word} = …`")))
            };
            match word.to_string().as_str() {
                "table" => (equals(input)?, once(&word, &mut options.table, table(input)?)?),
                "refused" => (equals(input)?, once(&word, &mut options.refused, input.parse()?)?),
                "effect" => (equals(input)?, once(&word, &mut options.effect, input.parse()?)?),
                "name" => (equals(input)?, once(&word, &mut options.name, input.parse()?)?),
                "error" => (equals(input)?, once(&word, &mut options.error, input.parse()?)?),
                "source_error" => (equals(input)?, once(&word, &mut options.source_error, input.parse()?)?),
                "target_error" => (equals(input)?, once(&word, &mut options.target_error, input.parse()?)?),
                "map_source" => (equals(input)?, once(&word, &mut options.map_source, input.parse()?)?),
                "map_target" => (equals(input)?, once(&word, &mut options.map_target, input.parse()?)?),
                _ => {
                    let why = format!(
                        "`#[crossfade::dao]` knows no `{word}`: it takes `table`, `refused`, `effect`, `name`, `error`, \
                         `source_error`, `target_error`, `map_source` and `map_target`"
                    );
                    return Err(Error::new(word.span(), why));
                }
            };
            comma(input)?;
        }
        Ok(options)
    }
}

/// What kind of method a mark says it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Read,
    Write,
    Snapshot,
    Restore,
    Scan,
    SourceOnly,
    TargetOnly,
}

impl Word {
    pub(crate) const ALL: [Word; 7] =
        [Word::Read, Word::Write, Word::Snapshot, Word::Restore, Word::Scan, Word::SourceOnly, Word::TargetOnly];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Word::Read => "read",
            Word::Write => "write",
            Word::Snapshot => "snapshot",
            Word::Restore => "restore",
            Word::Scan => "scan",
            Word::SourceOnly => "source_only",
            Word::TargetOnly => "target_only",
        }
    }

    /// What may stand between its brackets.
    const fn takes(self) -> &'static [&'static str] {
        match self {
            Word::Read => &["key", "key_of", "keys", "aligned", "whole", "compare", "eventual"],
            Word::Write => &["key", "keys", "aligned", "whole", "row", "rows", "mirror"],
            Word::Snapshot => &["key"],
            Word::Scan => &["key", "row"],
            Word::Restore | Word::SourceOnly | Word::TargetOnly => &[],
        }
    }
}

/// How a write reaches the secondary, as written.
pub(crate) enum MirrorWord {
    Replay,
    Guess,
    Snapshot(Span),
    /// `value(put)` or `value(put(id, answer))`.
    Value {
        method: Ident,
        arguments: Option<Vec<Expr>>,
    },
}

/// A mark of a method: `#[read(…)]` and its kin.
pub(crate) struct Mark {
    pub(crate) word: Word,
    pub(crate) span: Span,
    pub(crate) key: Option<Expr>,
    /// A lookup that finds the cohort key.
    pub(crate) key_of: Option<Expr>,
    pub(crate) keys: Option<Ident>,
    pub(crate) row: Option<Expr>,
    /// Where the rows are that the authority made.
    pub(crate) rows: Option<Expr>,
    pub(crate) whole: Option<Span>,
    pub(crate) aligned: Option<Span>,
    pub(crate) compare: Option<Expr>,
    pub(crate) eventual: Option<Span>,
    pub(crate) mirror: Option<MirrorWord>,
}

impl Mark {
    /// The mark that this attribute is, if it is one.
    pub(crate) fn of(attribute: &Attribute) -> Option<Result<Mark, Error>> {
        let word = Word::ALL.into_iter().find(|word| attribute.path().is_ident(word.name()))?;
        let mut mark = Mark {
            word,
            span: attribute.path().span(),
            key: None,
            key_of: None,
            keys: None,
            row: None,
            rows: None,
            whole: None,
            aligned: None,
            compare: None,
            eventual: None,
            mirror: None,
        };
        Some(match &attribute.meta {
            Meta::Path(_) => Ok(mark),
            Meta::List(_) => attribute.parse_args_with(|input: ParseStream<'_>| mark.fill(input)).map(|()| mark),
            Meta::NameValue(value) => {
                Err(Error::new(value.eq_token.span(), format!("write `#[{0}]` or `#[{0}(…)]`", word.name())))
            }
        })
    }

    fn fill(&mut self, input: ParseStream<'_>) -> Result<(), Error> {
        while !input.is_empty() {
            let word = Ident::parse_any(input)?;
            let (text, span) = (word.to_string(), word.span());
            if !self.word.takes().contains(&text.as_str()) {
                return Err(Error::new(span, self.unknown(&text)));
            }
            if !matches!(text.as_str(), "whole" | "eventual" | "aligned") && !input.peek(Token![=]) {
                return Err(Error::new(span, format!("`{text}` needs a value: write `{text} = …`")));
            }
            match text.as_str() {
                "whole" => once(&word, &mut self.whole, span)?,
                "aligned" => once(&word, &mut self.aligned, span)?,
                "eventual" => once(&word, &mut self.eventual, span)?,
                "key" => once(&word, &mut self.key, value(input)?)?,
                "key_of" => once(&word, &mut self.key_of, value(input)?)?,
                "keys" => {
                    let keys: Expr = value(input)?;
                    let named = match &keys {
                        Expr::Path(path) => path.path.get_ident().cloned(),
                        _ => None,
                    };
                    let why = "`keys` names the argument that holds the keys, a slice or a `Vec`: write `keys = ids`, \
                               and say with `key = each.user_id` where the key of each is";
                    once(&word, &mut self.keys, named.ok_or_else(|| Error::new_spanned(&keys, why))?)?;
                }
                "row" => once(&word, &mut self.row, value(input)?)?,
                "rows" => once(&word, &mut self.rows, value(input)?)?,
                "compare" => once(&word, &mut self.compare, value(input)?)?,
                _ => {
                    input.parse::<Token![=]>()?;
                    once(&word, &mut self.mirror, mirror(input)?)?;
                }
            }
            comma(input)?;
        }
        Ok(())
    }

    fn unknown(&self, text: &str) -> String {
        let (name, takes) = (self.word.name(), self.word.takes());
        match (text, takes) {
            (_, []) => format!("`#[{name}]` takes nothing between brackets: write `#[{name}]`"),
            ("mirror", _) => format!("only a write is mirrored: leave `mirror` out of `#[{name}]`"),
            ("row", _) => format!("only writes and scans name a row: leave `row` out of `#[{name}]`"),
            ("rows", _) => format!("only a write makes rows: leave `rows` out of `#[{name}]`"),
            ("compare" | "eventual", _) => format!("only a read is compared: leave `{text}` out of `#[{name}]`"),
            _ => {
                let known = takes.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
                format!("`#[{name}]` knows no `{text}`: it takes {known}")
            }
        }
    }
}

/// The name of the DAO's table.
fn table(input: ParseStream<'_>) -> Result<LitStr, Error> {
    let why = "`table` is the name of the DAO's table, as text: write `table = \"orders\"`";
    let name: LitStr = input.parse().map_err(|error| Error::new(error.span(), why))?;
    if name.value().trim().is_empty() {
        return Err(Error::new(name.span(), why));
    }
    Ok(name)
}

fn value<T: Parse>(input: ParseStream<'_>) -> Result<T, Error> {
    input.parse::<Token![=]>()?;
    input.parse()
}

fn once<T>(word: &Ident, slot: &mut Option<T>, value: T) -> Result<(), Error> {
    if slot.replace(value).is_some() {
        return Err(Error::new(word.span(), format!("`{word}` is said twice: leave one out")));
    }
    Ok(())
}

fn comma(input: ParseStream<'_>) -> Result<(), Error> {
    if input.is_empty() { Ok(()) } else { input.parse::<Token![,]>().map(drop) }
}

fn mirror(input: ParseStream<'_>) -> Result<MirrorWord, Error> {
    let written: Expr = input.parse()?;
    let why = "write `mirror = replay`, `mirror = guess`, `mirror = snapshot`, or `mirror = value(method)` with the \
               method of the secondary that takes the authority's answer";
    let wrong = || Error::new_spanned(&written, why);
    let ident = |expr: &Expr| match expr {
        Expr::Path(path) => path.path.get_ident().cloned(),
        _ => None,
    };
    if let Some(word) = ident(&written) {
        return match word.to_string().as_str() {
            "replay" => Ok(MirrorWord::Replay),
            "guess" => Ok(MirrorWord::Guess),
            "snapshot" => Ok(MirrorWord::Snapshot(word.span())),
            _ => Err(wrong()),
        };
    }
    let Expr::Call(call) = &written else { return Err(wrong()) };
    if ident(&call.func).is_none_or(|word| word != "value") || call.args.len() != 1 {
        return Err(wrong());
    }
    match &call.args[0] {
        Expr::Call(inner) => {
            let method = ident(&inner.func).ok_or_else(wrong)?;
            Ok(MirrorWord::Value { method, arguments: Some(inner.args.iter().cloned().collect()) })
        }
        other => Ok(MirrorWord::Value { method: ident(other).ok_or_else(wrong)?, arguments: None }),
    }
}
