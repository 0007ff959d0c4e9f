//! Encodes lists of byte strings unambiguously, for a hash or a MAC.

/// Passes every part to `update`, each preceded by its length in bytes (64 bits, big-endian). So no
/// two lists give the same bytes: `a`, `bc` differs from `ab`, `c`.
pub(crate) fn update_with<T: AsRef<[u8]>>(
    parts: impl IntoIterator<Item = T>,
    mut update: impl FnMut(&[u8]),
) {
    for part in parts {
        let part = part.as_ref();
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        update(&length.to_be_bytes());
        update(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_length_in_front() {
        let bytes = |parts: &[&str]| {
            let mut bytes = Vec::new();
            update_with(parts, |part| bytes.extend_from_slice(part));
            bytes
        };
        assert_eq!(
            bytes(&["a", "", "bc"]),
            b"\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02bc"
        );
        assert_ne!(bytes(&["a", "bc"]), bytes(&["ab", "c"]));
        assert_ne!(bytes(&[]), bytes(&[""]));
    }
}
