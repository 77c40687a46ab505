//! The signature at the end of a module. On the uncompressed file, in this order and with nothing after it:
//!
//! ```text
//! the module
//! signer's name, key id     raw bytes; both empty for PKCS#7
//! signature data            for PKCS#7 a DER message
//! trailer, 12 bytes:
//!      0    algorithm: 0 DSA, 1 RSA
//!      1    hash: 0 md4, 1 md5, 2 sha1, 3 rmd160, 4 sha256, 5 sha384, 6 sha512, 7 sha224, 8 sm3
//!      2    kind: 0 PGP, 1 X509, 2 PKCS#7
//!      3    length of the signer's name
//!      4    length of the key id
//!      5    padding, 3 bytes
//!      8    length of the signature data, 4 bytes, big-endian whatever the module's own order
//! "~Module signature appended~" and a newline, 28 bytes
//! ```
//!
//! It is parsed only for modinfo(8). Only the kernel verifies it.

use der::oid::ObjectIdentifier;
use der::{Decode, EncodingRules, Reader, SliceReader, Tag, TagNumber, Tagged, asn1::AnyRef};
use std::borrow::Cow;

const MAGIC: &[u8] = b"~Module signature appended~\n";
const KINDS: [&[u8]; 3] = [b"PGP", b"X509", b"PKCS#7"];
const HASHES: [&str; 9] = ["md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "sm3"];

/// A signature, as modinfo prints it. An unknown field is empty, and an unknown `hash` is `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature<'a> {
    /// `sig_id`: `PGP`, `X509` or `PKCS#7`.
    pub id: &'static [u8],
    /// `signer`: the signer's name, up to its first NUL. Empty if a PKCS#7 message has only the key's id.
    pub signer: &'a [u8],
    /// `sig_key`: the key's id. For PKCS#7 the serial number of the certificate, or the key's id if the message has that
    /// instead.
    pub key: Cow<'a, [u8]>,
    /// `sig_hashalgo`: the digest algorithm.
    pub hash: Cow<'static, str>,
    /// `signature`: the signature itself.
    pub signature: &'a [u8],
}

/// The signature of the uncompressed module file `image`. `None` if it has none, or if a length, algorithm or kind is
/// invalid. Of a PKCS#7 message that cannot be parsed only `id` is known.
pub fn parse(image: &[u8]) -> Option<Signature<'_>> {
    let (rest, trailer) = image.strip_suffix(MAGIC)?.split_last_chunk()?;
    let &[algorithm, hash, kind, signer_length, key_length, _, _, _, a, b, c, d] = trailer;
    let hash = *HASHES.get(usize::from(hash))?;
    let id = *KINDS.get(usize::from(kind)).filter(|_| algorithm <= 1)?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok().filter(|&length| length > 0)?;
    let (rest, data) = split_end(rest, length)?;
    let (rest, key) = split_end(rest, usize::from(key_length))?;
    let (_, signer) = split_end(rest, usize::from(signer_length))?;
    if id == b"PKCS#7" {
        let unknown = Signature { id, hash: "unknown".into(), ..Signature::default() };
        return Some(pkcs7(data, id).unwrap_or(unknown));
    }
    Some(Signature { id, signer: until_nul(signer), key: key.into(), hash: hash.into(), signature: data })
}

fn split_end(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(length)?)
}

/// `signedData` of PKCS#7 (RFC 2315, 9.1).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// `commonName` of X.520.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Parses a PKCS#7 message. The fields below are those of RFC 2315; the key's id in place of issuer and serial number is from
/// its successor RFC 5652, 5.3. The algorithm of the signature (RSA, ECDSA, ML-DSA of RFC 9882) does not matter.
///
/// ```text
/// ContentInfo: contentType, [0] content = SignedData:
///     version, digestAlgorithms, contentInfo, [0] certificates?, [1] crls?, signerInfos = SET OF SignerInfo:
///         version, issuerAndSerialNumber = (issuer, serialNumber) or [0] subjectKeyIdentifier, digestAlgorithm,
///         [0] attributes?, digestEncryptionAlgorithm, encryptedDigest
/// issuer = SEQUENCE OF SET OF (attribute type, value)
/// ```
fn pkcs7<'a>(message: &'a [u8], id: &'static [u8]) -> Option<Signature<'a>> {
    // Data after the message is ignored.
    let mut content_info = Elements::of(message)?.within(Tag::Sequence)?;
    content_info.next_oid().filter(|&kind| kind == SIGNED_DATA)?;
    let mut signed_data = content_info.within(context(0))?.within(Tag::Sequence)?;
    signed_data.next(Tag::Integer)?;
    signed_data.next(Tag::Set)?;
    signed_data.next(Tag::Sequence)?;
    signed_data.skip_if(context(0));
    signed_data.skip_if(context(1));
    let mut signer_info = signed_data.within(Tag::Set)?.within(Tag::Sequence)?;
    signer_info.next(Tag::Integer)?;
    let signer_id = signer_info.next_any()?;
    let (signer, key) = if signer_id.tag() == KEY_ID {
        (&[][..], signer_id.value().into())
    } else {
        let mut signer_id = Elements::of(Some(signer_id).filter(|id| id.tag() == Tag::Sequence)?.value())?;
        (issuer_name(signer_id.next(Tag::Sequence)?)?, magnitude(signer_id.next(Tag::Integer)?))
    };
    let digest = signer_info.within(Tag::Sequence)?.next_oid()?;
    signer_info.skip_if(context(0));
    signer_info.next(Tag::Sequence)?;
    let signature = signer_info.next(Tag::OctetString)?;
    Some(Signature { id, signer, key, hash: digest_name(digest), signature })
}

/// The first common name of an issuer, else its last attribute; up to the first NUL.
fn issuer_name(issuer: &[u8]) -> Option<&[u8]> {
    let mut last = &[][..];
    let mut sets = Elements::of(issuer)?;
    while !sets.0.is_finished() {
        let mut attributes = sets.within(Tag::Set)?;
        while !attributes.0.is_finished() {
            let mut attribute = attributes.within(Tag::Sequence)?;
            let kind = attribute.next_oid()?;
            last = attribute.next_any()?.value();
            if kind == COMMON_NAME {
                return Some(until_nul(last));
            }
        }
    }
    Some(until_nul(last))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or(bytes)
}

/// The absolute value of a big-endian integer in two's complement, without leading zeros.
fn magnitude(integer: &[u8]) -> Cow<'_, [u8]> {
    let zeros = |bytes: &[u8]| bytes.iter().take_while(|&&b| b == 0).count();
    if integer.first().is_none_or(|&b| b < 0x80) {
        return Cow::Borrowed(&integer[zeros(integer)..]);
    }
    let mut negated = integer.to_vec();
    let mut carry = true;
    for byte in negated.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(carry.into());
    }
    negated.drain(..zeros(&negated));
    Cow::Owned(negated)
}

/// Digest algorithms and their names in OpenSSL, which kmod prints.
const DIGESTS: [(ObjectIdentifier, &str); 23] = [
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), "sha256"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), "sha384"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), "sha512"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.4"), "sha224"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.5"), "sha512-224"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.6"), "sha512-256"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.7"), "sha3-224"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.8"), "sha3-256"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.9"), "sha3-384"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.10"), "sha3-512"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.11"), "shake128"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.12"), "shake256"),
    (ObjectIdentifier::new_unwrap("1.3.14.3.2.26"), "sha1"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.2.2"), "md2"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.2.4"), "md4"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.2.5"), "md5"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.2.1"), "ripemd160"),
    (ObjectIdentifier::new_unwrap("1.0.10118.3.0.55"), "whirlpool"),
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.1722.12.2.1.16"), "blake2b512"),
    (ObjectIdentifier::new_unwrap("1.3.6.1.4.1.1722.12.2.2.8"), "blake2s256"),
    (ObjectIdentifier::new_unwrap("1.2.156.10197.1.401"), "sm3"),
    (ObjectIdentifier::new_unwrap("1.2.643.7.1.1.2.2"), "GOST R 34.11-2012 with 256 bit hash"),
    (ObjectIdentifier::new_unwrap("1.2.643.7.1.1.2.3"), "GOST R 34.11-2012 with 512 bit hash"),
];

/// The name of a digest algorithm; for an unknown one its object identifier in dotted form.
fn digest_name(digest: ObjectIdentifier) -> Cow<'static, str> {
    let known = DIGESTS.iter().find(|(known, _)| *known == digest);
    known.map_or_else(|| digest.to_string().into(), |&(_, name)| name.into())
}

/// The tag of `subjectKeyIdentifier`.
const KEY_ID: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };

fn context(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// The elements of a constructed value.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        // kmod parses these with OpenSSL, which accepts BER too.
        SliceReader::new_with_encoding_rules(bytes, EncodingRules::Ber).ok().map(Elements)
    }

    fn next_any(&mut self) -> Option<AnyRef<'a>> {
        AnyRef::decode(&mut self.0).ok()
    }

    /// The content of the next value, which must have this tag.
    fn next(&mut self, tag: Tag) -> Option<&'a [u8]> {
        self.next_any().filter(|any| any.tag() == tag).map(AnyRef::value)
    }

    /// The elements of the next value, which must have this tag.
    fn within(&mut self, tag: Tag) -> Option<Self> {
        Elements::of(self.next(tag)?)
    }

    fn next_oid(&mut self) -> Option<ObjectIdentifier> {
        ObjectIdentifier::from_bytes(self.next(Tag::ObjectIdentifier)?).ok()
    }

    /// Skips the next value if it has this tag.
    fn skip_if(&mut self, tag: Tag) {
        if Tag::peek(&self.0).is_ok_and(|next| next == tag) {
            self.next_any();
        }
    }
}
