//! Signatures at the end of modules: the trailer, and the PKCS#7 message of the current kind. The expected answers are what
//! modinfo of kmod 34.2 prints for the same files; of a
//! message that cannot be read it prints nothing, and kmod after 34.2 what is expected here.

#[path = "common/elf.rs"]
mod elf;

use elf::signature::{COMMON_NAME, Message, SHA256, attribute, oid, tlv};
use elf::{KoBuilder, Signature};
use kmod_once::internals::formats::signature;

/// What modinfo would print: id, signer, key, hash, signature.
type Shown = (String, String, Vec<u8>, String, Vec<u8>);

fn shown(image: &[u8]) -> Option<Shown> {
    let found = signature::parse(image)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Some((
        text(found.id),
        text(found.signer),
        found.key.to_vec(),
        found.hash.to_string(),
        found.signature.to_vec(),
    ))
}

/// What is shown of a PKCS#7 message that cannot be read.
fn unknown() -> Option<Shown> {
    Some(("PKCS#7".to_string(), String::new(), Vec::new(), "unknown".to_string(), Vec::new()))
}

fn signed(signature: Signature) -> Vec<u8> {
    KoBuilder::new().modinfo("license", "GPL").signature(signature).build()
}

trait Show {
    fn shown(&self) -> Option<Shown>;
}

impl Show for Message {
    fn shown(&self) -> Option<Shown> {
        shown(&signed(Signature::pkcs7(self.der())))
    }
}

fn raw(algo: u8, hash: u8, id_type: u8) -> Signature {
    Signature {
        algo,
        hash,
        id_type,
        signer: b"Sig Ner".to_vec(),
        key_id: vec![1, 2, 0xff],
        data: b"data".to_vec(),
    }
}

const ORGANIZATION: &[u8] = &[0x55, 4, 10];

#[test]
fn a_message_that_openssl_made() {
    let hex = "3081c606092a864886f70d010702a081b83081b5020101310f300d06096086480165030402010500300b06092a864886f70d\
               01070131819130818e0201013025300d310b300906035504030c02656302140480207ff090d9a234e63e3fa649da1b0d855f\
               e7300d06096086480165030402010500300a06082a8648ce3d04030204473045022100c4b0cc6851f4cb8323d029b2d80e8a\
               f82d5d83784e20039447b311364aabb7e302203984cdc6cf7838f61b80dbde4ad48733c5ea25c9f145d4aa333b4f18430184\
               83";
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let der: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let (id, signer, key, hash, signature) = shown(&signed(Signature::pkcs7(&der))).unwrap();
    assert_eq!((&id[..], &signer[..], &hash[..]), ("PKCS#7", "ec", "sha256"));
    assert_eq!(key, der[81..101]);
    assert_eq!((key[0], key[19]), (0x04, 0xe7));
    assert_eq!(signature, der[der.len() - 71..]);
    assert_eq!(shown(&signed(Signature::pkcs7(b""))), None);
    for cut in 1..der.len() {
        assert_eq!(shown(&signed(Signature::pkcs7(&der[..cut]))), unknown(), "{cut} bytes of the message");
    }
    let followed = [&der[..], b"junk"].concat();
    assert_eq!(shown(&signed(Signature::pkcs7(followed))).unwrap().1, "ec");
}

#[test]
fn the_older_kinds_show_their_bytes() {
    let expected = |id: &str, hash: &str| {
        Some((id.to_string(), "Sig Ner".to_string(), vec![1, 2, 0xff], hash.to_string(), b"data".to_vec()))
    };
    assert_eq!(shown(&signed(raw(0, 4, 0))), expected("PGP", "sha256"));
    assert_eq!(shown(&signed(raw(1, 3, 1))), expected("X509", "rmd160"));
    assert_eq!(shown(&signed(raw(1, 8, 1))), expected("X509", "sm3"));
    let nul = Signature { signer: b"a\0b".to_vec(), ..raw(0, 0, 0) };
    assert_eq!(shown(&signed(nul)).unwrap().1, "a");
}

#[test]
fn what_is_no_signature() {
    let good = signed(raw(0, 4, 0));
    assert!(shown(&good).is_some());
    assert_eq!(shown(&KoBuilder::new().build()), None);
    for bad in [raw(2, 4, 0), raw(0, 9, 0), raw(0, 4, 3), Signature { data: Vec::new(), ..raw(0, 4, 0) }] {
        assert_eq!(shown(&signed(bad)), None);
    }
    assert_eq!(shown(&[&good[..], b"\n"].concat()), None, "something follows");
    assert_eq!(shown(&good[..good.len() - 1]), None);
    let magic = b"~Module signature appended~\n";
    for length in [0, 1, 11, 12] {
        assert_eq!(shown(&[&vec![0; length][..], magic].concat()), None, "{length} bytes in front");
    }
    // The lengths may take up the whole file, and no more.
    let whole = |length: u32| {
        let trailer = [&[0, 4, 0, 3, 2, 0, 0, 0][..], &length.to_be_bytes()].concat();
        shown(&[b"abcdefgh", &trailer[..], magic].concat())
    };
    assert_eq!(whole(3).unwrap().1, "abc");
    assert_eq!(whole(4), None);
    assert_eq!(whole(u32::MAX), None);
}

#[test]
fn the_signer_is_the_first_common_name_or_else_the_last_attribute() {
    let name = |issuer: Vec<u8>| Message { issuer, ..Message::default() }.shown().map(|shown| shown.1);
    let set = |attributes: &[&[u8]]| tlv(0x31, attributes);
    let common = attribute(COMMON_NAME, b"common");
    let (one, two) = (attribute(ORGANIZATION, b"one"), attribute(ORGANIZATION, b"two"));
    assert_eq!(name([set(&[&one]), set(&[&common]), set(&[&two])].concat()).unwrap(), "common");
    assert_eq!(
        name([set(&[&common]), set(&[&attribute(COMMON_NAME, b"second")])].concat()).unwrap(),
        "common"
    );
    assert_eq!(name([set(&[&one, &common])].concat()).unwrap(), "common");
    assert_eq!(name([set(&[&one]), set(&[&two])].concat()).unwrap(), "two");
    assert_eq!(name(set(&[&attribute(COMMON_NAME, b"Bui\0ld")])).unwrap(), "Bui");
    assert_eq!(name(Vec::new()).unwrap(), "");
    let broken = Message { issuer: b"\x31\x05abc".to_vec(), ..Message::default() };
    assert_eq!(broken.shown(), unknown());
}

#[test]
fn the_key_is_the_magnitude_of_the_serial_number() {
    let key = |serial: &[u8]| Message { serial: serial.to_vec(), ..Message::default() }.shown().unwrap().2;
    assert_eq!(key(&[0x42]), [0x42]);
    assert_eq!(key(&[0]), b"");
    assert_eq!(key(&[0, 0xff, 1]), [0xff, 1]);
    assert_eq!(key(&[0xfb]), [5]);
    assert_eq!(key(&[0xff, 0]), [1, 0]);
    assert_eq!(key(&[0x80]), [0x80]);
}

#[test]
fn digests_have_the_names_that_openssl_gives_them() {
    let hash = |digest: &[u8]| {
        Message { digest: digest.to_vec(), ..Message::default() }.shown().map(|shown| shown.3)
    };
    assert_eq!(hash(SHA256).unwrap(), "sha256");
    assert_eq!(hash(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 8]).unwrap(), "sha3-256");
    assert_eq!(hash(&[0x2b, 14, 3, 2, 26]).unwrap(), "sha1");
    assert_eq!(hash(&[0x2b, 0x24, 3, 2, 1]).unwrap(), "ripemd160");
    assert_eq!(hash(&[0x2a, 0x81, 0x1c, 0xcf, 0x55, 1, 0x83, 0x11]).unwrap(), "sm3");
    assert_eq!(hash(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 99]).unwrap(), "2.16.840.1.101.3.4.2.99");
    assert_eq!(hash(&[0x2a, 0x86]).unwrap(), "unknown", "ends in the middle of a number");
}

#[test]
fn optional_parts_are_skipped() {
    let certificates = tlv(0xa0, &[&tlv(0x30, &[b"\x05\0"])]);
    let attributes = tlv(0xa0, &[&tlv(0x30, &[b"\x05\0"])]);
    let message = Message { certificates, attributes, ..Message::default() };
    assert_eq!(message.shown(), Message::default().shown());
    assert!(message.shown().is_some());
}

#[test]
fn a_signer_may_be_known_by_the_id_of_the_key() {
    let by_key = Message { signer_id: Some(tlv(0x80, &[b"key id"])), ..Message::default() };
    let expected =
        ("PKCS#7".into(), String::new(), b"key id".to_vec(), "sha256".into(), b"encrypted".to_vec());
    assert_eq!(by_key.shown(), Some(expected));
    // With nothing in it, and signers of no kind that there is.
    let shown_for = |id: Vec<u8>| Message { signer_id: Some(id), ..Message::default() }.shown();
    assert_eq!(shown_for(tlv(0x80, &[])).unwrap().2, b"");
    for odd in [tlv(0x81, &[b"key id"]), tlv(4, &[b"key id"]), tlv(0xa0, &[&tlv(4, &[b"key id"])])] {
        assert_eq!(shown_for(odd), unknown());
    }
}

#[test]
fn a_message_that_cannot_be_read_is_a_signature_all_the_same() {
    for message in [&b"\x30\x03abc"[..], b"\0", b"\xff\xff\xff\xff", &[0x30; 300], b"junk"] {
        assert_eq!(shown(&signed(Signature::pkcs7(message))), unknown());
    }
    // Of another content than signed data.
    let other = tlv(0x30, &[&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]), &tlv(0xa0, &[b"\x05\0"])]);
    assert_eq!(shown(&signed(Signature::pkcs7(other))), unknown());
}

#[test]
fn ml_dsa_is_a_signature_like_others() {
    const SHAKE256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 12];
    for (strength, length) in [("44", 2420), ("65", 3309), ("87", 4627)] {
        let message = Message::ml_dsa(strength).unwrap();
        let (_, signer, key, hash, signature) = message.shown().unwrap();
        assert_eq!((&signer[..], &key[..], &hash[..]), ("Build key", &[0x42][..], "sha512"));
        assert_eq!((signature.len(), &signature), (length, &message.signature));
        // As some programs write it: with signed attributes, another digest, the key's id.
        let other = Message {
            attributes: tlv(0xa0, &[&tlv(0x30, &[b"\x05\0"])]),
            digest: SHAKE256.to_vec(),
            signer_id: Some(tlv(0x80, &[b"key id"])),
            ..message
        };
        let expected = ("PKCS#7".into(), String::new(), b"key id".to_vec(), "shake256".into(), signature);
        assert_eq!(other.shown(), Some(expected));
    }
}

#[test]
fn lengths_may_be_left_open_as_in_streamed_messages() {
    // The outer two values of the message without their lengths, each closed by two zero bytes.
    let der = Message::default().der();
    let header = |value: &[u8]| if value[1] < 0x80 { 2 } else { 3 };
    let (content_type, content) = der[header(&der)..].split_at(11);
    let signed_data = &content[header(content)..];
    let open = [&[0x30, 0x80][..], content_type, &[0xa0, 0x80], signed_data, &[0; 4]].concat();
    assert_eq!(shown(&signed(Signature::pkcs7(&open))), Message::default().shown());
    assert_eq!(shown(&signed(Signature::pkcs7(&open[..open.len() - 1]))), unknown());
}
