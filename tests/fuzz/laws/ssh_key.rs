//! The public key of a job: what is accepted is one key in one spelling, and names its own type.

use data_encoding::BASE64;
use hallpass::credential::ssh::JobKey;

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(key) = JobKey::parse(text) else {
        return;
    };
    let mut words = text.trim_end_matches('\n').splitn(3, ' ');
    let (name, encoded) = (words.next().unwrap(), words.next().unwrap());
    let fields = fields(&BASE64.decode(encoded.as_bytes()).expect("base64"));
    assert_eq!(fields.first().map(Vec::as_slice), Some(name.as_bytes()));
    let expected = match name {
        "ssh-ed25519" => [32].as_slice(),
        "ecdsa-sha2-nistp256" => &[8, 65],
        "ecdsa-sha2-nistp384" => &[8, 97],
        "sk-ssh-ed25519@openssh.com" => &[32, usize::MAX],
        "sk-ecdsa-sha2-nistp256@openssh.com" => &[8, 65, usize::MAX],
        "ssh-rsa" => &[usize::MAX, usize::MAX],
        _ => panic!("{name} was accepted"),
    };
    let lengths = fields.iter().skip(1).map(Vec::len).zip(expected);
    assert_eq!(fields.len(), expected.len() + 1);
    for (found, expected) in lengths {
        assert!(
            *expected == usize::MAX || found == *expected,
            "{name}: {found}"
        );
    }
    let plain = format!("{name} {encoded}");
    assert_eq!(JobKey::parse(&plain).as_ref(), Ok(&key));
    assert_eq!(JobKey::parse(&format!("{plain} a comment\n")), Ok(key));
}

/// The fields of RFC 4251's `string`, of which the whole blob is made.
fn fields(mut blob: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        let (field, rest) = rest.split_at(length);
        fields.push(field.to_vec());
        blob = rest;
    }
    assert!(blob.is_empty(), "bytes after the key");
    fields
}
