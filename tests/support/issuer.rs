//! An issuer of tokens that can be told to misbehave: an OIDC configuration, a set of keys, and what it signs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A key pair that signs tokens.
pub enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    /// A secret, as a forger has it.
    Hmac(Vec<u8>),
}

/// What the issuer does when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    Answers,
    Hangs,
    Fails,
    /// It gives this many keys.
    Floods(usize),
}

/// The issuer.
pub struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    manner: Manner,
    keys: Vec<Value>,
    asked: usize,
}

impl Pair {
    pub fn ec() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Self::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).expect("a key"))
    }

    pub fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key"))
    }

    /// A key of nobody but these tests. (It takes a while to make one.)
    pub fn rsa() -> Self {
        Self::rsa_with(&RSA_PKCS1_SHA256)
    }

    pub fn rsa_pss() -> Self {
        Self::rsa_with(&RSA_PSS_SHA256)
    }

    fn rsa_with(way: &'static dyn RsaEncoding) -> Self {
        let pem: String = include_str!("issuer.pem").lines().filter(|line| !line.starts_with("-----")).collect();
        let der = BASE64.decode(pem.as_bytes()).expect("base64");
        Self::Rsa(RsaKeyPair::from_pkcs8(&der).expect("a key"), way)
    }

    /// The public key, as others are given it.
    pub fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self {
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(pair.public_key().as_ref())})
            }
            Self::Rsa(pair, _) => {
                let parts: ring::signature::RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": self.algorithm(), "n": text(&parts.n), "e": text(&parts.e)})
            }
            Self::Hmac(secret) => json!({"kty": "oct", "kid": kid, "alg": "HS256", "k": text(secret)}),
        }
    }

    /// The bytes of the public key.
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Self::Hmac(secret) => secret.clone(),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Rsa(_, way) if format!("{way:?}").contains("PSS") => "PS256",
            Self::Rsa(..) => "RS256",
            Self::Hmac(_) => "HS256",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair, way) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*way, &random, message, &mut signature).expect("a signature");
                signature
            }
            Self::Hmac(secret) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    /// A token with these claims, that says it is signed with the key of this id.
    pub fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        self.token_with(json!({"typ": "JWT", "alg": self.algorithm(), "kid": kid}), claims)
    }

    /// A token with this header.
    pub fn token_with(&self, header: Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&header), part(claims));
        format!("{message}.{}", BASE64URL_NOPAD.encode(&self.sign(message.as_bytes())))
    }
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { manner: Manner::Answers, keys: Vec::new(), asked: 0 }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, address, Arc::clone(&shared)));
            }
        });
        Self { address, state, task }
    }

    /// As its tokens name it.
    pub fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It has these keys from now on.
    pub fn has(&self, keys: &[Value]) {
        self.state.lock().expect("no panic").keys = keys.to_vec();
    }

    /// From now on it does this.
    pub fn manner(&self, manner: Manner) {
        self.state.lock().expect("no panic").manner = manner;
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.state.lock().expect("no panic").asked
    }

    /// Claims of a token of this issuer that is good.
    pub fn claims(&self, user: &str) -> Value {
        json!({"iss": self.name(), "aud": "chat", "sub": user, "org": "acme", "iat": now(), "exp": now() + 3600})
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// In Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

async fn answer(mut socket: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match socket.read(&mut piece).await {
            Ok(read) if read > 0 => head.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    let is_discovery = head.starts_with(b"GET /.well-known/openid-configuration ");
    let (manner, keys) = {
        let mut state = state.lock().expect("no panic");
        if !is_discovery {
            state.asked += 1;
        }
        (state.manner.clone(), state.keys.clone())
    };
    let (status, body) = match manner {
        Manner::Hangs if !is_discovery => return std::future::pending().await,
        Manner::Fails => ("500 Internal Server Error", json!({"error": "sorry"})),
        _ if is_discovery => {
            ("200 OK", json!({"issuer": format!("http://{address}"), "jwks_uri": format!("http://{address}/keys")}))
        }
        Manner::Floods(count) => ("200 OK", json!({"keys": vec![keys.first().cloned().unwrap_or_default(); count]})),
        _ => ("200 OK", json!({"keys": keys})),
    };
    let body = body.to_string();
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let _ = socket.write_all(text.as_bytes()).await;
}
