//! Signatures of tokens, verified by ring: the cryptography that TLS brings along anyway. Nothing is signed here.

use ::ring::signature as ring;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Chooses who verifies, for the whole process.
pub(super) fn install() {
    // It fails where it was done before.
    let _ = PROVIDER.install_default();
}

/// Whether signatures of this kind can be verified. Those with a shared secret cannot, and must not: a public key would do
/// for one.
pub(super) const fn is_known(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::ES256
            | Algorithm::ES384
            | Algorithm::EdDSA
    )
}

enum Way {
    Rsa(&'static ring::RsaParameters, Vec<u8>, Vec<u8>),
    Other(&'static dyn ring::VerificationAlgorithm, Vec<u8>),
}

struct Signature {
    algorithm: Algorithm,
    way: Way,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as the crate wants it")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let rsa = |parameters| -> Result<Way> {
        match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => Ok(Way::Rsa(parameters, n.clone(), e.clone())),
            DecodingKeyKind::SecretOrDer(_) => Err(ErrorKind::InvalidKeyFormat.into()),
        }
    };
    let other = |way| -> Result<Way> { Ok(Way::Other(way, key.try_get_as_bytes()?.to_vec())) };
    let way = match algorithm {
        Algorithm::RS256 => rsa(&ring::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => rsa(&ring::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => rsa(&ring::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => rsa(&ring::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => rsa(&ring::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => rsa(&ring::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => other(&ring::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => other(&ring::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => other(&ring::ED25519),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(Signature { algorithm: *algorithm, way: way? }))
}

impl Verifier<Vec<u8>> for Signature {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = match &self.way {
            Way::Rsa(parameters, n, e) => {
                ring::RsaPublicKeyComponents { n: unpadded(n), e: unpadded(e) }.verify(parameters, message, signature)
            }
            Way::Other(way, key) => ring::UnparsedPublicKey::new(*way, key).verify(message, signature),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Signature {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A number without leading zeros, as ring wants it.
fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
