//! Store URLs: which database, without ever printing its credentials.

use std::{fmt, str::FromStr};

use crate::port::{ErrorKind, StoreError};

/// The engines crossfade knows rows of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreKind {
    /// `postgres://user@host:port/database`
    Postgres,
    /// `mysql://user@host:port/database`, MySQL or MariaDB.
    Mysql,
    /// `sqlite://PATH`
    Sqlite,
    /// `dynamodb://REGION[?endpoint=URL]`
    Dynamodb,
    /// `redis://HOST/DB`
    Redis,
}

impl StoreKind {
    /// Every engine, in the order of the documentation.
    pub const ALL: [StoreKind; 5] =
        [StoreKind::Postgres, StoreKind::Mysql, StoreKind::Sqlite, StoreKind::Dynamodb, StoreKind::Redis];

    /// The scheme in a URL, which is also the name in messages.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            StoreKind::Postgres => "postgres",
            StoreKind::Mysql => "mysql",
            StoreKind::Sqlite => "sqlite",
            StoreKind::Dynamodb => "dynamodb",
            StoreKind::Redis => "redis",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

/// A parsed store URL. `Debug` and `Display` leave the password and the query out.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    kind: StoreKind,
    /// Everything after `scheme://`, without the query.
    rest: String,
    query: Vec<(String, String)>,
}

impl StoreUrl {
    /// Parses a URL after replacing each `${VAR}` by what `variable` answers.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names the variable that is not set, or the scheme that is not known.
    pub fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, StoreError> {
        let mut filled = String::with_capacity(text.len());
        let mut left = text;
        while let Some(start) = left.find("${") {
            let Some(end) = left[start..].find('}') else {
                return Err(config("the url has `${` without `}`: close the variable's name"));
            };
            let name = &left[start + 2..start + end];
            let Some(value) = variable(name) else {
                return Err(config(format!("the url names ${{{name}}}, which is not set in the environment: set it")));
            };
            filled.push_str(&left[..start]);
            filled.push_str(&value);
            left = &left[start + end + 1..];
        }
        filled.push_str(left);
        filled.parse()
    }

    /// Parses a URL, reading `${VAR}` from the environment.
    ///
    /// # Errors
    /// As [`StoreUrl::parse_with`].
    pub fn from_config(text: &str) -> Result<Self, StoreError> {
        Self::parse_with(text, |name| std::env::var(name).ok())
    }

    /// Which engine.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// What stands between `scheme://` and `?`: with credentials, so never print it.
    #[must_use]
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The value of one query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All query parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The whole URL, with credentials, for a driver that parses it itself. `without` are crossfade's own parameters.
    #[must_use]
    pub fn for_driver(&self, without: &[&str]) -> String {
        let mut out = format!("{}://{}", self.kind.scheme(), self.rest);
        let mut separator = '?';
        for (n, v) in self.query.iter().filter(|(n, _)| !without.contains(&n.as_str())) {
            out.push(separator);
            out.push_str(n);
            out.push('=');
            out.push_str(v);
            separator = '&';
        }
        out
    }
}

fn config(what: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::Config, what)
}

impl FromStr for StoreUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(config("a store url starts with postgres://, mysql://, sqlite://, dynamodb:// or redis://"));
        };
        let kind = match scheme {
            "postgres" | "postgresql" => StoreKind::Postgres,
            "mysql" | "mariadb" => StoreKind::Mysql,
            "sqlite" => StoreKind::Sqlite,
            "dynamodb" => StoreKind::Dynamodb,
            "redis" => StoreKind::Redis,
            other => {
                return Err(config(format!(
                    "`{other}://` is no store crossfade knows: use postgres://, mysql://, sqlite://, dynamodb:// or redis://"
                )));
            }
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, query),
            None => (rest, ""),
        };
        let query = query
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|p| match p.split_once('=') {
                Some((n, v)) => (n.to_owned(), v.to_owned()),
                None => (p.to_owned(), String::new()),
            })
            .collect();
        if rest.is_empty() {
            return Err(config(format!("`{scheme}://` needs what follows it: a host, a path or a region")));
        }
        Ok(StoreUrl { kind, rest: rest.to_owned(), query })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self.rest.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => format!("{user}@{host}"),
                None => format!("{user}@{host}"),
            },
            None => self.rest.clone(),
        };
        write!(f, "{}://{shown}", self.kind.scheme())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_filled_in_and_never_shown() {
        let url = StoreUrl::parse_with("postgres://app:${PW}@db/app?sslmode=disable", |n| {
            (n == "PW").then(|| "s3cret".to_owned())
        })
        .unwrap();
        assert_eq!(url.kind(), StoreKind::Postgres);
        assert_eq!(url.for_driver(&[]), "postgres://app:s3cret@db/app?sslmode=disable");
        assert_eq!(format!("{url} {url:?}"), "postgres://app@db/app postgres://app@db/app");
        assert_eq!(url.parameter("sslmode"), Some("disable"));
    }

    #[test]
    fn a_missing_variable_and_an_unknown_scheme_are_named() {
        let missing = StoreUrl::parse_with("postgres://${NOPE}", |_| None).unwrap_err();
        assert!(missing.to_string().contains("${NOPE}"), "{missing}");
        let unknown = "oracle://x".parse::<StoreUrl>().unwrap_err();
        assert!(unknown.to_string().contains("oracle://"), "{unknown}");
    }
}
