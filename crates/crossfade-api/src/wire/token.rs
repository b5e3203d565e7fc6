//! Tokens and their roles. The secret is shown once, when it is issued; the server keeps its hash.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Run under a plan: register, acknowledge, report; evaluate flags.
    Instance,
    /// Move migrations, besides everything a viewer and an instance may.
    Operator,
    /// Issue tokens, besides everything.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Instance, Role::Operator, Role::Admin];

    /// The name used on every surface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Instance => "instance",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// Whether this role may do what `needed` may.
    #[must_use]
    pub const fn covers(self, needed: Role) -> bool {
        match (self, needed) {
            (Role::Admin, _)
            | (Role::Operator, Role::Viewer | Role::Instance | Role::Operator)
            | (Role::Instance, Role::Instance)
            | (Role::Viewer, Role::Viewer) => true,
            (Role::Operator, Role::Admin)
            | (Role::Instance, Role::Viewer | Role::Operator | Role::Admin)
            | (Role::Viewer, Role::Instance | Role::Operator | Role::Admin) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{0}`: use viewer, instance, operator or admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Asks for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenRequest {
    /// Who will hold it, 1 to 64 of letters, digits, `-`, `_`, `.`, `@`; shown in the history.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct TokenDoc {
    /// The public part, by which it is revoked.
    pub id: String,
    /// Who holds it.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A token with its secret: shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct IssuedToken {
    /// The token to send as `Authorization: Bearer`.
    pub token: String,
    /// Everything else.
    #[serde(flatten)]
    pub doc: TokenDoc,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("token", &"…").field("doc", &self.doc).finish()
    }
}

/// All tokens, without their secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct TokenList {
    /// Sorted by id.
    pub tokens: Vec<TokenDoc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_cover_what_is_below_them_only() {
        let covered = |role: Role| Role::ALL.map(|needed| role.covers(needed));
        assert_eq!(covered(Role::Viewer), [true, false, false, false]);
        assert_eq!(covered(Role::Instance), [false, true, false, false]);
        assert_eq!(covered(Role::Operator), [true, true, true, false]);
        assert_eq!(covered(Role::Admin), [true; 4]);
        assert_eq!("operator".parse(), Ok(Role::Operator));
        assert!("root".parse::<Role>().is_err());
    }
}
