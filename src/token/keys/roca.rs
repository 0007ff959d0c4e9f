//! The fingerprint of RSA keys that can be factored (ROCA, CVE-2017-15361).
//!
//! The broken generator makes primes of the form `k·M + (65537^a mod M)` with `M` the product of the
//! first primes, so the modulus is a power of 65537 modulo each of those. Of other keys, all of these
//! together hold for fewer than one in a hundred million.

/// Whether the modulus, big-endian, is a power of 65537 modulo every small prime.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES
        .iter()
        .all(|prime| is_power_of_generator(remainder(modulus, *prime), *prime))
}

/// Whether one of the small primes divides the modulus: the rest may be quick to factor too.
pub(super) fn has_small_factor(modulus: &[u8]) -> bool {
    PRIMES.iter().any(|prime| remainder(modulus, *prime) == 0)
}

fn remainder(number: &[u8], prime: u32) -> u32 {
    number.iter().fold(0_u32, |rest, byte| {
        (rest << 8)
            .saturating_add(u32::from(*byte))
            .checked_rem(prime)
            .unwrap_or(0)
    })
}

fn is_power_of_generator(rest: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == rest {
            return true;
        }
        power = GENERATOR
            .saturating_mul(power)
            .checked_rem(prime)
            .unwrap_or(0);
    }
    false
}

const GENERATOR: u32 = 65_537;
/// The odd primes that divide `M` at every key size the generator offered.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// T-34
    #[test]
    fn numbers_of_other_generators_have_no_fingerprint() {
        for _ in 0..1_000 {
            let mut modulus = [0_u8; 256];
            aws_lc_rs::rand::fill(&mut modulus).unwrap();
            modulus[255] |= 1;
            assert!(!has_fingerprint(&modulus));
        }
    }

    /// T-34
    #[test]
    fn a_multiple_of_a_small_prime_has_a_small_factor() {
        for prime in PRIMES {
            assert!(has_small_factor(
                &(u64::from(prime) * 1_000_003).to_be_bytes()
            ));
        }
        assert!(!has_small_factor(
            &(1_000_003_u64 * 1_000_033).to_be_bytes()
        ));
    }

    /// T-34
    #[test]
    fn a_power_of_the_generator_has_the_fingerprint() {
        assert!(has_fingerprint(&GENERATOR.to_be_bytes()));
        assert!(has_fingerprint(&[1]));
        assert!(!has_fingerprint(&3_u32.to_be_bytes()));
    }
}
