//! Whatever comes as a token is somebody's or refused. `PROPTEST_CASES` says how much is tried.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::key_set::KeySet;
use super::{Tokens, claims};
use crate::config;
use crate::testing::{json, near};

const CLAIMS: &[&str] = &[
    r#"{"iss":"https://id.example","aud":"chat","exp":4102444800,"nbf":0,"sub":"7","org":{"id":"acme"},"scope":"chat read","plan":"gold"}"#,
    r#"{"iss":["https://id.example"],"aud":["chat","x"],"exp":4102444800.5,"sub":7,"org":{"id":1},"scope":["chat"],"plan":null}"#,
    r#"{"iss":"https://id.example","aud":"chat","exp":1e308,"sub":"7"}"#,
];

const HEADERS: &[&str] =
    &[r#"{"alg":"EdDSA","kid":"a","typ":"JWT"}"#, r#"{"alg":"none"}"#, r#"{"alg":"HS256","crit":["x"]}"#];

const KEY_SETS: &[&str] = &[
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB","alg":"RS256","use":"sig"},{"kty":"EC","crv":"P-256","kid":"c","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","y":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
];

/// Tokens of an issuer that is never asked.
static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let name = |name: &str| Some(name.to_owned());
    let claims =
        config::Claims { tenant: name("org.id"), user: "sub".to_owned(), scopes: name("scope"), tier: name("plan") };
    let (issuer, audience) = ("https://id.example".to_owned(), vec!["chat".to_owned()]);
    Tokens::new(&config::Jwt { issuer, audience, jwks: None, claims }, Vec::new()).expect("a client")
});

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn any_claims_are_a_callers_or_refused(claims in near(CLAIMS), other in json()) {
        let claims: Option<Map<String, Value>> = serde_json::from_slice(&claims).ok();
        for claims in [claims.as_ref(), other.as_object()].into_iter().flatten() {
            let _ = claims::caller(claims, &TOKENS.config.claims);
        }
    }

    #[test]
    fn any_token_is_refused_by_keys_that_did_not_sign_it(
        header in near(HEADERS), claims in near(CLAIMS), signature in vec(any::<u8>(), 0..70), any in any::<String>(),
    ) {
        let keys = KeySet::parse(KEY_SETS[0].as_bytes()).expect("keys");
        let encode = |part: &[u8]| BASE64URL_NOPAD.encode(part);
        let token = format!("{}.{}.{}", encode(&header), encode(&claims), encode(&signature));
        for token in [&token, &any] {
            let _ = jsonwebtoken::decode_header(token);
            for kid in [None, Some("a"), Some("b"), Some("c"), Some("d")] {
                prop_assert!(TOKENS.verify_with(&keys, kid, token).is_err());
            }
        }
    }

    #[test]
    fn any_document_of_keys_is_read_or_refused(document in near(KEY_SETS)) {
        let _ = KeySet::parse(&document);
    }
}
