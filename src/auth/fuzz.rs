//! Whatever comes as a credential is somebody's or refused. `PROPTEST_CASES` says how much is tried.

use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

use super::keys::{self, KeyTable};
use super::signed::{Purpose, Signer};
use crate::config::values::Secret;
use crate::domain::caller::{Caller, Owner, Scopes};
use crate::testing::{near, word};

const CLAIMS: &[&str] = &[
    r#"{"iss":"https://id.example","aud":"chat","exp":4102444800,"nbf":0,"sub":"7","org":{"id":"acme"},"scope":"chat read","plan":"gold"}"#,
    r#"{"iss":["https://id.example"],"aud":["chat","x"],"exp":4102444800.5,"sub":7,"org":{"id":1},"scope":["chat"],"plan":null}"#,
];

const LINES: &[&str] = &[
    "k1 0000000000000000000000000000000000000000000000000000000000000000 acme alice chat,read default -",
    "# a note\n\nk1 00 acme - chat default 2030-01-01T00:00:00Z;k2",
];

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn no_text_is_a_ticket_that_was_not_signed(text in "[A-Za-z0-9_.\\-]{0,80}", any in any::<String>(), claims in near(CLAIMS)) {
        let signer = Signer::new(vec![Secret::new("0123456789abcdef0123456789abcdef")]);
        let made_up = format!("{}.{}", BASE64URL_NOPAD.encode(&claims), BASE64URL_NOPAD.encode(&claims));
        for text in [&text, &any, &made_up] {
            prop_assert!(signer.verify(Purpose::Session, text, 0).is_err());
            prop_assert!(signer.verify(Purpose::Ticket(text), text, 0).is_err());
        }
    }

    #[test]
    fn a_ticket_for_anybody_is_theirs(tenant in word(), user in proptest::option::of(word()), key in "[a-z]{1,5}", tier in word(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let signer = Signer::new(vec![Secret::new("0123456789abcdef0123456789abcdef")]);
        let caller = Caller::new(Owner::new(&tenant, user.as_deref()), key, Scopes::USE, tier);
        let ticket = signer.sign(Purpose::Session, &caller, 10).expect("a secret");
        prop_assert_eq!(signer.verify(Purpose::Session, &ticket, 0), Ok((caller, 10)));
        let mut bytes = ticket.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(signer.verify(Purpose::Session, &changed, 0).is_err(), "{} and {}", ticket, changed);
        }
    }

    #[test]
    fn any_file_of_keys_is_read_or_refused(file in near(LINES), text in any::<String>()) {
        let file = String::from_utf8_lossy(&file);
        let _ = (KeyTable::parse(&file), KeyTable::parse(&text), keys::id_of(&text));
    }
}
