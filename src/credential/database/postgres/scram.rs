//! What PostgreSQL checks a password with: the SCRAM-SHA-256 verifier of RFC 5803 and RFC 7677.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use data_encoding::BASE64;
use zeroize::Zeroizing;

/// `SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>`, as `pg_authid` keeps it. The password must
/// be ASCII, which `SASLprep` leaves as it is.
pub(super) fn verifier(password: &str, salt: &[u8]) -> String {
    let mut salted = Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, ROUNDS, salt, password.as_bytes(), &mut *salted);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${ROUNDS}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key.as_ref()),
        BASE64.encode(server_key.as_ref())
    )
}

/// The least that RFC 7677 allows, and PostgreSQL's own default. The password has 192 random bits, so
/// more would protect nothing.
const ROUNDS: NonZeroU32 = match NonZeroU32::new(4_096) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3: what a server with this verifier accepts and answers.
    #[test]
    fn the_verifier_accepts_the_proof_of_rfc_7677_and_gives_its_signature() {
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = verifier("pencil", &salt);
        let keys = verifier
            .strip_prefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
            .unwrap();
        let (stored_key, server_key) = keys.split_once(':').unwrap();
        let key = |text: &str| BASE64.decode(text.as_bytes()).unwrap();
        let sign = |key: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, AUTH_MESSAGE.as_bytes()).as_ref().to_vec()
        };
        assert_eq!(
            BASE64.encode(&sign(&key(server_key))),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let proof = key("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let client_signature = sign(&key(stored_key));
        let client_key: Vec<u8> = proof
            .iter()
            .zip(&client_signature)
            .map(|(proof, signature)| proof ^ signature)
            .collect();
        let hash = digest::digest(&digest::SHA256, &client_key);
        assert_eq!(BASE64.encode(hash.as_ref()), stored_key);
    }

    const AUTH_MESSAGE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
}
