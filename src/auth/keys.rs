//! API keys: how they are made, how they are kept, and whose they are.
//!
//! A key is `rj_<id>_<secret>`, and is shown once. What is kept of it is a line without the secret:
//!
//! ```text
//! id  sha256  tenant  user  scopes  tier  expiry
//! ```
//!
//! A dash stands for no user, and for no expiry. Lines that are empty or begin with `#` say nothing.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Denied, TOKEN};
use crate::domain::caller::{Caller, Owner, Scopes};

/// What all keys begin with, so that scanners of leaked secrets find them.
pub(crate) const PREFIX: &str = "rj_";

/// Keys of one server, at most: a file that has more is not meant for this.
const MOST_KEYS: usize = 100_000;

/// The longest name of a tenant, a user or a tier.
const LONGEST_NAME: usize = 128;

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyLine {
    /// Names the key; no secret.
    pub(crate) id: String,
    hash: [u8; 32],
    /// Whose things it makes and reaches.
    pub(crate) tenant: String,
    /// The tenant's user whom it belongs to. `None`: it belongs to the tenant.
    pub(crate) user: Option<String>,
    /// What it may be used for.
    pub(crate) scopes: Scopes,
    /// Which limits hold.
    pub(crate) tier: String,
    /// From when on it is not good any more.
    pub(crate) expires: Option<OffsetDateTime>,
}

/// What a new key is to be good for.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The tenant.
    pub(crate) tenant: Name,
    /// Its user.
    pub(crate) user: Option<Name>,
    /// What it may be used for.
    pub(crate) scopes: Scopes,
    /// Which limits hold.
    pub(crate) tier: Name,
    /// From when on it is not good any more.
    pub(crate) expires: Option<OffsetDateTime>,
}

/// A name that can stand in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

/// All keys, by their ids.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KeyTable(HashMap<String, Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    hash: [u8; 32],
    caller: Caller,
    /// In Unix seconds.
    expires: Option<i64>,
}

/// Lines that cannot be used. What stands in them is not told: it may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeys {
    #[error("line {line} is no key: {reason}")]
    Line {
        /// From 1.
        line: usize,
        reason: &'static str,
    },
    #[error("line {0} has the id of another line")]
    Twice(usize),
    #[error("there are more than {MOST_KEYS} keys")]
    TooMany,
}

/// A name that cannot stand in a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {LONGEST_NAME} visible characters other than ';', and no dash alone")]
pub(crate) struct InvalidName;

/// Makes a key: the key itself, to be shown once, and the line to keep.
pub(crate) fn generate(grant: Grant) -> (String, KeyLine) {
    let id = BASE32_NOPAD.encode(&rand::random::<[u8; 10]>()).to_ascii_lowercase();
    let secret = BASE32_NOPAD.encode(&rand::random::<[u8; 32]>()).to_ascii_lowercase();
    let key = format!("{PREFIX}{id}_{secret}");
    let line = line_of(&key, grant).expect("it was made as keys are");
    (key, line)
}

/// The line to keep of a key. `None`: it is none.
pub(crate) fn line_of(key: &str, grant: Grant) -> Option<KeyLine> {
    let id = id_of(key)?.to_owned();
    let Grant { tenant: Name(tenant), user, scopes, tier: Name(tier), expires } = grant;
    Some(KeyLine { id, hash: hash(key), tenant, user: user.map(|Name(user)| user), scopes, tier, expires })
}

/// The id of what has the form of a key.
pub(crate) fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_plain(id) && is_plain(secret) && (1..=64).contains(&id.len()) && (32..=128).contains(&secret.len()))
        .then_some(id)
}

/// A secret of 256 random bits needs no salt and no slow hash: nobody can try them all.
fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl KeyTable {
    /// Reads lines. All of them have to be keys: a file that is half written is none at all.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let mut table = HashMap::new();
        for (index, line) in lines(text) {
            let known: KeyLine = line.parse().map_err(|reason| InvalidKeys::Line { line: index, reason })?;
            let (id, known) = known.known();
            if table.insert(id, known).is_some() {
                return Err(InvalidKeys::Twice(index));
            }
            if table.len() > MOST_KEYS {
                return Err(InvalidKeys::TooMany);
            }
        }
        Ok(Self(table))
    }

    /// These and those; of two with one id, those.
    #[must_use]
    pub(crate) fn and(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().map(|(id, known)| (id.clone(), known.clone())));
        self
    }

    /// Whose key this is, at this time in Unix seconds. Takes as long for one that is wrong as for one that is right.
    pub(crate) fn verify(&self, key: &str, now: i64) -> Result<&Caller, Denied> {
        const NOBODY: [u8; 32] = [0; 32];
        let id = id_of(key).ok_or(Denied::Malformed)?;
        let known = self.0.get(id);
        let is_right = bool::from(hash(key).ct_eq(known.map_or(&NOBODY, |known| &known.hash)));
        known.filter(|_| is_right).ok_or(Denied::UnknownKey)?.caller_at(now)
    }

    /// Whose the key of this id is, if it is good at this time: what was made with a key ends with it.
    pub(crate) fn by_id(&self, id: &str, now: i64) -> Result<&Caller, Denied> {
        self.0.get(id).ok_or(Denied::UnknownKey)?.caller_at(now)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The ids that were added, changed, and removed from `before` to this; sorted.
    pub(crate) fn changes_since<'a>(&'a self, before: &'a Self) -> [Vec<&'a str>; 3] {
        let mut changes = [
            self.0.keys().filter(|id| !before.0.contains_key(*id)).map(String::as_str).collect::<Vec<_>>(),
            self.0
                .iter()
                .filter(|(id, known)| before.0.get(*id).is_some_and(|old| old != *known))
                .map(|(id, _)| id.as_str())
                .collect(),
            before.0.keys().filter(|id| !self.0.contains_key(*id)).map(String::as_str).collect(),
        ];
        for ids in &mut changes {
            ids.sort_unstable();
        }
        changes
    }
}

impl Known {
    fn caller_at(&self, now: i64) -> Result<&Caller, Denied> {
        if self.expires.is_some_and(|expires| expires <= now) { Err(Denied::Expired) } else { Ok(&self.caller) }
    }
}

/// Lines that say something, with their numbers. A variable has semicolons between them.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.split(['\n', ';']).map(str::trim).enumerate();
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(index, line)| (index + 1, line))
}

impl KeyLine {
    fn known(self) -> (String, Known) {
        let owner = Owner::new(&self.tenant, self.user.as_deref());
        let caller = Caller::new(owner, self.id.as_str(), self.scopes, self.tier);
        (self.id, Known { hash: self.hash, caller, expires: self.expires.map(OffsetDateTime::unix_timestamp) })
    }
}

impl FromStr for KeyLine {
    type Err = &'static str;

    fn from_str(line: &str) -> Result<Self, &'static str> {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [id, hash, tenant, user, scopes, tier, expires] = fields[..] else {
            return Err("a line has 7 fields: id, hash, tenant, user, scopes, tier, expiry");
        };
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) || id == TOKEN {
            return Err("the first field is the id alone, and never the key");
        }
        let hash = HEXLOWER.decode(hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
        let name = |text: &str| text.parse().map(|Name(name)| name).map_err(|_| "tenant, user and tier are names");
        Ok(Self {
            id: id.to_owned(),
            hash: hash.ok_or("the second field is a SHA-256 in hex")?,
            tenant: name(tenant)?,
            user: if user == "-" { None } else { Some(name(user)?) },
            scopes: scopes.parse().map_err(|_| "the fifth field is scopes with commas between")?,
            tier: name(tier)?,
            expires: match expires {
                "-" => None,
                date => Some(
                    OffsetDateTime::parse(date, &Rfc3339).map_err(|_| "the last field is a date (RFC 3339), or -")?,
                ),
            },
        })
    }
}

impl fmt::Display for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, hash, tenant, user, scopes, tier, expires } = self;
        let (hash, user) = (HEXLOWER.encode(hash), user.as_deref().unwrap_or("-"));
        let expires = expires.and_then(|expires| expires.format(&Rfc3339).ok()).unwrap_or_else(|| "-".to_owned());
        write!(f, "{id} {hash} {tenant} {user} {scopes} {tier} {expires}")
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_visible = |c: char| !c.is_whitespace() && !c.is_control() && c != ';';
        let fits = (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(is_visible);
        if fits && text != "-" && !text.starts_with('#') { Ok(Self(text.to_owned())) } else { Err(InvalidName) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::auth) fn grant(user: Option<&str>, expires: Option<&str>) -> Grant {
        Grant {
            tenant: "acme".parse().unwrap(),
            user: user.map(|user| user.parse().unwrap()),
            scopes: Scopes::USE,
            tier: "default".parse().unwrap(),
            expires: expires.map(|expires| OffsetDateTime::parse(expires, &Rfc3339).unwrap()),
        }
    }

    #[test]
    fn a_key_is_known_by_its_line_and_only_whole() {
        let (key, line) = generate(grant(Some("alice"), None));
        let (other, _) = generate(grant(None, None));
        let table = KeyTable::parse(&format!("# keys\n\n{line}\n")).unwrap();
        let caller = table.verify(&key, 0).unwrap();
        assert_eq!(
            (caller.owner().as_str(), caller.key(), caller.tier()),
            ("acme/alice", Some(line.id.as_str()), "default")
        );
        assert!(!line.to_string().contains(key.rsplit('_').next().unwrap()), "the secret is not kept");
        let forged = format!("{PREFIX}{}_{}", line.id, other.rsplit('_').next().unwrap());
        for wrong in [&other, &forged] {
            assert_eq!(table.verify(wrong, 0), Err(Denied::UnknownKey));
        }
        for wrong in ["", "rj_", "rj_a_b", "sk-123", &key[..key.len() - 30], &format!("{key}_")] {
            assert_eq!(table.verify(wrong, 0), Err(Denied::Malformed), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_good_until_its_date() {
        let (key, line) = generate(grant(None, Some("2027-01-01T00:00:00Z")));
        let table = KeyTable::parse(&line.to_string()).unwrap();
        let date = 1_798_761_600;
        assert!(table.verify(&key, date - 1).is_ok() && table.by_id(&line.id, date - 1).is_ok());
        assert_eq!(table.verify(&key, date), Err(Denied::Expired));
        assert_eq!(table.by_id(&line.id, date), Err(Denied::Expired));
        assert_eq!(table.by_id("nobody", 0), Err(Denied::UnknownKey));
    }

    #[test]
    fn lines_are_read_as_they_are_written_and_from_a_variable_too() {
        let lines: Vec<_> =
            [grant(None, None), grant(Some("b/ö"), Some("2030-06-01T12:30:00Z"))].map(|grant| generate(grant).1).into();
        for line in &lines {
            assert_eq!(line.to_string().parse::<KeyLine>().as_ref(), Ok(line));
        }
        assert_eq!(KeyTable::parse(&format!("{}; {}", lines[0], lines[1])).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_was_cut_anywhere_within_a_line_is_refused_as_a_whole() {
        let lines = [generate(grant(Some("alice"), None)).1, generate(grant(None, Some("2030-06-01T12:30:00Z"))).1];
        let text = format!("{}\n{}\n", lines[0], lines[1]);
        for end in 1..text.len() {
            let whole_lines = text[..end].ends_with('\n') || text[end..].starts_with('\n');
            assert_eq!(KeyTable::parse(&text[..end]).is_ok(), whole_lines, "{end}: {}", &text[..end]);
        }
        assert_eq!(KeyTable::parse(&format!("{}\n{}", lines[0], lines[0])), Err(InvalidKeys::Twice(2)));
        let error = KeyTable::parse("rj_abc_topsecret x y - chat default -").unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn changes_of_a_table_are_told_by_ids() {
        let [a, b, c] = [0; 3].map(|_| generate(grant(None, None)).1);
        let table = |lines: &[&KeyLine]| {
            KeyTable::parse(&lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")).unwrap()
        };
        let changed = KeyLine { tier: "gold".to_owned(), ..b.clone() };
        let (before, after) = (table(&[&a, &b]), table(&[&changed, &c]));
        assert_eq!(after.changes_since(&before), [vec![c.id.as_str()], vec![b.id.as_str()], vec![a.id.as_str()]]);
    }
}
