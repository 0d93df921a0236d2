//! Callers, and owners of what they make. Pure: `auth` turns a credential into a [`Caller`].

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A caller: the owner of what it makes, and what it may do. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant and its user.
    owner: Owner,
    /// The id of the key, or of the token's issuer and subject, for the audit log. `None`: without a credential.
    key: Option<Arc<str>>,
    scopes: Scopes,
    /// Which limits hold.
    tier: Arc<str>,
}

/// The owner of a thread with all that is in it: a tenant, or one of its users. Records hold it as a text: `tenant` or
/// `tenant/user`; empty where there is no authentication, as in all records from before there was any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(Arc<str>);

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Create, change and delete.
    Chat,
    /// Read what there is.
    Read,
    /// Both, with what belongs to the users of the caller's tenant.
    Tenant,
    /// See how the server is.
    Admin,
}

/// A set of scopes. As a text: names with commas between.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

/// A name that is not a scope's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a scope: there are chat, read, tenant and admin")]
pub struct UnknownScope(pub String);

impl Caller {
    /// The tier of callers for which no tier is configured.
    pub const DEFAULT_TIER: &str = crate::config::DEFAULT_TIER;

    /// A caller with a credential.
    pub fn new(owner: Owner, key: impl Into<Arc<str>>, scopes: Scopes, tier: impl Into<Arc<str>>) -> Self {
        Self { owner, key: Some(key.into()), scopes, tier: tier.into() }
    }

    /// A caller without a credential, where that is allowed.
    pub fn anonymous(scopes: Scopes) -> Self {
        Self { owner: Owner::anonymous(), key: None, scopes, tier: Self::DEFAULT_TIER.into() }
    }

    /// The owner of what the caller makes.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// A name for the caller's credential that reveals nothing of it. `None`: it has none.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What they may do.
    pub const fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Which limits hold for them.
    pub fn tier(&self) -> &str {
        &self.tier
    }

    /// The same caller, with no more than these scopes.
    #[must_use]
    pub fn limited_to(self, scopes: Scopes) -> Self {
        Self { scopes: Scopes(self.scopes.0 & scopes.0), ..self }
    }

    /// Whether they may see and change what belongs to `owner`: it is theirs, or their tenant's and they have the scope.
    pub fn may_reach(&self, owner: &Owner) -> bool {
        let is_of_tenant = || !owner.is_anonymous() && owner.tenant_text() == self.owner.tenant_text();
        self.owner == *owner || self.scopes.has(Scope::Tenant) && is_of_tenant()
    }
}

impl Owner {
    const SEPARATOR: char = '/';

    /// A tenant, or one of its users.
    pub fn new(tenant: &str, user: Option<&str>) -> Self {
        let mut text = tenant.replace('%', "%25").replace(Self::SEPARATOR, "%2F");
        if let Some(user) = user {
            text.push(Self::SEPARATOR);
            text.push_str(user);
        }
        Self(text.into())
    }

    /// The owner on a server without authentication.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The owner with this text in a record.
    pub fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// The tenant itself.
    #[must_use]
    pub fn tenant_owner(&self) -> Self {
        Self(self.tenant_text().into())
    }

    /// Between which texts those of the tenant's users lie: from the first on, before the second. (Ordered by bytes.)
    pub fn users_of_tenant(&self) -> [String; 2] {
        let tenant = self.tenant_text();
        let after = char::from(Self::SEPARATOR as u8 + 1);
        if self.is_anonymous() {
            return [String::new(), String::new()];
        }
        [format!("{tenant}{}", Self::SEPARATOR), format!("{tenant}{after}")]
    }

    /// Whether that is the anonymous owner.
    pub fn is_anonymous(&self) -> bool {
        self.0.is_empty()
    }

    /// As records hold it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tenant.
    pub fn tenant(&self) -> Cow<'_, str> {
        match self.tenant_text() {
            plain if !plain.contains('%') => Cow::Borrowed(plain),
            escaped => Cow::Owned(escaped.replace("%2F", "/").replace("%25", "%")),
        }
    }

    /// The user; `None`: the tenant itself.
    pub fn user(&self) -> Option<&str> {
        self.0.split_once(Self::SEPARATOR).map(|(_, user)| user)
    }

    fn tenant_text(&self) -> &str {
        self.0.split(Self::SEPARATOR).next().unwrap_or_default()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Read, Self::Tenant, Self::Admin];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Read => "read",
            Self::Tenant => "tenant",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or_else(|| UnknownScope(name.to_owned()))
    }
}

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);
    /// To use the server as most do.
    pub const USE: Self = Self(Scope::Chat.bit() | Scope::Read.bit());
    /// To read, also what belongs to the tenant's users.
    pub const READ: Self = Self(Scope::Read.bit() | Scope::Tenant.bit());
    /// All.
    pub const ALL: Self = Self(0b1111);

    /// Whether this one is among them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope)).map(Scope::as_str)
    }

    /// With this one.
    #[must_use]
    pub const fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

impl FromStr for Scopes {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        text.split(',').map(str::trim).map(str::parse).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(tenant: &str, user: Option<&str>, scopes: Scopes) -> Caller {
        Caller::new(Owner::new(tenant, user), "k", scopes, Caller::DEFAULT_TIER)
    }

    #[test]
    fn what_is_a_users_or_a_tenants_is_reached_by_them_and_by_the_tenants_scope() {
        let (alice, bob, tenant) =
            (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")), Owner::new("acme", None));
        let other = Owner::new("other", Some("alice"));
        let reached =
            |caller: &Caller| [&alice, &bob, &tenant, &other, &Owner::anonymous()].map(|owner| caller.may_reach(owner));
        assert_eq!(reached(&caller("acme", Some("alice"), Scopes::USE)), [true, false, false, false, false]);
        assert_eq!(reached(&caller("acme", None, Scopes::USE)), [false, false, true, false, false]);
        assert_eq!(reached(&caller("acme", None, Scopes::ALL)), [true, true, true, false, false]);
        assert_eq!(reached(&caller("acme", Some("bob"), Scopes::ALL)), [true, true, true, false, false]);
        assert_eq!(reached(&Caller::anonymous(Scopes::ALL)), [false, false, false, false, true]);
    }

    #[test]
    fn no_tenant_and_user_read_as_another_tenant_and_user() {
        let odd = ["a", "a/b", "a%2Fb", "a%", "%2F", "a%252Fb", "ä"];
        let mut seen = std::collections::HashSet::new();
        for tenant in odd {
            for user in [None, Some("b"), Some("b/c"), Some("c")] {
                let owner = Owner::new(tenant, user);
                assert_eq!((owner.tenant().as_ref(), owner.user()), (tenant, user), "{owner}");
                assert!(seen.insert(owner.clone()), "{owner}");
                assert_eq!(serde_json::to_value(&owner).unwrap(), owner.as_str());
            }
        }
        assert!(Owner::anonymous().is_anonymous() && Owner::anonymous().user().is_none());
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        for text in ["chat", "chat,read", "chat,read,tenant,admin", "tenant"] {
            assert_eq!(text.parse::<Scopes>().unwrap().to_string(), text);
        }
        assert_eq!("chat,write".parse::<Scopes>(), Err(UnknownScope("write".to_owned())));
        assert!("".parse::<Scopes>().is_err());
    }
}
