//! Signatures: the trailer, and the PKCS#7 message.

use super::{KIB, bounded, inside};
use kmod_once::internals::formats::{modinfo, signature};

const MAGIC: &[u8] = b"~Module signature appended~\n";

/// The input as the end of a module, as a PKCS#7 message with a good trailer, and as the parts of the older kinds, which come
/// back as they were put in.
pub fn check(input: &[u8]) -> bool {
    let shown = show(input);
    let message = [input, &[0, 0, 2, 0, 0, 0, 0, 0], &(input.len() as u32).to_be_bytes(), MAGIC].concat();
    let understood = show(&message);

    let (signer, rest) = input.split_at(input.len().min(20));
    let (key, data) = rest.split_at(rest.len().min(20));
    let hash = input.first().map_or(0, |byte| byte % 9);
    let lengths = [signer.len() as u8, key.len() as u8, 0, 0, 0];
    let trailer = [&[1, hash, 1][..], &lengths, &(data.len() as u32).to_be_bytes()].concat();
    let module = [b"module", signer, key, data, &trailer, MAGIC].concat();
    match signature::parse(&module) {
        None => assert!(data.is_empty(), "a whole signature was refused"),
        Some(found) => {
            assert_eq!(found.id, b"X509");
            assert_eq!(found.signer, signer.split(|&b| b == 0).next().unwrap());
            assert_eq!((&*found.key, found.signature), (key, data));
        }
    }
    shown || understood
}

fn show(image: &[u8]) -> bool {
    let Some(found) = bounded(image, KIB, 2, || signature::parse(image)) else { return false };
    assert!(inside(found.signer, image) && inside(found.signature, image));
    assert!(!found.signer.contains(&0));
    assert!(found.key.len() <= image.len());
    assert!(!found.hash.is_empty() && found.hash.len() < 512);
    let shown = modinfo::hex(found.signature);
    let digits = shown.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    assert_eq!(digits, found.signature.len() * 2);
    // A message that cannot be read is shown, too; it makes no sense.
    found.hash != "unknown"
}
