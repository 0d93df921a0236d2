//! `rejoinder keys`: makes API keys, and shows which there are.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Exit, chain};
use crate::auth::keys::{self, Grant, KeyLine, Name};
use crate::auth::{KeyFileError, key_lines};
use crate::config::{ApiKeys, environment, values};
use crate::domain::caller::{Caller, Scopes};

/// What to do with keys.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Make a key: print it, and on a line of its own what goes into the file
    New(For),
    /// Print the line of a key that is there: it is read from standard input
    Hash(For),
    /// Show the keys that are configured, without what they are checked by
    List(List),
}

/// Whose a key is, and what for.
#[derive(Debug, Clone, clap::Args)]
struct For {
    /// Whom what is made with it belongs to
    #[arg(long)]
    tenant: Name,

    /// The tenant's user whom it belongs to; without one, to the tenant
    #[arg(long)]
    user: Option<Name>,

    /// What it may be used for: chat, read, tenant (what belongs to the tenant's users, too), admin
    #[arg(long, default_value = "chat,read")]
    scopes: Scopes,

    /// Which limits hold
    #[arg(long, default_value = Caller::DEFAULT_TIER)]
    tier: Name,

    /// From when on it is not good any more: a duration (90d) or a date (2027-01-01T00:00:00Z)
    #[arg(long, value_parser = expiry)]
    expires: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, clap::Args)]
struct List {
    /// A file of keys, in place of `API_KEYS_FILE` and `API_KEYS`
    #[arg(long)]
    file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
A key is shown once: nobody can tell it from its line. The line goes to standard output after it, and into API_KEYS_FILE, \
which a server reads again when it changes, or into API_KEYS. To take a key back, take its line away.

Examples:
  rejoinder keys new --tenant acme
  rejoinder keys new --tenant acme --user alice --expires 90d
  rejoinder keys new --tenant ops --scopes admin | tail -n 1 >> keys
  rejoinder keys hash --tenant acme < key
  rejoinder keys list --file keys

Exit codes: 0 done; 1 there is no key, or the file cannot be used; 2 the command line is wrong.";

/// Does it.
pub(crate) fn run(args: &Args) -> Exit {
    match &args.command {
        Command::New(new) => {
            let (key, line) = keys::generate(new.grant());
            print(&format!("{key}\n{line}\n"))
        }
        Command::Hash(new) => {
            let mut key = String::new();
            if let Err(error) = std::io::stdin().lock().read_line(&mut key) {
                return fail(&error.to_string());
            }
            match keys::line_of(key.trim(), new.grant()) {
                Some(line) => print(&format!("{line}\n")),
                None => fail("what stands on standard input is no key: it has the form rj_<id>_<secret>"),
            }
        }
        Command::List(list) => match list.lines() {
            Ok(lines) => print(&table(&lines)),
            Err(error) => fail(&error),
        },
    }
}

impl For {
    fn grant(&self) -> Grant {
        let Self { tenant, user, scopes, tier, expires } = self.clone();
        Grant { tenant, user, scopes, tier, expires }
    }
}

impl List {
    fn lines(&self) -> Result<Vec<KeyLine>, String> {
        let config = if let Some(file) = &self.file {
            ApiKeys { file: Some(file.clone()), own: None }
        } else {
            let set = environment().map_err(|error| error.to_string())?;
            let is_set = |name: &str| set.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
            ApiKeys {
                file: is_set("API_KEYS_FILE").map(PathBuf::from),
                own: is_set("API_KEYS").map(values::Secret::new),
            }
        };
        if config.file.is_none() && config.own.is_none() {
            return Err("neither --file nor API_KEYS_FILE nor API_KEYS is set".to_owned());
        }
        key_lines(&config).map_err(|error: KeyFileError| chain(&error))
    }
}

fn table(lines: &[KeyLine]) -> String {
    let rows = lines.iter().map(|line| {
        let expires = line.expires.and_then(|expires| expires.format(&Rfc3339).ok()).unwrap_or_else(|| "-".to_owned());
        let user = line.user.clone().unwrap_or_else(|| "-".to_owned());
        [line.id.clone(), line.tenant.clone(), user, line.scopes.to_string(), line.tier.clone(), expires]
    });
    let head = ["id", "tenant", "user", "scopes", "tier", "expires"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A duration from now, or a date.
fn expiry(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(date);
    }
    let age = values::duration(text)
        .map_err(|_| "expected a duration such as 90d, or a date such as 2027-01-01T00:00:00Z")?;
    let expires = OffsetDateTime::now_utc().checked_add(age.try_into().map_err(|_| "too long")?).ok_or("too long")?;
    expires.replace_nanosecond(0).map_err(|error| error.to_string())
}

fn print(text: &str) -> Exit {
    // A reader that has gone away has what it wanted.
    if std::io::stdout().write_all(text.as_bytes()).is_ok() { Exit::Done } else { Exit::Bad }
}

fn fail(reason: &str) -> Exit {
    let _ = writeln!(std::io::stderr(), "rejoinder keys: {reason}");
    Exit::Bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_duration_or_a_date() {
        assert_eq!(expiry("2027-01-01T00:00:00Z").unwrap().unix_timestamp(), 1_798_761_600);
        let days = (expiry("90d").unwrap() - OffsetDateTime::now_utc()).whole_hours();
        assert!((90 * 24 - 1..=90 * 24).contains(&days), "{days}");
        assert!(expiry("tomorrow").is_err() && expiry("36500d").is_ok());
    }

    #[test]
    fn keys_are_shown_without_what_they_are_checked_by() {
        let grant = For {
            tenant: "acme".parse().unwrap(),
            user: None,
            scopes: Scopes::USE,
            tier: "gold".parse().unwrap(),
            expires: None,
        };
        let (key, line) = keys::generate(grant.grant());
        let text = table(std::slice::from_ref(&line));
        assert!(text.contains(&line.id) && text.contains("gold") && text.lines().count() == 2, "{text}");
        let hash = line.to_string().split(' ').nth(1).unwrap().to_owned();
        assert!(!text.contains(&hash) && !text.contains(key.rsplit('_').next().unwrap()), "{text}");
    }
}
