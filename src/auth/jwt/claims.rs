//! From the claims of a token to who asks. Pure.

use serde_json::{Map, Value};

use crate::auth::{Denied, TOKEN};
use crate::config::Claims;
use crate::domain::caller::{Caller, Owner, Scope, Scopes};

/// The tenant of tokens that name none.
const DEFAULT_TENANT: &str = "default";

/// The longest name of a tenant, a user or a tier.
const LONGEST: usize = 256;

/// Who a token with these claims is.
pub(super) fn caller(claims: &Map<String, Value>, names: &Claims) -> Result<Caller, Denied> {
    let tenant = match &names.tenant {
        Some(name) => text(claims, name)?.ok_or(Denied::Claim("tenant"))?,
        None => DEFAULT_TENANT.to_owned(),
    };
    let user = text(claims, &names.user)?.ok_or(Denied::Claim("user"))?;
    let tier = names.tier.as_ref().map_or(Ok(None), |name| text(claims, name))?;
    let scopes = match &names.scopes {
        Some(name) => find(claims, name).map_or(Scopes::NONE, scopes),
        None => Scopes::USE,
    };
    let tier = tier.unwrap_or_else(|| Caller::DEFAULT_TIER.to_owned());
    Ok(Caller::new(Owner::new(&tenant, Some(&user)), TOKEN, scopes, tier))
}

/// A claim by its name, or by the path to it (`realm_access.roles`).
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, part| value.get(part))
}

/// A claim that names something. One that is there, and no name, is refused: it might be somebody else's.
fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, Denied> {
    match find(claims, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= LONGEST && !text.contains('\0') => {
            Ok(Some(text.clone()))
        }
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Denied::Claim("name")),
    }
}

/// Ours among those that a token has: a text with spaces between (RFC 8693, 4.2), or a list. Names of others' APIs may stand
/// beside them.
fn scopes(value: &Value) -> Scopes {
    let names: Vec<&str> = match value {
        Value::String(text) => text.split([' ', ',']).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let ours = |name: &str| name.strip_prefix("rejoinder:").unwrap_or(name).parse::<Scope>().ok();
    names.into_iter().filter_map(ours).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Claims {
        Claims {
            tenant: Some("https://app.example/org".to_owned()),
            user: "sub".to_owned(),
            scopes: Some("realm_access.roles".to_owned()),
            tier: Some("plan".to_owned()),
        }
    }

    fn read(claims: &Value, names: &Claims) -> Result<Caller, Denied> {
        caller(claims.as_object().unwrap(), names)
    }

    #[test]
    fn claims_say_who_asks() {
        let claims = json!({
            "https://app.example/org": "acme/eu", "sub": "auth0|7", "plan": "gold",
            "realm_access": {"roles": ["offline", "read", "rejoinder:tenant", 7]}
        });
        let caller = read(&claims, &names()).unwrap();
        assert_eq!((caller.owner().tenant().as_ref(), caller.owner().user()), ("acme/eu", Some("auth0|7")));
        assert_eq!((caller.scopes().to_string().as_str(), caller.tier()), ("read,tenant", "gold"));
    }

    #[test]
    fn what_is_not_said_is_a_default_or_a_refusal() {
        let bare = Claims { tenant: None, user: "sub".to_owned(), scopes: None, tier: None };
        let caller = read(&json!({"sub": "7"}), &bare).unwrap();
        assert_eq!((caller.owner().as_str(), caller.scopes(), caller.tier()), ("default/7", Scopes::USE, "default"));
        assert_eq!(read(&json!({"sub": 7}), &bare).unwrap().owner().as_str(), "default/7");
        let scoped = Claims { scopes: Some("scope".to_owned()), ..bare.clone() };
        assert_eq!(read(&json!({"sub": "7"}), &scoped).unwrap().scopes(), Scopes::NONE);
        assert_eq!(read(&json!({"sub": "7", "scope": "openid chat"}), &scoped).unwrap().scopes().to_string(), "chat");
        assert_eq!(read(&json!({"sub": "7"}), &names()), Err(Denied::Claim("tenant")));
        assert_eq!(read(&json!({}), &bare), Err(Denied::Claim("user")));
        for odd in [json!(""), json!({}), json!([]), json!(true), json!("x".repeat(300)), json!("a\0b")] {
            assert_eq!(read(&json!({"sub": odd}), &bare), Err(Denied::Claim("name")), "{odd}");
        }
    }
}
