//! The operations of a DAO as a canonical text, a line for each: two instances with different texts run different traits.
//!
//! The text must be the same for the same source in every build, so that it does not depend on how a compiler prints
//! tokens, on white space, or on the order of the methods.

use crate::parse::Word;
use crate::valid::{Argument, Dao, Form, Keys, Kind, Method, MirrorKind, Row, says};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::Expr;
use syn::ext::IdentExt;

/// The lines as elements of an array; a method under a `#[cfg]` has its line under it too.
pub(crate) fn lines(dao: &Dao) -> TokenStream {
    let lines = sorted(dao).into_iter().map(|(line, method)| {
        let cfg = &method.cfg;
        quote!(#(#cfg)* #line)
    });
    quote!(#(#lines),*)
}

fn sorted(dao: &Dao) -> Vec<(String, &Method)> {
    let mut methods: Vec<&Method> = dao.methods.iter().collect();
    methods.sort_by_key(|method| method.signature.ident.unraw().to_string());
    methods.into_iter().map(|method| (line(dao, method), method)).collect()
}

fn line(dao: &Dao, method: &Method) -> String {
    let mut line = format!("{} {}", method.signature.ident.unraw(), method.word.name());
    if matches!(method.kind, Kind::Read { keys: Keys::Whole, .. } | Kind::Write { keys: Keys::Whole, .. }) {
        line.push_str(" whole");
    }
    let mut named: Vec<Expr> = Vec::new();
    let mut say = |word: &str, expr: &Expr| {
        line.extend([" ", word, "=", &text(expr)]);
        named.push(expr.clone());
    };
    match &method.kind {
        Kind::Read { keys: Keys::One { key, .. }, looked_up: true, .. } => say("key_of", key),
        Kind::Read { keys, .. } => self::keys(&mut say, method, keys),
        Kind::Write { keys, mirror } => {
            self::keys(&mut say, method, keys);
            match mirror {
                MirrorKind::Replay => line.push_str(" mirror=replay"),
                MirrorKind::Guess => line.push_str(" mirror=guess"),
                MirrorKind::Snapshot => line.push_str(" mirror=snapshot"),
                MirrorKind::Value { method, arguments } => {
                    let arguments: Vec<String> = arguments.iter().map(text).collect();
                    line.push_str(&format!(" mirror=value({}({}))", method.unraw(), arguments.join(",")));
                }
            }
        }
        Kind::OneSide | Kind::SourceOnly | Kind::TargetOnly => {}
    }
    if method.word == Word::Scan
        && let Some(scan) = dao.rows.as_ref().and_then(|rows| rows.scan.as_ref())
    {
        line.push_str(&format!(" key={} row={}", text(&scan.key), text(&scan.row)));
    }
    // What an expression over an argument means depends on the argument's type.
    let meant = |argument: &&Argument| method.word == Word::Snapshot || says(&named, &argument.name);
    for argument in method.arguments.iter().filter(meant) {
        line.push_str(&format!(" {}:{}", argument.name.unraw(), type_text(argument)));
    }
    line
}

fn keys(say: &mut impl FnMut(&str, &Expr), method: &Method, keys: &Keys) {
    match keys {
        Keys::One { key, row } => {
            say("key", key);
            match row {
                Row::Known(Some(row)) | Row::ToCome(row) => say("row", row),
                Row::Known(None) => {}
                Row::AllToCome { rows, row } => {
                    say("rows", rows);
                    if let Some(row) = row {
                        say("row", row);
                    }
                }
            }
        }
        Keys::Each { argument, key, row, .. } => {
            if let Some(argument) = method.arguments.get(*argument) {
                let name = &argument.name;
                say("keys", &syn::parse_quote!(#name));
            }
            if let Some(key) = key {
                say("key", key);
            }
            if let Some(row) = row {
                say("row", row);
            }
        }
        Keys::Whole => {}
    }
}

fn type_text(argument: &Argument) -> String {
    match &argument.form {
        Form::Borrowed(ty) => format!("&{}", text(ty)),
        Form::Optional(ty) => format!("Option<&{}>", text(ty)),
        Form::Value(ty) => text(ty),
    }
}

/// The tokens, with a space only between two words.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = String::new();
    write(tokens.to_token_stream(), &mut text);
    text
}

fn write(tokens: TokenStream, text: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                text.push_str(close);
            }
            TokenTree::Punct(punct) => text.push(punct.as_char()),
            TokenTree::Ident(ident) => word(&ident.to_string(), text),
            TokenTree::Literal(literal) => word(&literal.to_string(), text),
        }
    }
}

fn word(word: &str, text: &mut String) {
    if text.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == '"' || last == '\'') {
        text.push(' ');
    }
    text.push_str(word);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn operations(item: syn::ItemTrait) -> String {
        let dao = Dao::new(crate::parse::Options::default(), item).map_err(|error| error.to_string()).unwrap();
        sorted(&dao).into_iter().map(|(line, _)| line).collect::<Vec<_>>().join("\n")
    }

    /// Fleets compare this text between builds: a change of it is reported as drift by every service that upgrades.
    #[test]
    fn the_text_of_the_operations_is_golden() {
        let text = operations(parse_quote! {
            trait Events {
                #[write(key = event.user_id, row = event . id, mirror = replay)]
                async fn record(&self, event: &Event, note: &str) -> Result<(), Error>;
                #[write(key = user, row = answer.id, mirror = value(put(answer, true)))]
                async fn open(&self, user: Option<&str>) -> Result<Event, Error>;
                #[write(key = user, rows = answer.events, row = each.id, mirror = value(put(each, true)))]
                async fn open_all(&self, user: &str, count: u8) -> Result<Opened, Error>;
                #[write(keys = events, key = each.user_id, row = each.id, mirror = guess)]
                async fn record_all(&self, events: &[Event]) -> Result<(), Error>;
                #[write(whole, mirror = guess)]
                async fn purge(&self, before: u64) -> Result<u64, Error>;
                #[read(key = if id.is_empty() { "nobody" } else { id })]
                async fn r#fn(&self, id: &str) -> Result<Vec<Event>, Error>;
                #[write(key = event.user_id, mirror = snapshot)]
                async fn put(&self, event: &Event, urgent: bool) -> Result<(), Error>;
                #[snapshot(key = id)]
                async fn snapshot(&self, id: EventId) -> Result<Option<Event>, Error>;
                #[restore]
                async fn restore(&self, id: EventId, seen: Option<&Event>, row: Option<&Event>) -> Result<bool, Error>;
                #[scan(key = row.user_id, row = row.id)]
                async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, Error>;
                #[read(key_of = self.owner_of(id))]
                async fn by_id(&self, id: EventId) -> Result<Event, Error>;
                #[source_only]
                fn name(&self) -> &'static str;
                fn unmarked(&self) {}
            }
        });
        let golden = r#"
by_id read key_of=self.owner_of(id) id:EventId
fn read key=if id.is_empty(){"nobody"}else{id} id:&str
name source_only
open write key=user row=answer.id mirror=value(put(answer,true)) user:Option<&str>
open_all write key=user rows=answer.events row=each.id mirror=value(put(each,true)) user:&str
purge write whole mirror=guess
put write key=event.user_id mirror=snapshot event:&Event
record write key=event.user_id row=event.id mirror=replay event:&Event
record_all write keys=events key=each.user_id row=each.id mirror=guess events:&[Event]
restore restore
scan scan key=row.user_id row=row.id
snapshot snapshot key=id id:EventId"#;
        assert_eq!(text, golden.trim_start());
    }

    #[test]
    fn another_key_another_type_and_another_mirror_are_another_text() {
        let texts = [
            operations(parse_quote!(
                trait T {
                    #[read(key = id)]
                    async fn get(&self, id: UserId) -> Result<u8, E>;
                }
            )),
            operations(parse_quote!(
                trait T {
                    #[read(key = id)]
                    async fn get(&self, id: OrderId) -> Result<u8, E>;
                }
            )),
            operations(parse_quote!(
                trait T {
                    #[read(key = id.user)]
                    async fn get(&self, id: UserId) -> Result<u8, E>;
                }
            )),
            operations(parse_quote!(
                trait T {
                    #[write(key = id, mirror = replay)]
                    async fn get(&self, id: UserId) -> Result<u8, E>;
                }
            )),
            operations(parse_quote!(
                trait T {
                    #[write(key = id, mirror = guess)]
                    async fn get(&self, id: UserId) -> Result<u8, E>;
                }
            )),
        ];
        for (place, text) in texts.iter().enumerate() {
            assert!(!texts[..place].contains(text), "{text}");
        }
    }
}
