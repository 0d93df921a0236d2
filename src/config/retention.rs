//! How long the store keeps what is not used any more: `STORE_RETENTION`, and `[[tenant]]` in the file of
//! `REJOINDER_CONFIG`.

use std::time::Duration;

use super::file::fields::Fields;
use super::values::duration_or_off;

/// How long threads are kept in which nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Where nothing else is said. `None`: for ever.
    default: Option<Duration>,
    /// Of tenants that have their own.
    tenants: Vec<TenantRetention>,
}

/// How long threads of one tenant are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantRetention {
    /// The tenant.
    pub(crate) name: String,
    /// `None`: for ever.
    pub(crate) store: Option<Duration>,
}

impl Retention {
    pub(crate) const fn new(default: Option<Duration>, tenants: Vec<TenantRetention>) -> Self {
        Self { default, tenants }
    }

    /// How long threads of this tenant are kept. `None`: for ever.
    pub(crate) fn of(&self, tenant: &str) -> Option<Duration> {
        let own = self.tenants.iter().find(|one| one.name == tenant);
        own.map_or(self.default, |own| own.store)
    }

    /// The shortest of all. `None`: everything is kept for ever.
    pub(crate) fn shortest(&self) -> Option<Duration> {
        self.tenants.iter().map(|own| own.store).chain([self.default]).flatten().min()
    }
}

/// A table of the file.
pub(super) fn tenant(fields: &Fields<'_>) -> Option<TenantRetention> {
    let store = fields.text("store_retention", |text| duration_or_off(text).map_err(|error| error.0));
    let name = fields.need("name", |text| Ok(text.to_owned()));
    if store.is_none() {
        fields.wrong("store_retention", "", "how long, such as 30d, or off");
    }
    Some(TenantRetention { name: name?, store: store? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_kept_as_is_said_of_it_and_all_others_as_is_said_of_all() {
        let (day, week) = (Duration::from_hours(24), Duration::from_hours(24 * 7));
        let own = |name: &str, store| TenantRetention { name: name.to_owned(), store };
        let retention = Retention::new(Some(week), vec![own("acme", Some(day)), own("museum", None)]);
        assert_eq!(["acme", "museum", ""].map(|tenant| retention.of(tenant)), [Some(day), None, Some(week)]);
        assert_eq!(retention.shortest(), Some(day));
        assert_eq!(Retention::default().shortest(), None);
    }
}
